"""Application documents: what an application needs, takes, runs and leaves behind. One YAML text each.

    id: md-lj
    title: {en: …, zh: …}
    params: {…}                       # JSON Schema 2020-12 of an object
    ui: {steps: {order: 1, label: {en: Steps, zh: 步数}}}    # see `ui`
    resources: {cores: 1, memory: '= 100 + atoms / 500', wall: 10m, max: {cores: 4}}    # numbers or formulas, see `needs`
    software: {command: lmp}          # or {command: {x86_64: lmp, aarch64: lmp_arm}}, {variants: […]}, {embedded: python}
    files: [{path: md_lj.py, package: md_lj.py}]
    script: …                         # Jinja2, see `template`; also `python` and `command` are variables
    licences: {mech: 2}               # of each feature so many for one task, from where it is placed to its end
    work: training                    # what kind of work it is by default, see `scheduling.labels`
    inputs: [data.*]                  # what it may be given
    outputs: [result.json]            # globs, fetched at the end
    movable: true
    restartable: false
    restart: {checkpoint: [state.cpt], arguments: [-cpi, state.cpt]}    # see `restart`
    checkpoint_every: 15m             # how often it is copied out
    progress: 'step (\\d+)/(\\d+)'     # in its output, or in the file `progress_in`, see `progress`
    tests: [{name: tiny, params: {…}, expect: [{file: result.json, path: $.drift, max: 1e-3}]}]    # see `acceptance`

The version is the SHA-256 of the document's canonical JSON, contents of its files included by their own hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegrid.catalog import document_checks as checks
from tidegrid.catalog import needs as amounts
from tidegrid.catalog import params as _params
from tidegrid.catalog import restart as recipes
from tidegrid.catalog import software as programs
from tidegrid.catalog import ui
from tidegrid.catalog.document_schema import SCHEMA
from tidegrid.catalog.needs import Inputs, Needs
from tidegrid.catalog.restart import Restart
from tidegrid.catalog.software import Invocation, Kind, Variant
from tidegrid.catalog.template import TemplateError, compiled
from tidegrid.catalog.yamldoc import Doc, Mark, Problem, content_hash, load
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.job import Resources

SHORT = 12


@dataclass(frozen=True, slots=True)
class AppFile:
    """A file that travels with the application: put into the job's inputs as `path`; its content by hash."""

    path: str
    package: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Software:
    """command: by architecture, `*` for any; variants: the ways it can be invoked, best first; embedded: `python` where the
    server's own interpreter serves."""

    command: Mapping[str, str] = field(default_factory=dict)
    embedded: str = ""
    variants: tuple[Variant, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether it runs only where a cluster has something installed."""
        return bool(self.command or self.variants)

    def command_for(self, arch: str) -> str:
        return self.command.get(arch) or self.command.get("*", "")

    def choose(self, arch: str, installed: Mapping[str, Any]) -> Invocation | None:
        """How a cluster with this `software` invokes it; None where it cannot."""
        if self.variants:
            return programs.choose(self.variants, arch, installed)
        name = self.command_for(arch)
        return programs.choose((Variant(name),), arch, installed) if name else None


@dataclass(frozen=True, slots=True)
class Expect:
    """One acceptance: a value in a result file (`path`), its bounds, or what it equals."""

    file: str
    path: str = "$"
    min: float | None = None
    max: float | None = None
    equals: Any = None


@dataclass(frozen=True, slots=True)
class AppTest:
    """One acceptance test. resources: by the names of `Resources`; array: task numbers, whose files are `<task>/<path>`; inputs:
    texts of small files by their path."""

    name: str
    params: Mapping[str, Any]
    expect: tuple[Expect, ...]
    exit: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)
    array: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Application:
    """A checked document. body: its JSON, from which `from_body` makes it again; version: the hash of that; resources: what the
    default parameters need."""

    id: str
    version: str
    title: Mapping[str, str]
    summary: Mapping[str, str]
    params: Mapping[str, Any]
    ui: Mapping[str, Any]
    resources: Resources
    limits: Resources
    software: Software
    files: tuple[AppFile, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    movable: bool | None
    restartable: bool
    progress: str
    tests: tuple[AppTest, ...]
    script: str
    body: Mapping[str, Any]
    restart: Restart | None = None
    needs: Needs = field(default_factory=Needs)
    licences: Mapping[str, int] = field(default_factory=dict)
    work: str = ""
    progress_in: str = ""
    progress_of: str = ""

    @property
    def short(self) -> str:
        """The version as shown: its first 12 characters."""
        return self.version[:SHORT]

    def validate(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters with defaults applied; InvalidInput (params.invalid)."""
        return _params.validate(self.params, params)

    def resources_for(
        self, params: Mapping[str, Any], inputs: Inputs = Inputs(), asked: Mapping[str, Any] | None = None
    ) -> Resources:
        """What a run with these validated parameters gets: what is asked for (by the names of `Resources`), and for the rest the
        document's numbers and formulas; all of it within the limits. InvalidInput as `Needs.resolve` has it."""
        return self.needs.resolve(params, inputs, asked, app=self.id)

    def installed(self, arch: str, software: Mapping[str, Any]) -> bool:
        """Whether a cluster with this `software` can run it, or it needs none."""
        return not self.software.needed or self.software.choose(arch, software) is not None

    def invocation(self, arch: str, software: Mapping[str, Any]) -> Invocation | None:
        """How it is invoked there; None where it needs no program, or the cluster has none."""
        return self.software.choose(arch, software)

    def variables(
        self, *, arch: str = "", python: str = "python3", software: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Values of `python` and `command` for one partition. python: the interpreter there; software: its cluster's,
        which says what a command is: one word, or a list of them."""
        found = self.invocation(arch, software or {})
        command: Any = self.software.command_for(arch)
        if found is not None:
            command = found.words[0] if len(found.words) == 1 else list(found.words)
        if not command and self.software.embedded == "python":
            command = python
        return {"python": python, "command": command} if command else {"python": python}

    def render(
        self,
        params: Mapping[str, Any],
        variables: Mapping[str, Any] | None = None,
        *,
        setup: str = "",
        continues: bool = False,
    ) -> str:
        """The script for validated parameters. setup: shell text before it (`Invocation.setup`); continues: the script that
        goes on from a checkpoint, which only a document with a restart recipe has. InvalidInput (script.failed) where it
        cannot be made of them."""
        text, words = self.script, list[str]()
        if continues:
            if self.restart is None:
                raise InvalidInput("script.failed", f"{self.id} has no restart recipe")
            text, words = self.restart.script or text, list(self.restart.arguments)
        own = {"restart": words} if self.restart is not None else {}
        try:
            script = compiled(text, checks.scripts(self.params))
            return setup + script.render({**params, **(variables or self.variables()), **own})
        except TemplateError as e:
            raise InvalidInput("script.failed", f"the script of {self.id} cannot be made: {e}") from None


def parse(text: str, *, files: Mapping[str, str] | None = None) -> Application:
    """YAML -> Application. files: SHA-256 by package name of the files it may name.

    InvalidInput (document.invalid) with `details.problems` [{line, column, path, message}], all that was found.
    """
    doc = load(text)
    if doc.problems:
        raise _invalid(doc.problems)
    return _build(doc, files or {})


def from_body(body: Mapping[str, Any]) -> Application:
    """The application whose `body` this is, as stored."""
    return _build(Doc(dict(body), {(): Mark(1, 1)}), {}, stored=True)


def _invalid(problems: tuple[Problem, ...] | list[Problem]) -> InvalidInput:
    ordered = sorted(set(problems))
    return InvalidInput(
        "document.invalid",
        f"application document: {'; '.join(str(p) for p in ordered[:5])}"
        + (f"; and {len(ordered) - 5} more" if len(ordered) > 5 else ""),
        hint="mend the document; `tide apps lint` checks it again",
        details={
            "problems": [{"line": p.line, "column": p.column, "path": p.path, "message": p.message} for p in ordered]
        },
    )


def _build(doc: Doc, hashes: Mapping[str, str], *, stored: bool = False) -> Application:
    """stored: it was accepted before, perhaps by an earlier release: what is only good form is not asked for again."""
    problems: list[Problem] = []
    for e in _params.validator(SCHEMA).iter_errors(doc.value):
        unknown = e.validator in ("additionalProperties", "propertyNames")
        problems.append(doc.problem(_params.where(e), _params.message(e), key=unknown))
    if problems:
        raise _invalid(problems)
    body = dict(doc.value)
    body["files"] = _files(doc, body, hashes, problems)
    needs = amounts.read(doc, body, problems)
    for path, message in _params.schema_problems(body["params"]):
        problems.append(doc.problem(("params", *path), message))
    recipe = recipes.read(doc, body, problems)
    checks.names(doc, body, problems)
    if not stored:
        ui.check(doc, body, problems)
    resources = needs.fixed(needs.default, Resources())
    if not problems:
        resources = checks.behaviour(doc, body, needs, problems) or resources
    if problems:
        raise _invalid(problems)
    software = body.get("software", {})
    command = software.get("command", {})
    return Application(
        id=body["id"],
        version=content_hash(body),
        title=body["title"],
        summary=body.get("summary", {}),
        params=body["params"],
        ui=body.get("ui", {}),
        resources=resources,
        limits=needs.fixed(needs.most, Resources(0, 0, 0, "", 0, 0, 0)),
        software=Software(
            {"*": command} if isinstance(command, str) else dict(command),
            software.get("embedded", ""),
            tuple(_variant(v) for v in software.get("variants", ())),
        ),
        files=tuple(AppFile(f["path"], f["package"], f["sha256"]) for f in body["files"]),
        inputs=tuple(body.get("inputs", ())),
        outputs=tuple(body.get("outputs", ())),
        movable=body.get("movable"),
        restartable=body.get("restartable", "restart" in body),
        progress=body.get("progress", ""),
        tests=tuple(_test(t, i) for i, t in enumerate(body.get("tests", ()))),
        script=body["script"],
        body=body,
        restart=recipe,
        needs=needs,
        licences=body.get("licences", {}),
        work=body.get("work", ""),
        progress_in=body.get("progress_in", ""),
        progress_of=body.get("progress_of", ""),
    )


def _variant(v: Mapping[str, Any]) -> Variant:
    kind = next((k for k in (Kind.MODULE, Kind.APPTAINER, Kind.SPACK) if k in v), Kind.COMMAND)
    return Variant(v[kind], kind, v.get("command", ""), tuple(v.get("arch", ())))


def _test(t: Mapping[str, Any], i: int) -> AppTest:
    expect = tuple(Expect(**e) for e in t.get("expect", ()))
    asked = amounts.plain(t.get("resources", {}))
    return AppTest(
        t.get("name", f"test {i}"), t.get("params", {}), expect, t.get("exit", 0), asked, t.get("array", ""), t.get("inputs", {})
    )


def _files(
    doc: Doc, body: Mapping[str, Any], hashes: Mapping[str, str], problems: list[Problem]
) -> list[dict[str, str]]:
    out = []
    for i, f in enumerate(body.get("files", ())):
        sha = f.get("sha256") or hashes.get(f["package"], "")
        if not sha:
            problems.append(doc.problem(("files", i, "package"), f"there is no package file {f['package']!r}"))
        out.append({"path": f["path"], "package": f["package"], "sha256": sha})
    return out

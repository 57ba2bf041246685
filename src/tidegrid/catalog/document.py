"""Application documents: what an application needs, takes, runs and leaves behind. One YAML text each.

    id: md-lj
    title: {en: …, zh: …}
    params: {…}                       # JSON Schema 2020-12 of an object
    ui: {steps: {order: 1, label: {en: Steps, zh: 步数}}}
    resources: {cores: 1, memory: 512 MiB, wall: 10m, max: {cores: 4}}
    software: {command: lmp}          # or {command: {x86_64: lmp, aarch64: lmp_arm}}, {embedded: python}
    files: [{path: md_lj.py, package: md_lj.py}]
    script: …                         # Jinja2, see `template`; also `python` and `command` are variables
    inputs: [data.*]                  # what it may be given
    outputs: [result.json]            # globs, fetched at the end
    movable: true
    restartable: false
    progress: 'step (\\d+)/(\\d+)'
    tests: [{name: tiny, params: {…}, expect: [{file: result.json, path: $.drift, max: 1e-3}]}]

The version is the SHA-256 of the document's canonical JSON, contents of its files included by their own hash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegrid.catalog import params as _params
from tidegrid.catalog import quantities
from tidegrid.catalog.document_schema import SCHEMA
from tidegrid.catalog.template import Script, TemplateError, compiled
from tidegrid.catalog.yamldoc import Doc, Mark, Path, Problem, content_hash, load, show_path
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.job import Resources

RESERVED = frozenset({"python", "command"})
SHORT = 12
_LIMITED = ("cores", "memory_mib", "gpus", "wall_s", "nodes")


@dataclass(frozen=True, slots=True)
class AppFile:
    """A file that travels with the application: put into the job's inputs as `path`; its content by hash."""

    path: str
    package: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Software:
    """command: by architecture, `*` for any; embedded: `python` where the server's own interpreter serves."""

    command: Mapping[str, str] = field(default_factory=dict)
    embedded: str = ""

    def command_for(self, arch: str) -> str:
        return self.command.get(arch) or self.command.get("*", "")


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
    name: str
    params: Mapping[str, Any]
    expect: tuple[Expect, ...]
    exit: int = 0


@dataclass(frozen=True, slots=True)
class Application:
    """A checked document. body: its JSON, from which `from_body` makes it again; version: the hash of that."""

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

    @property
    def short(self) -> str:
        """The version as shown: its first 12 characters."""
        return self.version[:SHORT]

    def validate(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters with defaults applied; InvalidInput (params.invalid)."""
        return _params.validate(self.params, params)

    def check_resources(self, wanted: Resources) -> None:
        """InvalidInput (resources.over_limit) where a request passes the document's limits; all of them named."""
        over = [
            f"{name} {getattr(wanted, name)} is above {getattr(self.limits, name)}"
            for name in _LIMITED
            if getattr(self.limits, name) and getattr(wanted, name) > getattr(self.limits, name)
        ]
        if over:
            raise InvalidInput(
                "resources.over_limit", f"{self.id} allows less: {'; '.join(over)}", details={"problems": over}
            )

    def installed(self, arch: str, software: Mapping[str, str]) -> bool:
        """Whether its command is among a cluster's `software`, or it needs none."""
        if not self.software.command:
            return True
        return self.software.command_for(arch) in software

    def variables(
        self, *, arch: str = "", python: str = "python3", software: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Values of `python` and `command` for one partition. python: the interpreter there; software: its cluster's,
        which says where a command is."""
        command = self.software.command_for(arch)
        command = (software or {}).get(command, command)
        if not command and self.software.embedded == "python":
            command = python
        return {"python": python, "command": command} if command else {"python": python}

    def render(self, params: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> str:
        """The script for validated parameters. InvalidInput (script.failed) where it cannot be made of them."""
        try:
            script = compiled(self.script, _scripts(self.params))
            return script.render({**params, **(variables or self.variables())})
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
    return _build(Doc(dict(body), {(): Mark(1, 1)}), {})


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


def _build(doc: Doc, hashes: Mapping[str, str]) -> Application:
    problems: list[Problem] = []
    for e in _params.validator(SCHEMA).iter_errors(doc.value):
        unknown = e.validator in ("additionalProperties", "propertyNames")
        problems.append(doc.problem(_params.where(e), _params.message(e), key=unknown))
    if problems:
        raise _invalid(problems)
    body = dict(doc.value)
    body["files"] = _files(doc, body, hashes, problems)
    resources, limits = _resources(doc, body, problems)
    for path, message in _params.schema_problems(body["params"]):
        problems.append(doc.problem(("params", *path), message))
    _names(doc, body, problems)
    if not problems:
        _behaviour(doc, body, problems)
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
        limits=limits,
        software=Software({"*": command} if isinstance(command, str) else dict(command), software.get("embedded", "")),
        files=tuple(AppFile(f["path"], f["package"], f["sha256"]) for f in body["files"]),
        inputs=tuple(body.get("inputs", ())),
        outputs=tuple(body.get("outputs", ())),
        movable=body.get("movable"),
        restartable=body.get("restartable", False),
        progress=body.get("progress", ""),
        tests=tuple(_test(t, i) for i, t in enumerate(body.get("tests", ()))),
        script=body["script"],
        body=body,
    )


def _test(t: Mapping[str, Any], i: int) -> AppTest:
    expect = tuple(Expect(**e) for e in t.get("expect", ()))
    return AppTest(t.get("name", f"test {i}"), t.get("params", {}), expect, t.get("exit", 0))


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


def _resources(doc: Doc, body: Mapping[str, Any], problems: list[Problem]) -> tuple[Resources, Resources]:
    given = body.get("resources", {})

    def read(values: Mapping[str, Any], path: Path, base: Resources) -> Resources:
        found: dict[str, Any] = {}
        for key, name, of in (("memory", "memory_mib", quantities.mib), ("wall", "wall_s", quantities.seconds)):
            if key in values:
                try:
                    found[name] = of(values[key])
                except ValueError as e:
                    problems.append(doc.problem((*path, key), str(e)))
        return Resources(
            cores=values.get("cores", base.cores),
            memory_mib=found.get("memory_mib", base.memory_mib),
            gpus=values.get("gpus", base.gpus),
            gpu_type=values.get("gpu_type", base.gpu_type),
            wall_s=found.get("wall_s", base.wall_s),
            nodes=values.get("nodes", base.nodes),
            ranks=values.get("ranks", base.ranks),
            exclusive=values.get("exclusive", base.exclusive),
        )

    default = read(given, ("resources",), Resources())
    limits = read(given.get("max", {}), ("resources", "max"), Resources(0, 0, 0, "", 0, 0, 0))
    for name in _LIMITED:
        limit = getattr(limits, name)
        if limit and getattr(default, name) > limit:
            problems.append(doc.problem(("resources",), f"the default {name} is above the limit {limit}"))
    return default, limits


def _scripts(schema: Mapping[str, Any]) -> frozenset[str]:
    """Parameters whose value is itself a shell script."""
    return frozenset(
        name
        for name, p in schema.get("properties", {}).items()
        if isinstance(p, Mapping) and p.get("type") == "string" and p.get("contentMediaType") == "text/x-shellscript"
    )


def _names(doc: Doc, body: Mapping[str, Any], problems: list[Problem]) -> None:
    """Names that must lead somewhere, and the regular expressions."""
    known = set(body["params"].get("properties", {}))
    for name in sorted(known & RESERVED):
        problems.append(doc.problem(("params", "properties", name), "the name is kept for the platform", key=True))
    for name in body.get("ui", {}):
        if name not in known:
            problems.append(doc.problem(("ui", name), "is not a parameter", key=True))
    try:
        if "progress" in body and re.compile(body["progress"]).groups not in (1, 2):
            problems.append(doc.problem(("progress",), "needs one group (percent) or two (done, of)"))
    except re.error as e:
        problems.append(doc.problem(("progress",), f"not a regular expression: {e}"))
    try:
        variables = Script(body["script"], _scripts(body["params"])).variables
    except TemplateError as e:
        at = f"line {e.line} of the script: " if e.line else ""
        problems.append(doc.problem(("script",), f"{at}{e}"))
        return
    free = RESERVED if "command" in body.get("software", {}) or "embedded" in body.get("software", {}) else {"python"}
    for name in sorted(variables - known - free):
        problems.append(doc.problem(("script",), f"{name} is not a parameter"))


def _behaviour(doc: Doc, body: Mapping[str, Any], problems: list[Problem]) -> None:
    """The tests' parameters fit, and the script can be made of them, and of the defaults where these suffice."""
    schema, script = body["params"], Script(body["script"], _scripts(body["params"]))
    cases: list[tuple[Path, Mapping[str, Any], bool]] = [(("script",), {}, False)]
    cases += [(("tests", i, "params"), t.get("params", {}), True) for i, t in enumerate(body.get("tests", ()))]
    for path, given, must in cases:
        try:
            full = _params.validate(schema, given)
        except InvalidInput as e:
            for p in e.details["problems"] if must else ():
                problems.append(doc.problem(path, f"{p['path']}: {p['message']}"))
            continue
        try:
            script.render({**full, "python": "python3", "command": "command"})
        except TemplateError as e:
            problems.append(doc.problem(("script",), f"with {show_path(path) if must else 'the defaults'}: {e}"))

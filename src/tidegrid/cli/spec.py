"""The options that describe a job, shared by `submit`, `run` and `offers`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegrid.cli import context, values
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.ids import parse

if TYPE_CHECKING:
    from tidegrid.client import Tide

SCRIPT_APP = "script"


def _list(names: tuple[str, ...], help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, show_default=False)


def wanted(
    app: Annotated[str, typer.Argument(metavar="[APP]", help="An application: `id` or `id@version`; left out with --script.", show_default=False)] = "",
    script: Annotated[Path | None, typer.Option(help="Run this script instead of an application.", metavar="FILE")] = None,
    param: Annotated[list[str] | None, _list(("--param", "-p"), "A parameter; @FILE reads a file.", "NAME=VALUE")] = None,
    name: Annotated[str, typer.Option(help="A name to know it by.", metavar="NAME", show_default=False)] = "",
    project: Annotated[str, typer.Option(help="The project it is counted to.", metavar="NAME", show_default=False)] = "",
    cores: Annotated[int | None, typer.Option("--cores", "-c", min=1, help="Cores of one task.", metavar="N")] = None,
    memory: Annotated[str, typer.Option("--memory", "-m", help="Memory of one task: 512M, 4G.", metavar="SIZE", show_default=False)] = "",
    nodes: Annotated[int | None, typer.Option("--nodes", "-N", min=1, help="Nodes of one task; cores, memory and GPUs are of each.", metavar="N")] = None,
    ranks: Annotated[int | None, typer.Option("--ranks", min=1, help="MPI processes on each node.", metavar="N")] = None,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="Whole nodes, which are paid for.")] = False,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs of one task.", metavar="N")] = None,
    gpu_type: Annotated[str, typer.Option(help="Kind of GPU.", metavar="TYPE", show_default=False)] = "",
    wall: Annotated[str, typer.Option("--wall", "-t", help="Time limit: 90s, 10m, 1h30m, HH:MM:SS; or auto: from earlier runs.", metavar="TIME", show_default=False)] = "",
    objective: Annotated[str, typer.Option("--objective", "-o", help="balanced, cheapest, fastest, deadline, budget or patient.", metavar="NAME", show_default=False)] = "",
    deadline: Annotated[str, typer.Option("--deadline", help="By when it should have ended: 2026-12-01T08:00, or from now: 6h.", metavar="TIME", show_default=False)] = "",
    budget: Annotated[str, typer.Option("--budget", help="What all of it may cost at most, at its full time limit.", metavar="YUAN", show_default=False)] = "",
    begin: Annotated[str, typer.Option("--begin", help="Not placed before: 2026-12-01T08:00, or from now: 6h.", metavar="TIME", show_default=False)] = "",
    work: Annotated[str, typer.Option("--work", help="Kind of work: batch, interactive, may_wait or training.", metavar="KIND", show_default=False)] = "",
    arch: Annotated[list[str] | None, _list(("--arch",), "Only on this architecture. Repeatable.", "ARCH")] = None,
    region: Annotated[list[str] | None, _list(("--region",), "Only in this region. Repeatable.", "REGION")] = None,
    stay_in: Annotated[list[str] | None, _list(("--stay-in",), "Region that its data must not leave. Repeatable.", "REGION")] = None,
    on: Annotated[list[str] | None, _list(("--on",), "Only there: CLUSTER or CLUSTER/PARTITION. Repeatable.", "PLACE")] = None,
    prefer: Annotated[list[str] | None, _list(("--prefer",), "Only there, tried in this order. Repeatable.", "PLACE")] = None,
    avoid: Annotated[list[str] | None, _list(("--avoid",), "Never there. Repeatable.", "PLACE")] = None,
    array: Annotated[str, typer.Option("--array", "-a", help="Task numbers, and how many at once: 0-99%10.", metavar="TASKS", show_default=False)] = "",
    after: Annotated[list[str] | None, _list(("--after",), "Start when this job has succeeded. Repeatable.", "JOB")] = None,
    after_any: Annotated[list[str] | None, _list(("--after-any",), "Start when this job has ended. Repeatable.", "JOB")] = None,
    env: Annotated[list[str] | None, _list(("--env", "-e"), "A variable for the job. Repeatable.", "NAME=VALUE")] = None,
    input: Annotated[list[str] | None, _list(("--input", "-i"), "A file or directory for the job: FILE, PATH=FILE, PATH=JOB:OUTPUT, or PATH=@DATASET. Repeatable.", "PATH=FILE")] = None,
    output: Annotated[list[str] | None, _list(("--output",), "Files to bring back. Repeatable.", "GLOB")] = None,
    movable: Annotated[bool | None, typer.Option("--movable/--not-movable", help="Whether it may be placed elsewhere when its cluster falls silent, and waits for a permit to start; by default it does.", show_default=False)] = None,
    restartable: Annotated[bool, typer.Option("--restartable", help="It may be started again after a broken run.")] = False,
    feature: Annotated[str, typer.Option("--feature", help="Of nodes, as in Slurm's --constraint.", metavar="WORDS", show_default=False)] = "",
    qos: Annotated[str, typer.Option("--qos", help="A quality of service of the site.", metavar="NAME", show_default=False)] = "",
    warn: Annotated[str, typer.Option("--warn", help="SIGUSR1 so long before the time limit: 60s, 5m.", metavar="TIME", show_default=False)] = "",
    checkpoint_every: Annotated[str, typer.Option(help="How often its checkpoint is copied out: 30s, 10m.", metavar="TIME", show_default=False)] = "",
    held: Annotated[bool, typer.Option("--held", help="Do not place it before `tide release`.")] = False,
) -> Callable[..., dict[str, Any]]:  # fmt: skip
    """What makes the submission's body from these options, once connected; the flag: whether files are uploaded."""
    if bool(app) == bool(script):
        raise InvalidInput("submit.what", "say what to run: an application, or --script FILE", hint="see `tide apps`")
    resources = {
        "cores": cores, "memory_mib": values.memory(memory) if memory else None, "gpus": gpus,
        "gpu_type": gpu_type or None, "wall_s": ("auto" if wall == "auto" else values.duration(wall)) if wall else None,
        "nodes": nodes, "ranks": ranks, "exclusive": exclusive or None,
    }  # fmt: skip
    site = {"features": feature, "qos": qos, "warn_s": values.duration(warn) if warn else 0}
    constraints = {"arch": arch, "regions": region, "any_of": on, "ordered": prefer, "exclude": avoid, "residency": stay_in}
    body: dict[str, Any] = {
        "app": app or SCRIPT_APP,
        "name": name or (script.name if script else ""),
        "project": project,
        "resources": {k: v for k, v in resources.items() if v is not None},
        "constraints": {k: v for k, v in constraints.items() if v},
        "objective": objective,
        "deadline": values.ahead(deadline),
        "budget": values.yuan(budget),
        "begin": values.ahead(begin),
        "work": work,
        "array": values.array(array),
        "after_ok": [_job(j) for j in after or ()],
        "after_any": [_job(j) for j in after_any or ()],
        "env": values.environment(env or ()),
        "outputs": list(output or ()),
        "movable": movable,
        "restartable": restartable,
        "checkpoint_every_s": values.duration(checkpoint_every) if checkpoint_every else None,
        "held": held,
        "site": {k: v for k, v in site.items() if v},
    }
    origins = [_origin(text) for text in input or ()]
    text = script.read_text(encoding="utf-8") if script else ""

    def build(tide: Tide, upload: bool) -> dict[str, Any]:
        made = dict(body)
        if script is not None:
            made["params"] = {"script": text, **values.params(param or (), {})}
        elif param:
            found = tide.app(app)
            made["params"] = values.params(param, found.get("params") or {})
        there = [o for o in origins if upload or o[1].startswith(("job-", "@"))]  # offers count where data may be
        made["inputs"] = [_input(tide, *origin) for origin in there]
        if not upload and origins:
            local = [Path(source).stat().st_size for _, source in origins if not source.startswith(("job-", "@"))]
            made |= {"input_bytes": sum(local), "input_files": len(local)}
        return {k: v for k, v in made.items() if v not in ("", [], {}, None, False)} | (
            {"movable": movable} if movable is not None else {}
        )

    return build


def _job(text: str) -> str:
    parse("job", text)
    return text.strip().lower()


def _origin(text: str) -> tuple[str, str]:
    """(path for the job, where from); a lone FILE keeps its name."""
    path, sign, source = text.partition("=")
    if not sign:
        path, source = PurePosixPath(text).name, text
    if not path or not source:
        raise InvalidInput("input.malformed", f"--input {text!r} names no file", hint="write FILE or PATH=FILE")
    if not source.startswith(("job-", "@")) and not Path(source).exists():
        raise InvalidInput("file.missing", f"--input: there is no file {source!r}")
    if source.startswith("@") and not sign:
        path = source[1:]
    return path, source


def _input(tide: Tide, path: str, source: str) -> dict[str, Any]:
    if source.startswith("job-"):
        job, sign, output = source.partition(":")
        if not sign:
            raise InvalidInput("input.malformed", f"{source!r} names no output", hint="write PATH=JOB:OUTPUT")
        return {"path": path, "job": _job(job), "source": output}
    if source.startswith("@"):
        return {"path": path, "tree": tide.dataset(source[1:])["sha256"]}
    return brought(tide, path, Path(source))


def brought(tide: Tide, path: str, source: Path) -> dict[str, Any]:
    """An input from a file or directory here, which is uploaded."""
    from tidegrid.cli.data import progress

    context.note(f"uploading {source}")
    with progress(str(source), False) as said:
        if source.is_dir():
            return {"path": path, "tree": tide.upload_directory(source, progress=said).sha256}
        return {"path": path, "sha256": tide.upload(source, progress=said)["sha256"]}


def describes_a_job(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give `verb` the options of `wanted`; what they mean arrives as its argument `build`."""
    shared = inspect.signature(wanted, eval_str=True).parameters
    own = inspect.signature(verb, eval_str=True).parameters

    @functools.wraps(verb)
    def both(**given: Any) -> Any:
        build = wanted(**{k: given.pop(k) for k in shared})
        return verb(build=build, **given)

    parameters = [*shared.values(), *(p for n, p in own.items() if n != "build")]
    both.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    both.__annotations__ = {p.name: p.annotation for p in parameters}
    del both.__wrapped__
    return both



"""ps, show, explain, hold, release, cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json
from tidegrid.domain.errors import NotFound, Unreachable

if TYPE_CHECKING:
    from tidegrid.client import Tide

JobArg = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.", show_default=False)]
JobArgs = Annotated[list[str], typer.Argument(metavar="JOB…", help="Ids of jobs.", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command()(ps)
    app.command("show")(show_job)
    app.command()(explain)
    app.command()(hold)
    app.command()(release)
    app.command()(cancel)


def ps(
    state: Annotated[str, typer.Option("--state", "-s", help="Only in this state.", metavar="STATE", show_default=False)] = "",
    project: Annotated[str, typer.Option(help="Only of this project.", metavar="NAME", show_default=False)] = "",
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many, newest first.", metavar="N")] = 20,
    everything: Annotated[bool, typer.Option("--all", "-a", help="All of them.")] = False,
    progress: Annotated[bool, typer.Option("--progress", help="Ask how far those are that run: one question a job.")] = False,
    json: Json = False,
) -> None:
    """List jobs, newest first."""
    from itertools import islice

    with context.connected() as tide:
        page = 500 if everything else min(number, 500)
        jobs = list(islice(tide.jobs(state=state or None, project=project or None, page=page),
                           None if everything else number))  # fmt: skip
        far = {j.id: _progress(tide, j.id) for j in jobs if j.state == "running"} if progress else {}
    if json:
        context.emit([{**j.raw, "progress": far.get(j.id)} if progress else j.raw for j in jobs])
        return
    from tidegrid.cli import show

    show.table(
        ["JOB", "NAME", "APP", "TASKS", "STATE", *(["DONE"] if progress else []), "AGE", "RAN", "COST", "REASON"],
        [
            [j.id, j.name, j.app, j.tasks, show.state(j.state), *([_percent(far.get(j.id))] if progress else []),
             show.ago(j.created_at), show.between(j.started_at, j.ended_at), j.cost, j.reason or ""]
            for j in jobs
        ],
        right=["TASKS", "DONE", "AGE", "RAN", "COST"],
        empty="no jobs",
    )  # fmt: skip


def show_job(job: JobArg, json: Json = False) -> None:
    """Show one job and its attempts; of one that runs, how far it is, where its application says so."""
    with context.connected() as tide:
        found = tide.job(job)
        far = _progress(tide, job) if found.state == "running" else None
    if json:
        context.emit({**found.raw, "progress": far} if far else found.raw)
        return
    from tidegrid.cli import show

    r = found.resources
    show.facts([
        ("job", found.id), ("name", found.name), ("state", show.state(found.state)), ("reason", found.reason),
        ("done", _percent(far)),
        ("owner", f"{found.user} of {found.org}, project {found.project}"),
        ("application", f"{found.app}@{found.app_version[:12]}"),
        ("tasks", found.tasks if found.tasks > 1 else None),
        ("resources", (f"{r.nodes} {'whole ' if r.exclusive else ''}nodes of " if r.nodes > 1 or r.exclusive else "")
         + f"{r.cores} cores, {r.memory_mib} MiB" + (f", {r.gpus} GPUs {r.gpu_type}" if r.gpus else "")
         + (f", {r.ranks} processes on each" if r.ranks > 1 else "")
         + f", {show.seconds(r.wall_s)} at most"),
        ("objective", found.objective), ("deadline", show.moment(found.deadline)), ("budget", found.budget),
        ("submitted", show.moment(found.created_at)), ("started", show.moment(found.started_at)),
        ("ended", show.moment(found.ended_at)), ("ran", show.between(found.started_at, found.ended_at)),
        ("moved", found.moved or None), ("cost", found.cost),
    ])  # fmt: skip
    if found.attempts:
        show.heading("attempts")
        show.table(
            ["ATTEMPT", "WHERE", "TASKS", "STATE", "REASON", "NATIVE ID", "STARTED", "RAN", "DETAIL"],
            [
                [a.id, f"{a.cluster}/{a.partition}", a.tasks, show.state(a.state.lower()), show.state(a.reason or ""),
                 a.native_id, show.moment(a.started_at), show.between(a.started_at, a.ended_at), a.detail]
                for a in found.attempts
            ],
        )  # fmt: skip


def _progress(tide: Tide, job: str) -> dict[str, Any] | None:
    """None where its cluster is silent: nobody waits for that."""
    try:
        return tide.progress(job)
    except (Unreachable, NotFound):
        return None


def _percent(far: dict[str, Any] | None) -> str:
    if not far or far.get("percent") is None:
        return ""
    return f"{far['percent']:g} %" + (f" ({far['done']:g} of {far['of']:g})" if far.get("of") else "")


def explain(job: JobArg, json: Json = False) -> None:
    """Say why a job went where it went, and what else was possible."""
    with context.connected() as tide:
        found = tide.explain(job)
    if json:
        context.emit(found)
        return
    from tidegrid.cli import placement

    placement.explanation(found)


def hold(jobs: JobArgs, json: Json = False) -> None:
    """Keep jobs from being placed."""
    _each("hold", jobs, json)


def release(jobs: JobArgs, json: Json = False) -> None:
    """End a hold."""
    _each("release", jobs, json)


def cancel(jobs: JobArgs, json: Json = False) -> None:
    """Cancel jobs. A wish that stands: also while their cluster is silent."""
    _each("cancel", jobs, json)


def _each(what: str, jobs: list[str], json: bool) -> None:
    from tidegrid.domain.ids import parse

    for job in jobs:
        parse("job", job)  # all are ids, or nothing is done
    done = []
    with context.connected() as tide:
        for job in jobs:
            found = getattr(tide, what)(job)
            done.append(found.raw)
            if not json:
                print(f"{found.id} {found.state}", flush=True)
    if json:
        context.emit(done)

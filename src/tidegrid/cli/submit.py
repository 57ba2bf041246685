"""Offers, submit, run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json
from tidegrid.cli.signals import deferred
from tidegrid.cli.spec import describes_a_job

if TYPE_CHECKING:
    from tidegrid.client import Job, Tide

Build = Callable[..., dict[str, Any]]  # (tide, upload the files?) -> the body
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait for its end; exit 1 where it fails.")]
Key = Annotated[str, typer.Option("--key", help="Idempotency key: submitting twice with it submits once.", metavar="KEY", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command()(offers)
    app.command()(submit)
    app.command()(run)


@describes_a_job
def offers(build: Build, json: Json = False) -> None:
    """Show where a job could run now, what it would wait and cost. Nothing is submitted."""
    with context.connected() as tide:
        body = build(tide, False)
        found = tide.offers(**body)
    if json:
        context.emit(found)
        return
    from tidegrid.cli import placement

    placement.offers(found)


@describes_a_job
def submit(build: Build, wait: Wait = False, key: Key = "", json: Json = False) -> int:
    """Submit a job, and print its id."""
    with context.connected() as tide:
        job = _submit(tide, build, key)
        if not wait:
            context.emit(job.raw) if json else print(job.id)
            return 0
        if not json:
            print(job.id, flush=True)
        job = _wait(tide, job, quiet=json)
    if json:
        context.emit(job.raw)
    else:
        _closing(job)
    return 0 if job.succeeded else 1


@describes_a_job
def run(build: Build, key: Key = "", json: Json = False) -> int:
    """Submit a job, show what it writes, and end as it ends. Ctrl-C leaves it running."""
    with context.connected() as tide:
        job = _submit(tide, build, key)
        try:
            if json or job.tasks > 1:
                job = _wait(tide, job, quiet=json)
            else:
                context.note(f"{job.id} submitted")
                _follow(tide, job)
                job = tide.wait(job.id)
        except KeyboardInterrupt:
            context.note(f"{job.id} goes on; `tide wait {job.id}` or `tide cancel {job.id}`")
            raise
    if json:
        context.emit(job.raw)
    else:
        _closing(job)
    return 0 if job.succeeded else 1


def _submit(tide: Tide, build: Build, key: str) -> Job:
    body = build(tide, True)
    job: Job | None = None
    try:
        with deferred():
            job = tide.submit(**body, key=key or None)
    except KeyboardInterrupt:
        if job is not None:
            context.note(f"{job.id} is submitted; `tide cancel {job.id}` takes it back")
        raise
    return job


def _follow(tide: Tide, job: Job) -> None:
    for data in tide.follow_logs(job.id):
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    for data in tide.follow_logs(job.id, stream="err"):
        sys.stderr.buffer.write(data)
        sys.stderr.flush()


def _wait(tide: Tide, job: Job, quiet: bool) -> Job:
    from tidegrid.cli.watch import wait_for

    return wait_for(tide, [job.id], quiet=quiet)[0]


def _closing(job: Job) -> None:
    from tidegrid.cli import show

    where = f" on {job.cluster}" if job.cluster else ""
    why = f" ({job.reason})" if job.reason and not job.succeeded else ""
    took = show.between(job.started_at, job.ended_at)
    context.note(f"{job.id} {job.state}{where}{why}, ran {took}, {job.cost}")

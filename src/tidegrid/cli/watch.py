"""wait, logs, events: what goes on until something ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json
from tidegrid.cli.jobs import JobArg, JobArgs
from tidegrid.cli.values import duration

if TYPE_CHECKING:
    from tidegrid.client import Event, Job, Tide


def register(app: typer.Typer) -> None:
    app.command()(wait)
    app.command()(logs)
    app.command()(events)


def wait(
    jobs: JobArgs,
    timeout: Annotated[str, typer.Option(help="Give up after: 90s, 10m.", metavar="TIME", show_default=False)] = "",
    json: Json = False,
) -> int:
    """Wait until jobs have ended; exit 1 where one did not succeed."""
    limit = float(duration(timeout)) if timeout else None
    with context.connected() as tide:
        ended = wait_for(tide, jobs, timeout=limit, quiet=json)
    if json:
        context.emit([j.raw for j in ended])
    else:
        for job in ended:
            print(f"{job.id} {job.state}" + (f" ({job.reason})" if job.reason and not job.succeeded else ""))
    return 0 if all(j.succeeded for j in ended) else 1


def wait_for(tide: Tide, jobs: Sequence[str], *, timeout: float | None = None, quiet: bool = False) -> list[Job]:
    """The jobs once all are final, with a line of progress where a person looks on. timeout: seconds, for all of them."""
    end = None if timeout is None else time.monotonic() + timeout
    ended: list[Job] = []
    lively = not quiet and sys.stderr.isatty()
    from tidegrid.cli import show

    status = show.console(err=True).status("") if lively else None
    if status is not None:
        status.start()
    try:
        for n, job_id in enumerate(jobs):

            def seen(job: Job, n: int = n) -> None:
                if status is not None:
                    many = f"  [{n}/{len(jobs)} ended]" if len(jobs) > 1 else ""
                    status.update(f"{job.id} {job.state}{many}")

            left = None if end is None else max(0.0, end - time.monotonic())
            ended.append(tide.wait(job_id, timeout=left, seen=seen))
    finally:
        if status is not None:
            status.stop()
    return ended


def logs(
    job: JobArg,
    task: Annotated[int, typer.Option(min=0, help="Which task of an array.", metavar="N")] = 0,
    err: Annotated[bool, typer.Option("--err", help="What it wrote to standard error.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    json: Json = False,
) -> None:
    """Show what a job writes."""
    stream = "err" if err else "out"
    with context.connected() as tide:
        if follow:
            for data in tide.follow_logs(job, task=task, stream=stream):
                _write(data, json, job, task, stream)
            return
        offset = 0
        while True:
            data, offset = tide.logs(job, task=task, stream=stream, offset=offset)
            if data or (json and offset == 0):
                _write(data, json, job, task, stream)
            if not data:
                return


def _write(data: bytes, json: bool, job: str, task: int, stream: str) -> None:
    if json:
        context.emit({"job": job, "task": task, "stream": stream, "text": data.decode("utf-8", "replace")})
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show what happens from now on.")] = False,
    after: Annotated[int | None, typer.Option(min=0, help="Only behind this number.", metavar="N")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", "-k", help="Only of this kind. Repeatable.", metavar="KIND", show_default=False)] = None,
    job: Annotated[str, typer.Option("--job", help="Only of this job.", metavar="JOB", show_default=False)] = "",
    json: Json = False,
) -> None:
    """Show what happened; with -f, what happens. JSON is one event a line."""
    with context.connected() as tide:
        if follow:
            for event in tide.events(after=after, kinds=kind or (), job=job or None):
                _event(event, json)
            return
        position = after or 0
        while page := tide.events_page(after=position, kinds=kind or (), job=job or None, limit=500):
            for event in page:
                _event(event, json)
            position = page[-1].seq


def _event(event: Event, json: bool) -> None:
    if json:
        import json as codec

        print(codec.dumps(event.raw, ensure_ascii=False), flush=True)
        return
    from tidegrid.cli import placement, show

    what = " ".join(t for t in (event.job, event.cluster, placement.details(event.body)) if t)
    print(f"{event.seq:>8}  {show.moment(event.at)}  {event.kind:<24}  {what}", flush=True)

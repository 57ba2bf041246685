"""fetch: what jobs produced, brought here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json
from tidegrid.cli.jobs import JobArg

if TYPE_CHECKING:
    from tidegrid.client import Output


def register(app: typer.Typer) -> None:
    app.command()(fetch)


def fetch(
    job: JobArg,
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH]…", help="Only these.", show_default=False)] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Directory to write to; by default named after the job.", metavar="DIR")] = None,
    list_only: Annotated[bool, typer.Option("--list", "-l", help="Show what there is, fetch nothing.")] = False,
    json: Json = False,
) -> None:
    """Bring a job's outputs here. A file appears whole or not at all."""
    from tidegrid.cli import show

    with context.connected() as tide:
        if list_only:
            found = tide.outputs(job)
            if json:
                context.emit([{"path": o.path, "size": o.size, "sha256": o.sha256, "state": o.state} for o in found])
            else:
                show.table(["PATH", "BYTES", "STATE", "SHA-256"],
                           [[o.path, f"{o.size:,}", o.state, (o.sha256 or "")[:16]] for o in found],
                           right=["BYTES"], empty="no outputs")  # fmt: skip
            return
        target = to or Path(job)
        lively = not json and sys.stderr.isatty()

        def progress(output: Output, got: int) -> None:
            if lively:
                sys.stderr.write(f"\r\x1b[K{output.path}  {got:,} of {output.size:,} bytes")
                sys.stderr.flush()

        written = tide.fetch(job, target, only=paths or (), progress=progress)
        if lively and written:
            sys.stderr.write("\r\x1b[K")
    if json:
        context.emit([str(p) for p in written])
    elif not written:
        context.note(f"{job} has no outputs to fetch")
    else:
        for path in written:
            print(path)

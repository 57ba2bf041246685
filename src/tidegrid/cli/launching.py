"""up, demo: the only verbs that reach past the API, into launch, which is loaded when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(demo)


def up(
    home: Annotated[
        Path | None,
        typer.Option(help="Where the server keeps everything [TIDE_HOME, ~/.tidegrid].", metavar="DIR", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; by default this machine only.", metavar="ADDRESS", show_default=False)] = "",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.", metavar="PORT", show_default=False)
    ] = None,
    database: Annotated[
        str, typer.Option(help="postgresql+psycopg://…; by default SQLite in the home.", metavar="URL", show_default=False)
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(help="Where files are that the servers of one network share; by default the home.", metavar="DIR", show_default=False),
    ] = None,
    accept_clock: Annotated[bool, typer.Option("--accept-clock", help="Go on although the clock stepped back.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Write the log to the home instead of here.")] = False,
    json: Json = False,
) -> None:
    """Start a server: the API, the loops, and the embedded clusters of its network."""
    from tidegrid.launch import serve

    where = home or context.home()

    def ready(url: str) -> None:
        if json:
            context.emit({"url": url, "home": str(where)})
        else:
            context.note(f"tidegrid answers at {url}; Ctrl-C ends it, jobs go on")

    serve.serve(where, host=host, port=port, database=database, accept_clock=accept_clock, quiet=quiet or json, ready=ready,
                data=data)  # fmt: skip


def demo(
    keep: Annotated[
        Path | None,
        typer.Option(help="Leave everything behind in this new directory.", metavar="DIR", show_default=False),
    ] = None,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="On real Slurm clusters: LAMMPS and GROMACS over MPI, one cluster taken away.")
    ] = False,
    json: Json = False,
) -> int:
    """See three clusters in three regions act as one machine: real work, one cluster falling silent, nothing lost."""
    from tidegrid.launch import demo as show_it

    if slurm:
        from tidegrid.launch import demo_slurm

        return demo_slurm.run(json=json, keep=keep)
    return show_it.run(json=json, keep=keep)

"""testbed: real Slurm clusters on this machine, to try and to test with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json

Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="Where everything of it is [testbed in TIDE_HOME or ~/.tidegrid].", metavar="DIR", show_default=False),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Real Slurm clusters on this machine, to try things with.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command()(up)
    group.command()(show)
    group.command()(down)
    app.add_typer(group, name="testbed")


def up(
    slurm: Annotated[int, typer.Option("--slurm", help="How many clusters.", min=1, max=8, metavar="N")] = 3,
    accounting: Annotated[bool, typer.Option("--accounting", help="The first has slurmdbd and MariaDB.")] = False,
    directory: Directory = None,
    json: Json = False,
) -> int:
    """Start Slurm clusters unlike each other, reached by ssh on this machine; root is not needed."""
    from tidegrid.launch.testbed import run

    return run.run_up(_where(directory), slurm, accounting=accounting, json=json)


def show(directory: Directory = None, json: Json = False) -> int:
    """How to reach the clusters that run."""
    from tidegrid.launch.testbed import run

    return run.run_show(_where(directory), json=json)


def down(directory: Directory = None, json: Json = False) -> int:
    """End the clusters with their jobs and remove everything of them."""
    from tidegrid.launch.testbed import run

    return run.run_down(_where(directory), json=json)


def _where(directory: Path | None) -> Path:
    return directory or context.home() / "testbed"

"""replay: decisions of placement made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)


def replay(
    hours: Annotated[float, typer.Option("--hours", help="Calls of the last hours.", min=0.001, max=24 * 366.0)] = 24.0,
    limit: Annotated[int, typer.Option("--limit", help="Calls at most, oldest first.", min=1, max=10_000)] = 1000,
    passes: Annotated[
        Path | None,
        typer.Option("--passes", help="Instead: an embedded cluster's record of its queue, fed to the simulator; asks no server.", metavar="FILE"),
    ] = None,
    json: Json = False,
) -> int:
    """Decide again what was decided live, from what was kept of it; exit status 1 where an answer differs (operators).

    Placement: from the pictures and requests that the server keeps. A queue: from HOME/clusters/NAME/passes.PARTITION.jsonl.
    """
    if passes is not None:
        return _queue(passes, json)
    with context.connected() as tide:
        found = tide.replay(hours=hours, limit=limit)
    if json:
        context.emit(found)
        return 1 if found["differ"] else 0
    from tidegrid.cli import show

    typer.echo(f"{found['calls']} calls of placement with {found['requests']} requests in the last {hours:g} h, decided again:")
    typer.echo(f"  {found['identical']} gave the same answer, byte for byte; {found['differ']} did not")
    if found["other_policy"]:
        typer.echo(f"  {found['other_policy']} were decided by another policy; {found['changed']} of them would be decided otherwise now")
    if found["no_picture"]:
        typer.echo(f"  of {found['no_picture']} the picture is no longer kept, or cannot be read")
    if found["differences"]:
        show.table(["CALL", "AT", "WHY", "PICTURE"], [[d["call"], d["at"], d["why"], d["snapshot"][:12]] for d in found["differences"]])
    return 1 if found["differ"] else 0


def _queue(path: Path, json: bool) -> int:
    from dataclasses import asdict

    from tidegrid.lab.live import check_file

    found = check_file(path)
    if json:
        context.emit({**asdict(found), "agrees": found.agrees})
    else:
        typer.echo(f"{found.passes} passes over {found.jobs} tasks, {found.starts} started: the simulator chose the same in {found.same}")
        if found.first is not None:
            typer.echo(f"  the first that differs is pass {found.first['pass']}: live {' '.join(found.first['live']) or 'nobody'}, "
                       f"simulated {' '.join(found.first['simulated']) or 'nobody'}")  # fmt: skip
    return 0 if found.agrees else 1

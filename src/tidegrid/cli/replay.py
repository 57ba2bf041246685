"""replay: decisions of placement made again."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)


def replay(
    hours: Annotated[float, typer.Option("--hours", help="Calls of the last hours.", min=0.0, max=24 * 365.0)] = 24.0,
    limit: Annotated[int, typer.Option("--limit", help="Calls at most, oldest first.", min=1, max=10_000)] = 1000,
    json: Json = False,
) -> int:
    """Decide again what placement decided, from what was kept of it; exit status 1 where an answer differs (operators)."""
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
    with context.connected() as tide:
        found = tide.replay(since=since.isoformat(), limit=limit)
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

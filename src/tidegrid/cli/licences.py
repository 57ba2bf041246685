"""licences: how many there are, and how many are free."""

from __future__ import annotations

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json


def register(app: typer.Typer) -> None:
    app.command("licences")(licences)


def licences(json: Json = False) -> None:
    """Show licences: how many there are, in use and free, and where they serve."""
    with context.connected() as tide:
        found = tide.licences()
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    show.table(
        ["LICENCE", "FEATURE", "COUNT", "USED", "FREE", "SERVES", "HELD BY"],
        [
            [x["name"], x["feature"], x["count"], x["used"], x["free"], f"{len(x['at'])} partitions",
             ", ".join(f"{h['org']} {h['count']}" for h in x.get("holders") or ())]
            for x in found
        ],
        right=["COUNT", "USED", "FREE"],
        empty="the network file names no licences",
    )  # fmt: skip

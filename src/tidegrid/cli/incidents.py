"""incident: what went wrong at clusters, and what was done."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Troubles of clusters, and what was done (operators).", no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(list_incidents)
    group.command("show")(show_incident)
    app.add_typer(group, name="incident")


def list_incidents(
    cluster: Annotated[str, typer.Option("--cluster", help="Of this cluster only.", metavar="NAME", show_default=False)] = "",
    open: Annotated[bool, typer.Option("--open", help="Leave out what is over.")] = False,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many, newest first.", metavar="N")] = 50,
    json: Json = False,
) -> None:
    """List incidents, newest first."""
    with context.connected() as tide:
        rows = list(islice(tide.incidents(cluster=cluster or None, open=open, page=min(number, 500)), number))
    if json:
        context.emit(rows)
        return
    from tidegrid.cli import show

    show.table(
        ["INCIDENT", "WHERE", "CAUSE", "CAME TO", "OPENED", "LASTED", "MOVED", "LOST", "LAST"],
        [
            [r["id"], where(r), r.get("cause"), show.state(str(r.get("condition") or "")), show.moment(r.get("opened_at")),
             _lasted(r), r.get("moved"), r.get("lost"), (r.get("steps") or [{}])[-1].get("what", "")]
            for r in rows
        ],
        right=["LASTED", "MOVED", "LOST"],
        empty="no incidents",
    )  # fmt: skip


def show_incident(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT", help="An incident's id.", show_default=False)],
    json: Json = False,
) -> None:
    """Show an incident: evidence, and each step in its order."""
    with context.connected() as tide:
        found = tide.incident(incident)
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    show.facts([
        ("incident", found["id"]), ("where", where(found)), ("cause", found.get("cause")),
        ("came to", show.state(str(found.get("condition") or ""))), ("opened", show.moment(found.get("opened_at"))),
        ("closed", show.moment(found.get("closed_at")) or "still open"), ("lasted", _lasted(found)),
        ("jobs moved", found.get("moved")), ("attempts lost", found.get("lost")),
        ("evidence", ", ".join(f"{k} {v:g}" for k, v in (found.get("evidence") or {}).items())),
    ])  # fmt: skip
    show.heading("what happened")
    show.table(["WHEN", "WHAT"], [[show.moment(s.get("at")), s.get("what")] for s in found.get("steps") or []])


def where(row: dict[str, Any]) -> str:
    return f"{row['cluster']}/{row['partition']}" if row.get("partition") else str(row["cluster"])


def _lasted(row: dict[str, Any]) -> str:
    from tidegrid.cli import show

    begin, end = (datetime.fromisoformat(t.replace("Z", "+00:00")) if (t := row.get(k)) else None
                  for k in ("opened_at", "closed_at"))  # fmt: skip
    return show.between(begin, end)

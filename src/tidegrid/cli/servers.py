"""server: the servers that share the network."""

from __future__ import annotations

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Servers that share the network (operators).", no_args_is_help=True, rich_markup_mode=None)
    group.callback()(_group)
    group.command("list")(list_servers)
    app.add_typer(group, name="server")


def _group() -> None:
    return None


def list_servers(json: Json = False) -> None:
    """List servers, whether they live, and the roles they hold."""
    with context.connected() as tide:
        found = tide.servers()
    if json:
        context.emit(found)
        return
    from tidegrid.cli import show

    show.table(
        ["SERVER", "LIVES", "ADDRESS", "HOST", "PID", "SEEN", "HOLDS", "TOKEN", "SINCE"],
        [
            [*((s["name"], "yes" if s.get("live") else "no", s.get("url"), s.get("host"), s.get("pid"),
                show.moment(s.get("seen_at"))) if n == 0 else ("",) * 6),
             r.get("role"), r.get("token"), show.moment(r.get("since"))]
            for s in found["items"]
            for n, r in enumerate(s.get("roles") or [{}])
        ],
        right=["PID", "TOKEN"],
        empty="no server has told of itself",
    )  # fmt: skip
    if found.get("free"):
        context.note(f"held by nobody: {', '.join(found['free'])}")

"""Which servers live, and who holds what, as operators see it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from tidegrid.control import views
from tidegrid.control.context import Context
from tidegrid.store import leases

Row = Any


async def overview(ctx: Context) -> dict[str, Any]:
    """{items: servers with their roles, free: roles that some server could take and nobody holds}."""

    def read(conn: Connection) -> tuple[int, list[Row], list[Row]]:
        return leases.now(conn), leases.known(conn), leases.all(conn)

    now, servers, rows = await ctx.store.read(read)
    able = {role for s in servers for role in s["able"].split()}
    held = [r for r in rows if leases.lease(r).held(now)]
    return {
        "items": [_server(s, now, [r for r in held if r["holder"] == s["name"]]) for s in servers],
        "free": sorted(able - {r["role"] for r in held}),
    }


def _server(s: Row, now: int, held: list[Row]) -> dict[str, Any]:
    return {
        "name": s["name"],
        "url": s["url"],
        "host": s["host"],
        "pid": s["pid"],
        "version": s["version"],
        "live": s["expires_at"] > now,
        "started_at": views.when(s["started_at"]),
        "seen_at": views.when(s["seen_at"]),
        "able": s["able"].split(),
        "roles": [
            {"role": r["role"], "token": r["token"], "since": views.when(r["since"]), "expires_at": views.when(r["expires_at"])}
            for r in held
        ],
    }  # fmt: skip

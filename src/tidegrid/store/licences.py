"""Licences in use: what live attempts hold. Nothing gives them back: an attempt that has ended holds none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from tidegrid.store.schema import attempts, licence_uses


def take(conn: Connection, attempt_id: int, org_id: int, pools: Sequence[tuple[str, int]]) -> None:
    """pools: (pool, count)."""
    if pools:
        conn.execute(
            insert(licence_uses), [{"attempt_id": attempt_id, "org_id": org_id, "pool": p, "count": n} for p, n in pools]
        )


def forget(conn: Connection, attempt_id: int) -> None:
    """Of an attempt that is taken back before it was sent."""
    conn.execute(delete(licence_uses).where(licence_uses.c.attempt_id == attempt_id))


def in_use(conn: Connection) -> dict[str, int]:
    """Count by pool."""
    return {r["pool"]: int(r["count"]) for r in _live(conn, licence_uses.c.pool)}


def holders(conn: Connection) -> list[dict[str, Any]]:
    """{pool, org_id, count}, by pool."""
    return [dict(r) for r in _live(conn, licence_uses.c.pool, licence_uses.c.org_id)]


def _live(conn: Connection, *by: Any) -> list[Any]:
    query = (
        select(*by, func.sum(licence_uses.c["count"]).label("count"))
        .join(attempts, attempts.c.id == licence_uses.c.attempt_id)
        .where(attempts.c.state != "ENDED")
        .group_by(*by)
        .order_by(*by)
    )
    return list(conn.execute(query).mappings())

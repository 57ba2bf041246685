"""What is known of each cluster in operation: health, accounting position, lease, last loads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select
from sqlalchemy import update as _update

from tidegrid.domain.errors import NotFound
from tidegrid.store.schema import clusters

Row = RowMapping


def ensure(conn: Connection, names: Iterable[str]) -> list[str]:
    """A row for every name; returns those that are new. Rows that exist keep what they know."""
    known = set(conn.execute(select(clusters.c.name)).scalars())
    fresh = sorted(set(names) - known)
    if fresh:
        conn.execute(insert(clusters), [{"name": n} for n in fresh])
    return fresh


def get(conn: Connection, name: str) -> Row:
    """NotFound (cluster.unknown) where the network never had such a cluster."""
    row = conn.execute(select(clusters).where(clusters.c.name == name)).mappings().first()
    if row is None:
        raise NotFound("cluster.unknown", f"there is no cluster {name!r}", hint="`tide cluster list` names them")
    return row


def update(conn: Connection, name: str, **cols: Any) -> bool:
    """Whether there is such a cluster."""
    return conn.execute(_update(clusters).where(clusters.c.name == name).values(**cols)).rowcount > 0


def all(conn: Connection) -> list[Row]:
    """Every row, by name."""
    return list(conn.execute(select(clusters).order_by(clusters.c.name)).mappings())


def answered(conn: Connection, since: int) -> set[str]:
    """Clusters that are up and have answered some server since then (µs)."""
    query = select(clusters.c.name).where(clusters.c.health == "up", clusters.c.loads_at >= since)
    return set(conn.execute(query).scalars())


def remove(conn: Connection, names: Iterable[str]) -> None:
    """Forget clusters. Only for those no attempt will be asked about again."""
    conn.execute(delete(clusters).where(clusters.c.name.in_(list(names))))

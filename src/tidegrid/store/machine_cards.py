"""Machine cards of partitions: never changed, the newest is in force."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select

from tidegrid.store.schema import machine_cards

Row = dict[str, Any]
_c = machine_cards.c


def add(conn: Connection, row: Mapping[str, Any]) -> None:
    """row: with `body` as a JSON value."""
    body = json.dumps(row["body"], ensure_ascii=False, separators=(",", ":"))
    conn.execute(insert(machine_cards).values(**{**row, "body": body}))


def newest(conn: Connection) -> list[Row]:
    """The card in force of every partition that has one; `body` decoded."""
    last = select(func.max(_c.id)).group_by(_c.cluster, _c.partition)
    rows = conn.execute(select(machine_cards).where(_c.id.in_(last)).order_by(_c.cluster, _c.partition)).mappings()
    return [_decoded(r) for r in rows]


def history(conn: Connection, cluster: str, partition: str, *, limit: int, after: int | None = None) -> list[Row]:
    """Newest first, older than `after`."""
    query = select(machine_cards).where(_c.cluster == cluster, _c.partition == partition).order_by(_c.id.desc()).limit(limit)
    if after is not None:
        query = query.where(_c.id < after)
    return [_decoded(r) for r in conn.execute(query).mappings()]


def generation(conn: Connection) -> int:
    """Changes with every card."""
    return int(conn.execute(select(func.coalesce(func.max(_c.id), 0))).scalar_one())


def _decoded(row: Mapping[Any, Any]) -> Row:
    return {**row, "body": json.loads(row["body"])}

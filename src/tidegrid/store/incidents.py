"""The log of incidents: a place's trouble from its first sign to its end. At most one is open at a place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from tidegrid.store.schema import incidents

Row = dict[str, Any]
MAX_STEPS = 100


def open_at(conn: Connection, cluster: str, partition: str = "") -> Row | None:
    """The open incident of a place; `evidence` and `steps` are decoded."""
    query = select(incidents).where(
        incidents.c.cluster == cluster, incidents.c.partition == partition, incidents.c.closed_at.is_(None)
    )
    row = conn.execute(query).mappings().first()
    return None if row is None else _decoded(row)


def open_all(conn: Connection) -> list[Row]:
    return [_decoded(r) for r in conn.execute(select(incidents).where(incidents.c.closed_at.is_(None))).mappings()]


def add(conn: Connection, **cols: Any) -> None:
    conn.execute(insert(incidents).values(**_encoded(cols)))


def change(conn: Connection, incident_id: int, **cols: Any) -> None:
    conn.execute(update(incidents).where(incidents.c.id == incident_id).values(**_encoded(cols)))


def get(conn: Connection, incident_id: int) -> Row | None:
    row = conn.execute(select(incidents).where(incidents.c.id == incident_id)).mappings().first()
    return None if row is None else _decoded(row)


def page(
    conn: Connection, *, cluster: str | None = None, open_only: bool = False, limit: int = 50, after: int | None = None
) -> list[Row]:
    """Newest first, older than `after`."""
    query = select(incidents).order_by(incidents.c.id.desc()).limit(limit)
    if cluster is not None:
        query = query.where(incidents.c.cluster == cluster)
    if open_only:
        query = query.where(incidents.c.closed_at.is_(None))
    if after is not None:
        query = query.where(incidents.c.id < after)
    return [_decoded(r) for r in conn.execute(query).mappings()]


def _encoded(cols: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(cols)
    for name in ("evidence", "steps"):
        if name in out:
            value = out[name][-MAX_STEPS:] if name == "steps" else out[name]
            out[name] = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return out


def _decoded(row: Mapping[Any, Any]) -> Row:
    return {**row, "evidence": json.loads(row["evidence"]), "steps": json.loads(row["steps"])}

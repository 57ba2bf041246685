"""Why each part went where it went, and the snapshots the decisions were made on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from tidegrid.store import upsert
from tidegrid.store.schema import decisions, snapshots
from tidegrid.store.scope import Scope

Row = dict[str, Any]


def add(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of {id, org_id, job_id, part_id, at, chosen, body, snapshot, policy}; a body that is no text becomes JSON."""
    if rows:
        conn.execute(insert(decisions), [{**r, "body": _text(r["body"])} for r in rows])


def get(conn: Connection, scope: Scope, decision_id: int) -> Row | None:
    row = (
        conn.execute(select(decisions).where(decisions.c.id == decision_id, scope.filter(decisions))).mappings().first()
    )
    return None if row is None else _decoded(row)


def bodies(conn: Connection, ids: Sequence[int]) -> dict[int, Any]:
    """Decoded bodies of decisions, by id."""
    query = select(decisions.c.id, decisions.c.body).where(decisions.c.id.in_(list(ids)))
    return {i: json.loads(body or "{}") for i, body in conn.execute(query)}


def of_job(conn: Connection, scope: Scope, job_id: int) -> list[Row]:
    """Oldest first; `body` is decoded."""
    query = select(decisions).where(decisions.c.job_id == job_id, scope.filter(decisions)).order_by(decisions.c.id)
    return [_decoded(r) for r in conn.execute(query).mappings()]


def keep_snapshot(conn: Connection, revision: str, at: int, body: bytes) -> None:
    """Immutable: a revision known already stays as it is."""
    upsert.added(conn, snapshots, {"revision": revision, "at": at, "body": body})


def snapshot(conn: Connection, revision: str) -> bytes | None:
    """None where it was never kept, or no longer is."""
    found = conn.execute(select(snapshots.c.body).where(snapshots.c.revision == revision)).scalar()
    return None if found is None else bytes(found)


def prune_snapshots(conn: Connection, before: int) -> int:
    """Drop snapshots older than `before`; how many."""
    return conn.execute(delete(snapshots).where(snapshots.c.at < before)).rowcount


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _decoded(row: Mapping[Any, Any]) -> Row:
    return {**row, "body": json.loads(row["body"] or "{}")}

"""Why each part went where it went, and the snapshots the decisions were made on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from tidegrid.store import upsert
from tidegrid.store.schema import decision_batches, decisions, snapshots
from tidegrid.store.scope import Scope

Row = dict[str, Any]


def add(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of {id, org_id, job_id, part_id, at, chosen, body, snapshot, policy, batch}; a body that is no text becomes JSON."""
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


def keep_batch(conn: Connection, row: Mapping[str, Any]) -> None:
    """One call of placement: {id, at, why, snapshot, policy, requests, acted, asked, answer}."""
    conn.execute(insert(decision_batches).values(**row))


def acted(conn: Connection, batch_id: int, more: int) -> None:
    """So many more of a call's decisions led to something."""
    t = decision_batches
    conn.execute(update(t).where(t.c.id == batch_id).values(acted=t.c.acted + more))


def batches(conn: Connection, *, since: int, after: int, limit: int) -> list[tuple[Row, bytes | None]]:
    """Calls of placement of `since` or later with an id above `after`, oldest first, each with its snapshot's bytes."""
    t = decision_batches
    query = (
        select(t, snapshots.c.body.label("picture"))
        .outerjoin(snapshots, snapshots.c.revision == t.c.snapshot)
        .where(t.c.at >= since, t.c.id > after)
        .order_by(t.c.id)
        .limit(limit)
    )
    return [({**r}, None if r["picture"] is None else bytes(r["picture"])) for r in conn.execute(query).mappings()]


def prune(conn: Connection, *, before: int, idle_before: int) -> tuple[int, int]:
    """Drop calls of placement older than `before`, those that led to nothing already when older than `idle_before`, and
    snapshots that no call names any more; how many of each. The decisions themselves stay."""
    t = decision_batches
    gone = conn.execute(delete(t).where((t.c.at < before) | ((t.c.at < idle_before) & (t.c.acted == 0)))).rowcount
    unnamed = select(t.c.snapshot).where(t.c.snapshot == snapshots.c.revision).exists()
    return gone, conn.execute(delete(snapshots).where(snapshots.c.at < idle_before, ~unnamed)).rowcount


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _decoded(row: Mapping[Any, Any]) -> Row:
    return {**row, "body": json.loads(row["body"] or "{}")}

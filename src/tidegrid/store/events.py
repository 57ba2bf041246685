"""What happened, in one order: an append-only table that consumers read from their cursor on.

A consumer that has seen `seq` has seen everything before it. SQLite gives that with one writer. On PostgreSQL several
servers append; each takes the sequence's lock until its commit, so that numbers become visible in their order and a
snapshot never shows one while a smaller one may still come. A writer's events are kept until its transaction is about to
commit: so the lock is taken last, and servers wait for each other's commit and not for each other's work; and it is one statement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite

from tidegrid.store.schema import cursors, events
from tidegrid.store.scope import Scope

_LOCK = text("SELECT pg_advisory_xact_lock(7164233, 1)")
_INSERT = insert(events)
_KEPT = "tidegrid events"


Row = dict[str, Any]


def append(
    conn: Connection,
    *,
    kind: str,
    at: int,
    org_id: int | None = None,
    job_id: int | None = None,
    attempt_id: int | None = None,
    cluster: str = "",
    body: Mapping[str, Any] | None = None,
) -> None:
    """Add one event to the caller's transaction."""
    append_many(conn, [{"kind": kind, "at": at, "org_id": org_id, "job_id": job_id, "attempt_id": attempt_id,
                        "cluster": cluster, "body": body}])  # fmt: skip


def append_many(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add events given as `append`'s keywords, in this order. In a writer they are there only when its transaction commits."""
    if not rows:
        return
    kept: list[dict[str, Any]] | None = conn.info.get(_KEPT)
    if kept is not None:
        kept.extend(_row(r) for r in rows)
    else:
        _insert(conn, [_row(r) for r in rows])


def keep(conn: Connection) -> None:
    """From here on events are kept for `flush`."""
    conn.info[_KEPT] = []


def kept(conn: Connection) -> int:
    """How many are kept: what `forget_from` takes back to."""
    return len(conn.info.get(_KEPT, ()))


def forget_from(conn: Connection, mark: int) -> None:
    """A function of the group was undone, and its events with it."""
    if _KEPT in conn.info:
        del conn.info[_KEPT][mark:]


def flush(conn: Connection) -> None:
    """Insert what was kept, at the end of the transaction."""
    rows = conn.info.pop(_KEPT, None)
    if rows:
        _insert(conn, rows)


def _insert(conn: Connection, rows: list[dict[str, Any]]) -> None:
    if conn.dialect.name == "postgresql":
        conn.execute(_LOCK)
    conn.execute(_INSERT, rows)


def _row(r: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": r["kind"],
        "at": r["at"],
        "org_id": r.get("org_id"),
        "job_id": r.get("job_id"),
        "attempt_id": r.get("attempt_id"),
        "cluster": r.get("cluster") or "",
        "body": json.dumps(r.get("body") or {}, ensure_ascii=False, separators=(",", ":")),
    }


def after(
    conn: Connection,
    scope: Scope,
    seq: int,
    *,
    kinds: Sequence[str] = (),
    job_id: int | None = None,
    limit: int = 500,
) -> list[Row]:
    """Events of the scope with a higher number than `seq`, in order, at most `limit`; `body` is decoded."""
    query = select(events).where(events.c.seq > seq, scope.filter(events)).order_by(events.c.seq).limit(limit)
    if kinds:
        query = query.where(events.c.kind.in_(list(kinds)))
    if job_id is not None:
        query = query.where(events.c.job_id == job_id)
    return [{**row, "body": json.loads(row["body"])} for row in conn.execute(query).mappings()]


def last(conn: Connection) -> int:
    """The highest number given so far, 0 for none."""
    return int(conn.execute(select(func.coalesce(func.max(events.c.seq), 0))).scalar_one())


def newest(conn: Connection) -> int:
    """Microseconds UTC of the last event, 0 for none: no clock may be behind it."""
    query = select(events.c.at).order_by(events.c.seq.desc()).limit(1)
    return int(conn.execute(query).scalar() or 0)


def position(conn: Connection, consumer: str) -> int:
    """How far `consumer` has come; 0: it has seen nothing."""
    found = conn.execute(select(cursors.c.position).where(cursors.c.consumer == consumer)).scalar()
    return int(found or 0)


def advance(conn: Connection, consumer: str, position: int, at: int) -> None:
    """Remember that `consumer` has dealt with everything up to `position`; never backwards."""
    dialect: Any = postgresql if conn.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(cursors).values(consumer=consumer, position=position, updated_at=at)
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["consumer"],
            set_={"position": statement.excluded.position, "updated_at": statement.excluded.updated_at},
            where=cursors.c.position < statement.excluded.position,
        )
    )

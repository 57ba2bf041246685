"""Files on their way between the server and a site: one row a file, resumable from its offset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from tidegrid.store.schema import transfers
from tidegrid.store.scope import Scope

Row = RowMapping
_CHUNK = 500


def add(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows as they are now: new ones are inserted, those of the same (attempt, direction, path) are kept.

    All rows are of one attempt and direction.
    """
    if not rows:
        return []
    attempt_id, direction = rows[0]["attempt_id"], rows[0]["direction"]
    known = {r["path"] for r in of_attempt(conn, Scope(rows[0]["org_id"]), attempt_id, direction)}
    fresh = [dict(r) for r in rows if r["path"] not in known]
    for i in range(0, len(fresh), _CHUNK):
        conn.execute(insert(transfers), fresh[i : i + _CHUNK])
    return of_attempt(conn, Scope(rows[0]["org_id"]), attempt_id, direction)


def renew(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """As `add`, for files that are copied again and again: rows known by (attempt, direction, path) are pending once more."""
    stored = add(conn, rows)
    sizes = {r["path"]: r["size"] for r in rows}
    for row in stored:
        if row["path"] in sizes:
            conn.execute(
                update(transfers)
                .where(transfers.c.id == row["id"])
                .values(size=sizes[row["path"]], offset=0, state="pending", error="", ended_at=None)
            )
    return [r for r in of_attempt(conn, Scope(rows[0]["org_id"]), rows[0]["attempt_id"], rows[0]["direction"])
            if r["path"] in sizes] if rows else []  # fmt: skip


def of_attempt(conn: Connection, scope: Scope, attempt_id: int, direction: str) -> list[Row]:
    query = (
        select(transfers)
        .where(transfers.c.attempt_id == attempt_id, transfers.c.direction == direction, scope.filter(transfers))
        .order_by(transfers.c.id)
    )
    return list(conn.execute(query).mappings())


def of_job(conn: Connection, scope: Scope, job_id: int, direction: str = "out") -> list[Row]:
    """A job's files in the order of their paths."""
    query = (
        select(transfers)
        .where(transfers.c.job_id == job_id, transfers.c.direction == direction, scope.filter(transfers))
        .order_by(transfers.c.path, transfers.c.id)
    )
    return list(conn.execute(query).mappings())


def fetched(conn: Connection, scope: Scope, job_id: int, path: str) -> Row | None:
    """The result file `path` of a job, at home and verified."""
    query = select(transfers).where(
        transfers.c.job_id == job_id,
        transfers.c.direction == "out",
        transfers.c.path == path,
        transfers.c.state == "done",
        scope.filter(transfers),
    )
    return conn.execute(query.order_by(transfers.c.id)).mappings().first()


def paths_of_others(conn: Connection, scope: Scope, job_id: int, attempt_id: int) -> set[str]:
    """Result paths of the job that other attempts have taken."""
    query = select(transfers.c.path).where(
        transfers.c.job_id == job_id,
        transfers.c.direction == "out",
        transfers.c.attempt_id != attempt_id,
        scope.filter(transfers),
    )
    return set(conn.execute(query).scalars())


def progress(conn: Connection, id: int, offset: int) -> None:
    conn.execute(update(transfers).where(transfers.c.id == id).values(offset=offset))


_FINISH = (
    update(transfers)
    .where(transfers.c.id == bindparam("b_id"))
    .values(
        state="done", sha256=bindparam("b_sha256"), size=bindparam("b_size"), offset=bindparam("b_size"), error="",
        ended_at=bindparam("b_at"),
    )
)  # fmt: skip


def finish_many(conn: Connection, done: Iterable[tuple[int, str, int]], at: int) -> None:
    """(transfer, sha256, size), many at once."""
    rows = [{"b_id": id, "b_sha256": sha256, "b_size": size, "b_at": at} for id, sha256, size in done]
    if rows:
        conn.execute(_FINISH, rows)


def fail(conn: Connection, id: int, error: str, at: int) -> None:
    """Given up: `error` says why, for people."""
    conn.execute(update(transfers).where(transfers.c.id == id).values(state="failed", error=error[:500], ended_at=at))


def retry(conn: Connection, scope: Scope, attempt_id: int) -> int:
    """Put an attempt's failed transfers back to pending; how many there were."""
    return conn.execute(
        update(transfers)
        .where(transfers.c.attempt_id == attempt_id, transfers.c.state == "failed", scope.filter(transfers))
        .values(state="pending", error="", ended_at=None)
    ).rowcount

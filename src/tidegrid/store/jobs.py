"""Jobs, their parts and dependencies: rows in, rows out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, not_, select, update

from tidegrid.domain.job import JobState
from tidegrid.store.schema import job_deps, jobs, orgs, parts, projects, usage, users
from tidegrid.store.scope import Scope
from tidegrid.store.statements import change, row_of

Row = Mapping[Any, Any]
_CHUNK = 500


def insert_jobs(
    conn: Connection,
    rows: Sequence[Mapping[str, Any]],
    part_rows: Sequence[Mapping[str, Any]],
    deps: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Add jobs with their parts and dependencies."""
    conn.execute(insert(jobs), list(rows))
    conn.execute(insert(parts), list(part_rows))
    if deps:
        conn.execute(insert(job_deps), list(deps))


def get(conn: Connection, scope: Scope, job_id: int) -> Row | None:
    """One job with the names of its organisation, project and user."""
    return conn.execute(_named().where(jobs.c.id == job_id, scope.filter(jobs))).mappings().first()


def _named() -> Any:
    return select(
        jobs, orgs.c.name.label("org"), projects.c.name.label("project"), users.c.name.label("user")
    ).select_from(
        jobs.join(orgs, orgs.c.id == jobs.c.org_id)
        .join(projects, projects.c.id == jobs.c.project_id)
        .join(users, users.c.id == jobs.c.user_id)
    )


def page(
    conn: Connection,
    scope: Scope,
    *,
    state: str | None = None,
    project: str | None = None,
    limit: int = 50,
    after: int | None = None,
) -> list[Row]:
    """Newest first, older than `after`; every filter rests on an index."""
    query = _named().where(scope.filter(jobs)).order_by(jobs.c.id.desc()).limit(limit)
    if after is not None:
        query = query.where(jobs.c.id < after)
    if state is not None:
        query = query.where(jobs.c.state == state)
    if project is not None:
        # By the project's id, so that an index of jobs serves; an operator without an organisation still scans.
        one = select(projects.c.id).where(projects.c.name == project, scope.filter(projects))
        alone = scope.org_id is not None
        query = query.where(jobs.c.project_id == one.scalar_subquery() if alone else jobs.c.project_id.in_(one))
    return list(conn.execute(query).mappings())


def named(conn: Connection, scope: Scope, job_ids: Sequence[int]) -> dict[int, Row]:
    """`get` for many."""
    out: dict[int, Row] = {}
    for chunk in _chunks(job_ids):
        for row in conn.execute(_named().where(jobs.c.id.in_(chunk), scope.filter(jobs))).mappings():
            out[row["id"]] = row
    return out


def costs(conn: Connection, job_ids: Sequence[int]) -> dict[int, int]:
    """Micro-yuan billed so far, by job."""
    out: dict[int, int] = {}
    for chunk in _chunks(job_ids):
        query = (
            select(usage.c.job_id, func.sum(usage.c.sell))
            .where(usage.c.job_id.in_(chunk), not_(usage.c.reversed))
            .group_by(usage.c.job_id)
        )
        out.update({job: int(total) for job, total in conn.execute(query)})
    return out


def many(conn: Connection, job_ids: Iterable[int], *, lock: bool = False) -> dict[int, Row]:
    """lock: nobody else changes them until this transaction ends; only in a writer."""
    out: dict[int, Row] = {}
    for chunk in _chunks(sorted(job_ids) if lock else list(job_ids)):
        query = select(jobs).where(jobs.c.id.in_(chunk))
        if lock:
            query = query.order_by(jobs.c.id).with_for_update()
        for row in conn.execute(query).mappings():
            out[row["id"]] = row
    return out


def spec_of(row: Row) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(row["spec"])
    return spec


def set_flags(conn: Connection, scope: Scope, job_id: int, **flags: Any) -> bool:
    """Write a user's wish; false where the scope has no such job."""
    done = conn.execute(update(jobs).where(jobs.c.id == job_id, scope.filter(jobs)).values(**flags))
    return bool(done.rowcount)


def states(conn: Connection, scope: Scope) -> dict[str, int]:
    """How many jobs are in each state."""
    query = select(jobs.c.state, func.count()).where(scope.filter(jobs)).group_by(jobs.c.state)
    return {state: count for state, count in conn.execute(query)}


# Parts -----------------------------------------------------------------------------------------------------------------


def parts_to_place(conn: Connection, now: int, limit: int) -> list[Row]:
    """Parts without a live attempt whose jobs may be placed, oldest first, with what placement needs of the job."""
    query = (
        select(
            parts,
            jobs.c.project_id,
            jobs.c.spec,
            jobs.c.app,
            jobs.c.app_version,
            jobs.c.created_at.label("job_created_at"),
            jobs.c.reason.label("job_reason"),
        )
        .join(jobs, jobs.c.id == parts.c.job_id)
        .where(
            not_(parts.c.done),
            not_(parts.c.placed),
            jobs.c.open,
            not_(jobs.c.held),
            not_(jobs.c.cancel_wanted),
            jobs.c.state != JobState.WAITING,
            parts.c.not_before <= now,
        )
        .order_by(parts.c.id)
        .limit(limit)
    )
    return list(conn.execute(query).mappings())


def open_specs(conn: Connection, org_id: int) -> list[str]:
    """Specifications of the organisation's jobs that have not ended."""
    return list(conn.execute(select(jobs.c.spec).where(jobs.c.open, jobs.c.org_id == org_id)).scalars())


def still_to_place(conn: Connection, part_ids: Sequence[int]) -> dict[int, Row]:
    """Of these parts, those that may still be placed; locked."""
    out: dict[int, Row] = {}
    for chunk in _chunks(part_ids):
        query = (
            select(parts)
            .join(jobs, jobs.c.id == parts.c.job_id)
            .where(
                parts.c.id.in_(chunk), not_(parts.c.done), not_(parts.c.placed),
                jobs.c.open, not_(jobs.c.held), not_(jobs.c.cancel_wanted),
            )
            .with_for_update(of=parts)
        )  # fmt: skip
        out.update({r["id"]: r for r in conn.execute(query).mappings()})
    return out


def mark_placed(conn: Connection, part_ids: Sequence[int]) -> None:
    """The parts have a live attempt now; what was reserved for them is held."""
    for chunk in _chunks(part_ids):
        conn.execute(update(parts).where(parts.c.id.in_(chunk)).values(placed=True, reserved=0))


def next_due(conn: Connection) -> int | None:
    """When the next part that waits for its time may be placed."""
    query = select(func.min(parts.c.not_before)).where(not_(parts.c.done), not_(parts.c.placed))
    return conn.execute(query).scalar()


def part(conn: Connection, part_id: int, *, lock: bool = False) -> Row | None:
    return row_of(conn, parts.c.id, part_id, lock=lock)


def parts_of(conn: Connection, job_ids: Iterable[int]) -> dict[int, list[Row]]:
    out: dict[int, list[Row]] = {}
    for chunk in _chunks(list(job_ids)):
        for row in conn.execute(select(parts).where(parts.c.job_id.in_(chunk)).order_by(parts.c.id)).mappings():
            out.setdefault(row["job_id"], []).append(row)
    return out


def add_part(conn: Connection, **row: Any) -> None:
    conn.execute(insert(parts).values(**row))


def update_part(conn: Connection, part_id: int, **cols: Any) -> None:
    change(conn, parts.c.id, part_id, cols)


def update_job(conn: Connection, job_id: int, **cols: Any) -> None:
    change(conn, jobs.c.id, job_id, cols)


_BEGAN = update(jobs).where(jobs.c.id == bindparam("b_id"), jobs.c.started_at.is_(None)).values(started_at=bindparam("b_at"))


def began(conn: Connection, job_id: int, at: int) -> None:
    """Its start, where none is known yet: what runs and ends between two looks is never seen running."""
    conn.execute(_BEGAN, {"b_id": job_id, "b_at": at})


def update_jobs(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of {id, state, reason, open, started_at, ended_at}."""
    if not rows:
        return
    statement = (
        update(jobs)
        .where(jobs.c.id == bindparam("b_id"))
        .values({c: bindparam(f"b_{c}") for c in ("state", "reason", "open", "started_at", "ended_at")})
    )
    conn.execute(statement, [{f"b_{k}": v for k, v in row.items()} for row in rows])


def release_reservation(conn: Connection, job_id: int, amount: int) -> None:
    if amount:
        conn.execute(update(jobs).where(jobs.c.id == job_id).values(reserved=jobs.c.reserved - amount))


def moved(conn: Connection, job_id: int, reserve: int) -> None:
    """Tasks of the job are to be placed again, with `reserve` kept free for them. In one statement: servers meet here."""
    conn.execute(
        update(jobs).where(jobs.c.id == job_id).values(reserved=jobs.c.reserved + reserve, moved=jobs.c.moved + 1)
    )


# Dependencies ----------------------------------------------------------------------------------------------------------


def dependencies(conn: Connection, job_ids: Iterable[int]) -> dict[int, list[tuple[str, str]]]:
    """For each job that has any: (kind, state of the job it waits for)."""
    out: dict[int, list[tuple[str, str]]] = {}
    for chunk in _chunks(list(job_ids)):
        query = (
            select(job_deps.c.job_id, job_deps.c.kind, jobs.c.state)
            .join(jobs, jobs.c.id == job_deps.c.on_job_id)
            .where(job_deps.c.job_id.in_(chunk))
        )
        for job_id, kind, state in conn.execute(query):
            out.setdefault(job_id, []).append((kind, state))
    return out


def dependents(conn: Connection, job_ids: Iterable[int]) -> list[int]:
    out: list[int] = []
    for chunk in _chunks(list(job_ids)):
        query = (
            select(job_deps.c.job_id)
            .join(jobs, jobs.c.id == job_deps.c.job_id)
            .where(job_deps.c.on_job_id.in_(chunk), jobs.c.open)
        )
        out.extend(conn.execute(query).scalars())
    return out


def finishing(conn: Connection, limit: int = 200) -> list[int]:
    """Jobs whose work has ended and whose outputs are not home yet."""
    query = select(jobs.c.id).where(jobs.c.open, jobs.c.state == JobState.FINISHING).order_by(jobs.c.id).limit(limit)
    return list(conn.execute(query).scalars())


def _chunks(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    for i in range(0, len(ids), _CHUNK):
        yield ids[i : i + _CHUNK]

"""The newest whole checkpoint of each task of a job: one row each, replaced in one step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, not_, select

from tidegrid.store.schema import checkpoints, jobs
from tidegrid.store.scope import Scope

Row = RowMapping


def replace(conn: Connection, row: Mapping[str, Any]) -> tuple[bool, int | None]:
    """(whether `row` is the task's checkpoint now, id of the one whose place it took). It is not where a later attempt has
    one, or the job is over: attempts' ids are ordered by time."""
    old = conn.execute(
        select(checkpoints.c.id, checkpoints.c.attempt_id)
        .where(checkpoints.c.job_id == row["job_id"], checkpoints.c.task == row["task"])
        .with_for_update()
    ).first()
    still = conn.execute(select(jobs.c.open).where(jobs.c.id == row["job_id"])).scalar_one()
    if not still or (old is not None and old.attempt_id > row["attempt_id"]):
        return False, None
    if old is not None:
        conn.execute(delete(checkpoints).where(checkpoints.c.id == old.id))
    conn.execute(insert(checkpoints).values(**{**row, "files": json.dumps(row["files"], separators=(",", ":"))}))
    return True, old.id if old is not None else None


def of_job(conn: Connection, scope: Scope, job_id: int, tasks: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """By task; `files` as a list. tasks: of these only."""
    query = select(checkpoints).where(checkpoints.c.job_id == job_id, scope.filter(checkpoints))
    if tasks is not None:
        query = query.where(checkpoints.c.task.in_(tasks))
    rows = conn.execute(query.order_by(checkpoints.c.task)).mappings()
    return [{**r, "files": json.loads(r["files"])} for r in rows]


def remove(conn: Connection, ids: Sequence[int]) -> None:
    conn.execute(delete(checkpoints).where(checkpoints.c.id.in_(ids)))


def of_closed_jobs(conn: Connection, limit: int = 100) -> list[Row]:
    """Those that nobody will go on from: their jobs are over."""
    # from the checkpoints, which are few: a join may begin with all jobs that ever were
    open_ = select(jobs.c.id).where(jobs.c.id == checkpoints.c.job_id, jobs.c.open).exists()
    query = select(checkpoints).where(not_(open_)).limit(limit)
    return list(conn.execute(query).mappings())


def ids(conn: Connection) -> set[int]:
    return set(conn.execute(select(checkpoints.c.id)).scalars())

"""Attempts and their executions, to and from `domain.attempt`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, not_, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tidegrid.domain.attempt import Attempt, Execution, Reason, State, Witness
from tidegrid.store.schema import attempts, decisions, executions, jobs, parts
from tidegrid.store.schema import orgs as tenants
from tidegrid.store.scope import Scope
from tidegrid.store.statements import change

Row = Mapping[Any, Any]
_CHUNK = 500
_EXEC_COLS = (
    "nonce", "native_id", "started_at", "ended_at", "reason", "exit_code", "source", "permitted", "gave_up", "marked",
    "app_exit", "peak_mib",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """An attempt as the machine sees it, and the row it came from (with `cancel_wanted` of its job)."""

    attempt: Attempt
    row: Row


def _attempt(row: Row, execs: Sequence[Row]) -> Attempt:
    return Attempt(
        id=row["id"],
        tasks=row["tasks"],
        state=State(row["state"]),
        reason=Reason(row["reason"]) if row["reason"] else None,
        native_id=row["native_id"],
        detail=row["detail"],
        movable=bool(row["movable"]),
        restartable=bool(row["restartable"]),
        absent=row["absent"],
        executions=tuple(_execution(e) for e in execs),
    )


def _execution(e: Row) -> Execution:
    return Execution(
        task=e["task"],
        restart=e["restart"],
        nonce=e["nonce"],
        native_id=e["native_id"],
        started_at=e["started_at"],
        ended_at=e["ended_at"],
        reason=Reason(e["reason"]) if e["reason"] else None,
        exit_code=e["exit_code"],
        source=Witness(e["source"]),
        permitted=bool(e["permitted"]),
        gave_up=bool(e["gave_up"]),
        marked=bool(e["marked"]),
        app_exit=e["app_exit"],
        peak_mib=e["peak_mib"],
    )


def _load(conn: Connection, query: Any) -> list[Stored]:
    rows = list(conn.execute(query).mappings())
    execs: dict[int, list[Row]] = {}
    ids = [r["id"] for r in rows]
    for i in range(0, len(ids), _CHUNK):
        q = select(executions).where(executions.c.attempt_id.in_(ids[i : i + _CHUNK]))
        for e in conn.execute(q).mappings():
            execs.setdefault(e["attempt_id"], []).append(e)
    return [Stored(_attempt(r, execs.get(r["id"], ())), r) for r in rows]


def _with_job() -> Any:
    return select(attempts, jobs.c.cancel_wanted).join(jobs, jobs.c.id == attempts.c.job_id)


def live_on(conn: Connection, cluster: str) -> list[Stored]:
    """Every live attempt of a cluster."""
    return _load(conn, _with_job().where(attempts.c.cluster == cluster, attempts.c.state != "ENDED"))


def live_slim(conn: Connection, cluster: str) -> list[Row]:
    """The few columns of every live attempt of a cluster that tell whether an answer says anything new."""
    query = (
        select(
            attempts.c.id,
            attempts.c.state,
            attempts.c.sender,
            attempts.c.native_id,
            attempts.c.absent,
            attempts.c.tasks,
            jobs.c.cancel_wanted,
        )
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.cluster == cluster, attempts.c.state != "ENDED")
    )
    return list(conn.execute(query).mappings())


def waiting_on(conn: Connection, cluster: str, *, after: int, limit: int) -> list[Row]:
    """Attempts of a cluster that wait in its queue, or whose arrays still do, oldest first, with what moving asks of them."""
    query = (
        select(
            attempts.c.id, attempts.c.job_id, attempts.c.part_id, attempts.c.partition, attempts.c.tasks, attempts.c.state,
            attempts.c.queued_at, attempts.c.created_at, attempts.c.decision_id, attempts.c.directory,
            jobs.c.moved, jobs.c.spec, jobs.c.org_id, jobs.c.project_id, parts.c.excluded,
        )
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(parts, parts.c.id == attempts.c.part_id)
        .where(
            attempts.c.cluster == cluster, attempts.c.id > after, not_(jobs.c.cancel_wanted),
            or_(attempts.c.state == "QUEUED", and_(attempts.c.state == "RUNNING", attempts.c.tasks != "0")),
        )
        .order_by(attempts.c.id)
        .limit(limit)
    )  # fmt: skip
    return list(conn.execute(query).mappings())


def sent(conn: Connection, to: Iterable[str], since: int) -> list[Row]:
    """What has been sent to these clusters and is not queued there yet, or only since then (µs), in the order in which it was placed."""
    query = (
        select(
            attempts.c.id, attempts.c.cluster, attempts.c.partition, attempts.c.tasks, attempts.c.queued_at, attempts.c.wall_s, attempts.c.cores,
            attempts.c.memory_mib, attempts.c.gpus, jobs.c.spec,
        )
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(
            attempts.c.cluster.in_(list(to)), attempts.c.state != "ENDED",
            or_(attempts.c.state == "SUBMITTING", attempts.c.queued_at >= since),
        )
    )  # fmt: skip
    return sorted(conn.execute(query).mappings(), key=lambda r: r["id"])  # by the database it would begin with all that ever were


def places_of(conn: Connection, part_ids: Sequence[int]) -> dict[int, set[str]]:
    """Where attempts of the parts have been, as cluster/partition."""
    out: dict[int, set[str]] = {}
    for i in range(0, len(part_ids), _CHUNK):
        query = select(attempts.c.part_id, attempts.c.cluster, attempts.c.partition).where(
            attempts.c.part_id.in_(part_ids[i : i + _CHUNK])
        )
        for part, cluster, partition in conn.execute(query):
            out.setdefault(part, set()).add(f"{cluster}/{partition}")
    return out


def by_ids(conn: Connection, ids: Sequence[int]) -> list[Stored]:
    out: list[Stored] = []
    for i in range(0, len(ids), _CHUNK):
        out.extend(_load(conn, _with_job().where(attempts.c.id.in_(ids[i : i + _CHUNK]))))
    return out


def of_jobs(conn: Connection, job_ids: Sequence[int]) -> list[Stored]:
    """All attempts of the jobs, oldest first."""
    out: list[Stored] = []
    for i in range(0, len(job_ids), _CHUNK):
        query = _with_job().where(attempts.c.job_id.in_(job_ids[i : i + _CHUNK])).order_by(attempts.c.id)
        out.extend(_load(conn, query))
    return out


def live_rows(conn: Connection, job_ids: Sequence[int]) -> list[Row]:
    """Job id, part id, state and start of the live attempts of the jobs."""
    out: list[Row] = []
    for i in range(0, len(job_ids), _CHUNK):
        query = select(attempts.c.job_id, attempts.c.part_id, attempts.c.state, attempts.c.started_at).where(
            attempts.c.job_id.in_(job_ids[i : i + _CHUNK]), attempts.c.state != "ENDED"
        )
        out.extend(conn.execute(query).mappings())
    return out


def unfetched(conn: Connection, job_ids: Iterable[int]) -> list[Row]:
    """Ended attempts of the jobs whose outputs are not home."""
    ids = list(job_ids)
    out: list[Row] = []
    for i in range(0, len(ids), _CHUNK):
        query = select(attempts).where(
            attempts.c.job_id.in_(ids[i : i + _CHUNK]), attempts.c.state == "ENDED", not_(attempts.c.fetched)
        )
        out.extend(conn.execute(query).mappings())
    return out


def running_restartable(conn: Connection) -> list[Row]:
    """Attempts that run and may be placed again, with the application of their jobs."""
    query = (
        select(attempts, jobs.c.app, jobs.c.app_version, jobs.c.spec)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.state == "RUNNING", attempts.c.restartable)
    )
    return list(conn.execute(query).mappings())


def with_spec(conn: Connection, job_id: int) -> str:
    """The specification of a job, as stored."""
    return str(conn.execute(select(jobs.c.spec).where(jobs.c.id == job_id)).scalar_one())


def live_count(conn: Connection, cluster: str) -> int:
    query = select(func.count()).select_from(attempts).where(attempts.c.cluster == cluster, attempts.c.state != "ENDED")
    return int(conn.execute(query).scalar_one())


def add(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    conn.execute(insert(attempts), list(rows))


def save(conn: Connection, before: Stored, after: Attempt, **cols: Any) -> None:
    """Write what changed. Only a live row is written: ENDED absorbs here too."""
    a = before.attempt
    changes: dict[str, Any] = dict(cols)
    for name in ("tasks", "state", "reason", "native_id", "detail", "absent"):
        new = getattr(after, name)
        if new != getattr(a, name):
            changes[name] = str(new) if name in ("state", "reason") else new
    change(conn, attempts.c.id, a.id, changes)
    old = {(e.task, e.restart): e for e in a.executions}
    fresh = [e for e in after.executions if old.get((e.task, e.restart)) != e]
    if fresh:
        _upsert(conn, before.row["org_id"], a.id, fresh)


def set_absent(conn: Connection, counts: Sequence[tuple[int, int]]) -> None:
    """(attempt, absences in a row), many at once."""
    if counts:
        statement = update(attempts).where(attempts.c.id == bindparam("b_id")).values(absent=bindparam("b_absent"))
        conn.execute(statement, [{"b_id": i, "b_absent": n} for i, n in counts])


def _upsert(conn: Connection, org_id: int, attempt_id: int, execs: Sequence[Execution]) -> None:
    rows = [
        {
            "org_id": org_id,
            "attempt_id": attempt_id,
            "task": e.task,
            "restart": e.restart,
            "nonce": e.nonce,
            "native_id": e.native_id,
            "started_at": e.started_at,
            "ended_at": e.ended_at,
            "reason": str(e.reason) if e.reason else None,
            "exit_code": e.exit_code,
            "source": str(e.source),
            "permitted": e.permitted,
            "gave_up": e.gave_up,
            "marked": e.marked,
            "app_exit": e.app_exit,
            "peak_mib": e.peak_mib,
        }
        for e in execs
    ]
    conn.execute(_upsert_executions(conn.dialect.name), rows)


@cache
def _upsert_executions(dialect_name: str) -> Any:
    """Made once: making it costs as much as running it."""
    dialect: Any = postgresql if dialect_name == "postgresql" else sqlite
    statement = dialect.insert(executions)
    return statement.on_conflict_do_update(
        index_elements=["attempt_id", "task", "restart"], set_={c: statement.excluded[c] for c in _EXEC_COLS}
    )


def update_row(conn: Connection, attempt_id: int, **cols: Any) -> None:
    change(conn, attempts.c.id, attempt_id, cols)


def mark_fetched(conn: Connection, attempt_ids: Sequence[int]) -> None:
    """Their outputs are home, or given up."""
    conn.execute(update(attempts).where(attempts.c.id.in_(attempt_ids)).values(fetched=True))


_METERED = (
    update(executions)
    .where(
        executions.c.attempt_id == bindparam("b_id"), executions.c.task == bindparam("b_task"),
        executions.c.restart == bindparam("b_restart"),
    )
    .values(metered_to=bindparam("b_to"))
)  # fmt: skip


def metered(conn: Connection, attempt_id: int, task: int, restart: int, to: int) -> None:
    conn.execute(_METERED, {"b_id": attempt_id, "b_task": task, "b_restart": restart, "b_to": to})


_METERED_TO = select(executions.c.task, executions.c.restart, executions.c.metered_to).where(
    executions.c.attempt_id == bindparam("b_id"), executions.c.metered_to.is_not(None)
)


def metered_to(conn: Connection, attempt_id: int) -> dict[tuple[int, int], int]:
    return {(t, r): to for t, r, to in conn.execute(_METERED_TO, {"b_id": attempt_id})}


def page_of_job(conn: Connection, scope: Scope, job_id: int) -> list[Row]:
    query = select(attempts).where(attempts.c.job_id == job_id, scope.filter(attempts)).order_by(attempts.c.id)
    return list(conn.execute(query).mappings())


def executions_of(conn: Connection, scope: Scope, job_id: int) -> list[Row]:
    query = (
        select(executions)
        .join(attempts, attempts.c.id == executions.c.attempt_id)
        .where(attempts.c.job_id == job_id, scope.filter(attempts))
        .order_by(executions.c.attempt_id, executions.c.task, executions.c.restart)
    )
    return list(conn.execute(query).mappings())


def remove_unsent(conn: Connection, attempt_id: int) -> None:
    """Take back a row written in this very transaction: nothing was sent for it."""
    conn.execute(delete(attempts).where(attempts.c.id == attempt_id, attempts.c.state == "SUBMITTING"))


def submitting(conn: Connection, cluster: str) -> list[Stored]:
    """Attempts whose sending to a cluster was begun, and not answered yet."""
    query = _with_job().where(
        attempts.c.cluster == cluster, attempts.c.state == "SUBMITTING", attempts.c.sender != 0
    )
    return _load(conn, query)


def unsent(conn: Connection, cluster: str) -> list[Row]:
    """Attempts placed on a cluster that nobody has begun to send."""
    query = select(attempts).where(
        attempts.c.cluster == cluster, attempts.c.state == "SUBMITTING", attempts.c.sender == 0
    )
    return list(conn.execute(query.order_by(attempts.c.id)).mappings())


def begin_sending(conn: Connection, ids: Sequence[int], token: int) -> list[int]:
    """From now on the holder of this token sends them, and nobody else ever; those that it was not too late for."""
    out: list[int] = []
    for i in range(0, len(ids), _CHUNK):
        query = (
            update(attempts)
            .where(attempts.c.id.in_(ids[i : i + _CHUNK]), attempts.c.state == "SUBMITTING", attempts.c.sender == 0)
            .values(sender=token)
            .returning(attempts.c.id)
        )
        out.extend(conn.execute(query).scalars())
    return out


def history(conn: Connection, app: str, *, limit: int) -> list[float]:
    """Run time / wall time asked for, of the last good runs of an application."""
    query = (
        select(executions.c.started_at, executions.c.ended_at, attempts.c.wall_s)
        .join(attempts, attempts.c.id == executions.c.attempt_id)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(jobs.c.app == app, executions.c.reason == "ok", executions.c.started_at.is_not(None))
        .order_by(executions.c.attempt_id.desc())
        .limit(limit)
    )
    return [(end - start) / 1e6 / wall for start, end, wall in conn.execute(query) if end is not None and wall]


def waits(conn: Connection, *, limit: int) -> list[Row]:
    """The last attempts that a queue took, oldest first: where, since when they wait or waited, and the decision that sent them."""
    query = (
        select(attempts.c.cluster, attempts.c.partition, attempts.c.queued_at, attempts.c.started_at, attempts.c.state, decisions.c.body)
        .join(decisions, decisions.c.id == attempts.c.decision_id)
        .where(attempts.c.queued_at.is_not(None), or_(attempts.c.started_at.is_not(None), attempts.c.state == "QUEUED"))
        .order_by(attempts.c.id.desc())
        .limit(limit)
    )
    rows: list[Row] = list(conn.execute(query).mappings())
    rows.reverse()
    return rows


def live_counts(conn: Connection) -> dict[str, int]:
    """Live attempts by cluster."""
    query = select(attempts.c.cluster, func.count()).where(attempts.c.state != "ENDED").group_by(attempts.c.cluster)
    return {cluster: int(n) for cluster, n in conn.execute(query)}


def own_runs(conn: Connection, orgs: Sequence[str], *, since: int, limit: int) -> list[Row]:
    """The tasks of these organisations' attempts since then (µs), latest attempts first, each with what it asked for and its executions one by one:
    what a site's own users waited, wherever they ran. An attempt of which nothing was begun has one row, without a task; open: its job may still
    begin what waits."""
    query = (
        select(
            attempts.c.id, attempts.c.job_id, parts.c.done, attempts.c.tasks, attempts.c.created_at, attempts.c.cores, attempts.c.memory_mib, attempts.c.gpus, attempts.c.wall_s,
            jobs.c.open, executions.c.task, executions.c.started_at, executions.c.ended_at,
        )
        .join(tenants, tenants.c.id == attempts.c.org_id)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(parts, parts.c.id == attempts.c.part_id)
        .outerjoin(executions, and_(executions.c.attempt_id == attempts.c.id, not_(executions.c.gave_up)))
        .where(tenants.c.name.in_(orgs), attempts.c.created_at >= since)
        .order_by(attempts.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    rows: list[Row] = list(conn.execute(query).mappings())
    return [r for r in rows if len(rows) < limit or r["id"] != rows[-1]["id"]]  # the last one may be cut in the middle

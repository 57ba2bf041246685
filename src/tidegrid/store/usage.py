"""Rows of metered use: key (attempt, task, restart, segment), each correction a revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, not_, select, tuple_, update

from tidegrid.store.schema import usage
from tidegrid.store.scope import Scope

Row = Mapping[Any, Any]


@dataclass(frozen=True, slots=True, order=True)
class UsageKey:
    """One stretch of one execution of one task."""

    attempt_id: int
    task: int
    restart: int
    segment: int


def _is(key: UsageKey) -> list[Any]:
    return [
        usage.c.attempt_id == key.attempt_id,
        usage.c.task == key.task,
        usage.c.restart == key.restart,
        usage.c.segment == key.segment,
    ]


_OF = [usage.c[name] == bindparam(name) for name in ("attempt_id", "task", "restart")]
_INSERT = insert(usage)
_LAST = select(usage).where(*_OF, usage.c.segment == bindparam("segment")).order_by(usage.c.revision.desc()).limit(1)
_STRETCHES = select(usage.c.segment, usage.c.started_at, usage.c.ended_at).where(
    *_OF, not_(usage.c.reversed), not_(usage.c.estimated)
)
_BEYOND = select(usage.c.segment).where(*_OF, usage.c.segment > bindparam("segment"), not_(usage.c.reversed)).order_by(usage.c.segment)


def last(conn: Connection, key: UsageKey) -> Row | None:
    """The newest revision, reversed or not."""
    return conn.execute(_LAST, asdict(key)).mappings().first()


def stretches(conn: Connection, attempt_id: int, task: int, restart: int) -> set[tuple[int, int, int]]:
    """(segment, started, ended) of what counts of an execution and is no estimate."""
    of = {"attempt_id": attempt_id, "task": task, "restart": restart}
    return {(int(s), int(a), int(b)) for s, a, b in conn.execute(_STRETCHES, of)}


def add(conn: Connection, row: Mapping[str, Any]) -> None:
    conn.execute(_INSERT, dict(row))


def mark_reversed(conn: Connection, key: UsageKey, revision: int) -> None:
    conn.execute(update(usage).where(*_is(key), usage.c.revision == revision).values(reversed=True))


def beyond(conn: Connection, key: UsageKey) -> list[UsageKey]:
    """Keys of later segments of the same execution that count."""
    later = conn.execute(_BEYOND, asdict(key)).scalars()
    return [UsageKey(key.attempt_id, key.task, key.restart, s) for s in later]


def page(
    conn: Connection,
    scope: Scope,
    *,
    job_id: int | None = None,
    limit: int = 100,
    after: tuple[int, int, int, int, int] | None = None,
    current: bool = True,
) -> list[Row]:
    """Newest attempts first. after: (attempt, task, restart, segment, revision) of the last row seen; current: without
    reversed revisions."""
    order = (usage.c.attempt_id, usage.c.task, usage.c.restart, usage.c.segment, usage.c.revision)
    query = select(usage).where(scope.filter(usage)).order_by(*(c.desc() for c in order)).limit(limit)
    if job_id is not None:
        query = query.where(usage.c.job_id == job_id)
    if current:
        query = query.where(not_(usage.c.reversed))
    if after is not None:
        query = query.where(tuple_(*order) < after)
    return list(conn.execute(query).mappings())


def sums(conn: Connection, scope: Scope, by: str, *, since: int = 0, until: int | None = None) -> list[Row]:
    """Totals of what counts, by `job` or `partition`, of usage that began in [since, until).

    core_ms, gpu_ms, mib_ms: resource-milliseconds; sell, cost: micro-yuan; segments; estimated: segments that are.
    """
    keys: list[Any] = [usage.c.job_id] if by == "job" else [usage.c.cluster, usage.c.partition]
    query = (
        select(
            *keys,
            func.sum(usage.c.elapsed_ms).label("elapsed_ms"),
            func.sum(usage.c.elapsed_ms * usage.c.cores).label("core_ms"),
            func.sum(usage.c.elapsed_ms * usage.c.gpus).label("gpu_ms"),
            func.sum(usage.c.elapsed_ms * usage.c.memory_mib).label("mib_ms"),
            func.sum(usage.c.sell).label("sell"),
            func.sum(usage.c.cost).label("cost"),
            func.count().label("segments"),
            func.count().filter(usage.c.estimated).label("estimated"),
        )
        .where(scope.filter(usage), not_(usage.c.reversed), usage.c.started_at >= since)
        .group_by(*keys)
        .order_by(*keys)
    )
    if until is not None:
        query = query.where(usage.c.started_at < until)
    return [{k: v if isinstance(v, str) else int(v) for k, v in r.items()} for r in conn.execute(query).mappings()]


def ended_on(conn: Connection, cluster: str, since: int, until: int) -> list[int]:
    """Attempts with use on the cluster that counts and ended in [since, until), µs on the site's clock."""
    query = (
        select(usage.c.attempt_id)
        .where(
            usage.c.cluster == cluster, not_(usage.c.reversed), usage.c.ended_at >= since, usage.c.ended_at < until
        )
        .distinct()
    )
    return [int(i) for i in conn.execute(query).scalars()]


def of_attempts(conn: Connection, ids: Sequence[int]) -> list[Row]:
    """What counts of the attempts, by key."""
    out: list[Row] = []
    for i in range(0, len(ids), 500):
        query = (
            select(usage)
            .where(usage.c.attempt_id.in_(ids[i : i + 500]), not_(usage.c.reversed))
            .order_by(usage.c.attempt_id, usage.c.task, usage.c.restart, usage.c.segment)
        )
        out.extend(conn.execute(query).mappings())
    return out

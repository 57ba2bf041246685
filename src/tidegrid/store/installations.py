"""What is known of installations beyond the network file, and the jobs that find it out. History is only added to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from tidegrid.store.schema import attempts, executions, installation_events, installations, jobs, trials
from tidegrid.store.upsert import insert as upsert

Row = dict[str, Any]
_KEY = ("app", "version", "cluster", "partition")


def say(conn: Connection, *, id: int, at: int, by: str, way: Any, state: str, reason: str = "", **key: str) -> None:
    """Record a state from now on, and in the history. key: app, version, cluster, partition; way: JSON value."""
    values = {"state": state, "reason": reason, "way": _dump(way), "changed_at": at, "changed_by": by}
    row = {**key, **values}
    conn.execute(upsert(conn, installations).on_conflict_do_update(index_elements=list(_KEY), set_=values), row)
    conn.execute(
        insert(installation_events).values(id=id, at=at, by=by, state=state, reason=reason, way=_dump(way), **key)
    )


def all(conn: Connection, app: str = "") -> list[Row]:
    """Every recorded installation; `way` decoded."""
    query = select(installations).order_by(*(installations.c[k] for k in _KEY))
    if app:
        query = query.where(installations.c.app == app)
    return [_decoded(r) for r in conn.execute(query).mappings()]


def get(conn: Connection, **key: str) -> Row | None:
    query = select(installations).where(*(installations.c[k] == v for k, v in key.items()))
    row = conn.execute(query).mappings().first()
    return None if row is None else _decoded(row)


def generation(conn: Connection) -> tuple[int, int, int]:
    """Changes with whatever is recorded: how many events, the newest, and the newest trial that ended."""
    count, newest = conn.execute(
        select(func.count(), func.coalesce(func.max(installation_events.c.id), 0)).select_from(installation_events)
    ).one()
    ended = conn.execute(select(func.coalesce(func.max(trials.c.ended_at), 0))).scalar_one()
    return int(count), int(newest), int(ended)


def history(conn: Connection, app: str, cluster: str, partition: str, *, limit: int, after: int | None) -> list[Row]:
    """Newest first, older than `after`."""
    e = installation_events.c
    query = select(installation_events).where(e.app == app, e.cluster == cluster, e.partition == partition)
    if after is not None:
        query = query.where(e.id < after)
    return [_decoded(r) for r in conn.execute(query.order_by(e.id.desc()).limit(limit)).mappings()]


# Trials -----------------------------------------------------------------------------------------------------------------


def add_trials(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    conn.execute(insert(trials), [{**r, "way": _dump(r.get("way"))} for r in rows])


def running(conn: Connection) -> list[Row]:
    return [_trial(r) for r in conn.execute(select(trials).where(trials.c.state == "running").order_by(trials.c.id)).mappings()]


def of_batch(conn: Connection, batch: int) -> list[Row]:
    return [_trial(r) for r in conn.execute(select(trials).where(trials.c.batch == batch).order_by(trials.c.id)).mappings()]


def page(
    conn: Connection, *, app: str = "", version: str = "", kind: str = "", limit: int = 100, after: int | None = None
) -> list[Row]:
    """Newest first, older than `after`."""
    query = select(trials).order_by(trials.c.id.desc()).limit(limit)
    for name, value in (("app", app), ("version", version), ("kind", kind)):
        if value:
            query = query.where(trials.c[name] == value)
    if after is not None:
        query = query.where(trials.c.id < after)
    return [_trial(r) for r in conn.execute(query).mappings()]


def close(conn: Connection, trial_id: int, **cols: Any) -> None:
    """failed, found: JSON values."""
    values = {k: _dump(v) if k in ("failed", "found") else v for k, v in cols.items()}
    conn.execute(update(trials).where(trials.c.id == trial_id).values(**values))


def good_runs(conn: Connection) -> list[Row]:
    """{app, version, cluster, partition, test, way, seconds} of every trial that passed and has a time."""
    t = trials.c
    query = select(t.app, t.version, t.cluster, t.partition, t.test, t.way, t.seconds).where(
        t.kind == "verify", t.state == "passed", t.seconds.is_not(None)
    )
    return [{**r, "way": json.loads(r["way"])} for r in conn.execute(query.order_by(t.id)).mappings()]


def runs_of(conn: Connection, job_id: int) -> list[Row]:
    """Executions of a job's last attempt that ended: exit_code, reason, started_at, ended_at, and whose partition it was."""
    last = select(func.max(attempts.c.id)).where(attempts.c.job_id == job_id).scalar_subquery()
    query = (
        select(
            executions.c.exit_code, executions.c.reason, executions.c.started_at, executions.c.ended_at, attempts.c.cluster,
            attempts.c.partition,
        )
        .join(attempts, attempts.c.id == executions.c.attempt_id)
        .where(executions.c.attempt_id == last, executions.c.ended_at.is_not(None))
    )  # fmt: skip
    return [dict(r) for r in conn.execute(query).mappings()]


def job_rows(conn: Connection, ids: Sequence[int]) -> dict[int, Row]:
    return {r["id"]: dict(r) for r in conn.execute(select(jobs).where(jobs.c.id.in_(ids))).mappings()}


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _decoded(row: Mapping[Any, Any]) -> Row:
    return {**row, "way": json.loads(row["way"])}


def _trial(row: Mapping[Any, Any]) -> Row:
    return {**row, **{k: json.loads(row[k]) for k in ("way", "failed", "found")}}

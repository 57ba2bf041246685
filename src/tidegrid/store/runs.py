"""Runs that ended well: what run times are learnt from, and what had been said of them before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from tidegrid.store import upsert
from tidegrid.store.schema import runs
from tidegrid.store.scope import Scope

Row = Mapping[Any, Any]
_KEY = ("attempt_id", "task", "restart")


def put(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add runs; of one that is known, times and peak are what is said now."""
    if rows:
        statement = upsert.insert(conn, runs)
        again = {c: statement.excluded[c] for c in ("run_ms", "peak_mib")}
        conn.execute(statement.on_conflict_do_update(index_elements=list(_KEY), set_=again), list(rows))


def newest(conn: Connection, app: str, limit: int) -> Sequence[Row]:
    """The last runs of an application, of every organisation, oldest first."""
    query = select(runs).where(runs.c.app == app).order_by(runs.c.recorded_at.desc(), *(runs.c[k].desc() for k in _KEY))
    return list(conn.execute(query.limit(limit)).mappings())[::-1]


def since(conn: Connection, app: str, at: int, limit: int) -> Sequence[Row]:
    """Runs recorded at `at` (µs) or later, of every organisation, oldest first."""
    query = select(runs).where(runs.c.app == app, runs.c.recorded_at >= at)
    return list(conn.execute(query.order_by(runs.c.recorded_at, *(runs.c[k] for k in _KEY)).limit(limit)).mappings())


def counts(conn: Connection, app: str) -> dict[int, int]:
    """How many runs each organisation has of an application."""
    query = select(runs.c.org_id, func.count()).where(runs.c.app == app).group_by(runs.c.org_id)
    return {int(org): int(n) for org, n in conn.execute(query)}


def apps(conn: Connection, scope: Scope) -> list[str]:
    """Applications with runs."""
    return [str(a) for a in conn.execute(select(runs.c.app).where(scope.filter(runs)).distinct().order_by(runs.c.app)).scalars()]


def of_scope(conn: Connection, scope: Scope, app: str, limit: int) -> Sequence[Row]:
    """The scope's last runs of an application, oldest first."""
    query = select(runs).where(scope.filter(runs), runs.c.app == app)
    query = query.order_by(runs.c.recorded_at.desc(), *(runs.c[k].desc() for k in _KEY)).limit(limit)
    return list(conn.execute(query).mappings())[::-1]

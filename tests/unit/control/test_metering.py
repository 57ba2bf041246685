"""Segments of use: cut at the clock's full hours, adding up to the run exactly, corrected by reversal."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from tests.parts.stores import T0, Ticks, add_attempt, add_tenant, make_ids

from tidegrid import ledger
from tidegrid.control import metering
from tidegrid.control.context import Context, Settings
from tidegrid.domain.attempt import Execution, Reason, Witness
from tidegrid.domain.clock import HOUR, SECOND
from tidegrid.store import attempts
from tidegrid.store.attempts import Stored
from tidegrid.store.engine import Store
from tidegrid.store.schema import usage

START = T0 // HOUR * HOUR + 50 * 60 * SECOND  # ten minutes before a full hour


@given(st.integers(0, 5 * HOUR), st.integers(0, 5 * HOUR))
def test_segments_cover_a_run_once(offset: int, length: int) -> None:
    start = T0 + offset
    pieces = metering.segments(start, None, start + length, final=True)
    assert pieces[0][1] == start and pieces[-1][2] == start + length
    assert all(a[2] == b[1] and a[0] < b[0] for a, b in itertools.pairwise(pieces))
    assert all(end % HOUR == 0 for _, _, end in pieces[:-1])
    closed = metering.segments(start, None, start + length, final=False)
    assert all(end % HOUR == 0 for _, _, end in closed)
    rest = metering.segments(start, closed[-1][2] if closed else None, start + length, final=True)
    joined = [*closed, *rest]
    assert [p for p in joined if p[1] < p[2]] == [p for p in pieces if p[1] < p[2]]


def _context(store: Store) -> tuple[Context, dict[str, Any]]:
    ctx = Context(store, Ticks(), make_ids(3), Path("/nowhere"), Settings())  # type: ignore[arg-type]

    def setup(conn: Any) -> dict[str, Any]:
        tenant = add_tenant(conn, ctx.ids)
        ledger.deposit(conn, ctx.ids, T0, tenant.org_id, 10**9, "opening")
        rates = json.dumps({"sell": [6_000_000, 0, 0], "cost": [2_000_000, 0, 0], "supply": "co_built"})
        return add_attempt(conn, ctx.ids, tenant, state="RUNNING", cores=2, wall_s=20_000, rates=rates)

    return ctx, store.write_sync(setup)


def _rows(store: Store) -> list[tuple[int, int, bool]]:
    query = (
        select(usage.c.segment, usage.c.elapsed_ms, usage.c.estimated)
        .where(~usage.c.reversed)
        .order_by(usage.c.segment)
    )
    return [(s, ms, bool(e)) for s, ms, e in store.read_sync(lambda c: list(c.execute(query)))]


def _stored(conn: Any, row: dict[str, Any], *execs: Execution) -> Stored:
    (stored,) = attempts.by_ids(conn, [row["id"]])
    after = replace(stored.attempt, executions=execs)
    attempts.save(conn, stored, after)
    return Stored(after, stored.row)


def test_hours_are_journalled_as_they_close_and_the_rest_at_the_end(store: Store) -> None:
    ctx, row = _context(store)
    e = Execution(0, 0, "n", "1", started_at=START, source=Witness.ACCOUNTING)
    store.write_sync(lambda c: metering.close_hours(c, ctx, _stored(c, row, e), START + 5 * 60 * SECOND, T0))
    assert _rows(store) == []
    for _ in range(2):  # the same answer twice changes nothing
        store.write_sync(lambda c: metering.close_hours(c, ctx, _stored(c, row, e), START + 75 * 60 * SECOND, T0))
        assert _rows(store) == [(0, 600_000, False), (1, 3_600_000, False)]
    done = replace(e, ended_at=START + 100 * 60 * SECOND + 1234, reason=Reason.OK, exit_code=0)
    store.write_sync(lambda c: metering.settle_execution(c, ctx, _stored(c, row, done), done, T0))
    assert _rows(store) == [(0, 600_000, False), (1, 3_600_000, False), (2, 1_800_001, False)]
    report = store.read_sync(ledger.balanced)
    assert report.ok, report.problems
    assert report.totals["CNY"]["revenue"] == -(2 * 6_000_001 * 6_000_000 // 3_600_000 // 100)


def test_a_late_witness_corrects_what_was_estimated_hour_by_hour(store: Store) -> None:
    ctx, row = _context(store)
    lost = Execution(
        0, 0, "n", "1", started_at=START, ended_at=START + 3 * HOUR, reason=Reason.LOST, source=Witness.PROVISIONAL
    )
    store.write_sync(lambda c: metering.settle_execution(c, ctx, _stored(c, row, lost), lost, T0))
    assert [s for s, _, _ in _rows(store)] == [0, 1, 2, 3]
    true = replace(lost, ended_at=START + 20 * 60 * SECOND, source=Witness.ACCOUNTING)
    store.write_sync(lambda c: metering.settle_execution(c, ctx, _stored(c, row, lost), true, T0))
    assert _rows(store) == [(0, 600_000, False), (1, 600_000, False)]
    assert store.read_sync(ledger.balanced).ok


def test_an_estimate_never_passes_the_wall_time(store: Store) -> None:
    ctx, row = _context(store)
    lost = Execution(
        0, 0, "n", "1", started_at=START, ended_at=START + 99 * HOUR, reason=Reason.LOST, source=Witness.PROVISIONAL
    )
    store.write_sync(lambda c: metering.settle_execution(c, ctx, _stored(c, row, lost), lost, T0))
    assert sum(ms for _, ms, _ in _rows(store)) == 20_000_000

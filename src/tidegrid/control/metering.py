"""From witnessed time to usage and money.

Usage is the difference of two readings of the site's clock, cut at each full hour of it. What never started is free by
the server's own evidence; what was lost is billed provisionally to the last evidence of life and never beyond wall time.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from tidegrid import ledger
from tidegrid.control.context import Context
from tidegrid.domain.attempt import NEVER_STARTED, STRENGTH, Execution, Witness
from tidegrid.domain.clock import HOUR, SECOND
from tidegrid.rating.book import Supply
from tidegrid.rating.rate import rate
from tidegrid.rating.rates import Rates
from tidegrid.store import attempts, usage
from tidegrid.store.attempts import Stored


def segments(start: int, done_to: int | None, end: int, *, final: bool) -> list[tuple[int, int, int]]:
    """(segment number, from, to) in microseconds: the closed clock hours after `done_to`, and the rest where `final`.

    Segment 0 begins at `start`; each later one at a full hour.
    """
    out = []
    begin = start if done_to is None else done_to
    first_hour = start // HOUR
    while True:
        boundary = (begin // HOUR + 1) * HOUR
        number = begin // HOUR - first_hour
        if boundary <= end:
            out.append((number, begin, boundary))
            begin = boundary
            continue
        if final and (end > begin or (not out and done_to is None)):
            out.append((number, begin, end))
        return out


def settle_execution(
    conn: Connection, ctx: Context, stored: Stored, e: Execution, now: int, *, rewritten: bool = False
) -> None:
    """Journal what is left of an execution that ended; rewritten: its witness has changed what it said before."""
    if e.reason in NEVER_STARTED or e.started_at is None:
        return
    row, end = stored.row, e.ended_at
    if end is None or STRENGTH[e.source] <= STRENGTH[Witness.SPOOL]:
        return
    estimated = e.source in (Witness.PROVISIONAL, Witness.CONTROLLER)
    if e.source is Witness.PROVISIONAL:
        end = min(end, e.started_at + row["wall_s"] * SECOND)
    end = max(end, e.started_at)
    done_to = attempts.metered_to(conn, row["id"]).get((e.task, e.restart))
    if done_to is not None and estimated and end < done_to:
        return
    # A correction after a provisional end starts over: every segment is compared with what was journalled.
    begin_from = None if e.source is Witness.ACCOUNTING else done_to
    pieces = segments(e.started_at, begin_from, end, final=True)
    known = set() if estimated else usage.stretches(conn, row["id"], e.task, e.restart)
    _journal(conn, ctx, row, e, [p for p in pieces if p not in known], estimated, now, rewritten)
    if pieces and not estimated:  # what was journalled beyond the witnessed end is taken back
        ledger.reverse_beyond(conn, ctx.ids, now, ledger.UsageKey(row["id"], e.task, e.restart, pieces[-1][0]))
    attempts.metered(conn, row["id"], e.task, e.restart, end)


def close_hours(conn: Connection, ctx: Context, stored: Stored, site_time: int, now: int) -> None:
    """Journal the closed hours of executions that a controller has seen running.

    The controller is their witness, whoever told of the start: it may list what ended a moment ago, and then accounting, which
    tells of the end, must be the stronger one.
    """
    row = stored.row
    started = [e for e in stored.attempt.executions if e.started_at is not None and not e.ended]
    due = [e for e in started if e.started_at is not None and site_time // HOUR > e.started_at // HOUR]
    if not due:
        return
    done = attempts.metered_to(conn, row["id"])
    for e in due:
        if STRENGTH[e.source] < STRENGTH[Witness.CONTROLLER] or e.started_at is None:
            continue
        pieces = segments(e.started_at, done.get((e.task, e.restart)), site_time, final=False)
        if pieces:
            _journal(conn, ctx, row, replace(e, source=Witness.CONTROLLER), pieces, False, now)
            attempts.metered(conn, row["id"], e.task, e.restart, pieces[-1][2])


def _journal(
    conn: Connection,
    ctx: Context,
    row: Any,
    e: Execution,
    pieces: list[tuple[int, int, int]],
    estimated: bool,
    now: int,
    rewritten: bool = False,
) -> None:
    assert e.started_at is not None
    rates = json.loads(row["rates"])
    for number, begin, end in pieces:
        # Cumulative milliseconds, so that the segments of a run add up to its elapsed time exactly.
        elapsed_ms = (end - e.started_at) // 1000 - (begin - e.started_at) // 1000
        resources = (elapsed_ms, row["cores"], row["gpus"], row["memory_mib"])
        ledger.record_usage(
            conn,
            ctx.ids,
            now,
            ledger.UsageEvent(
                org_id=row["org_id"],
                job_id=row["job_id"],
                attempt_id=row["id"],
                task=e.task,
                restart=e.restart,
                segment=number,
                cluster=row["cluster"],
                partition=row["partition"],
                source=e.source,
                native_id=e.native_id,
                estimated=estimated,
                started_at=begin,
                ended_at=end,
                elapsed_ms=elapsed_ms,
                cores=row["cores"],
                gpus=row["gpus"],
                memory_mib=row["memory_mib"],
                owned=rates.get("supply") == Supply.CO_BUILT,
            ),
            sell=rate(*resources, Rates(*rates["sell"])),
            cost=rate(*resources, Rates(*rates["cost"])),
            rewritten=rewritten,
        )

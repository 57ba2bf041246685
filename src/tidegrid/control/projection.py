"""The stored projection of a job's state: rebuilt, in the same transaction, for every job that something touched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from tidegrid.control.context import Context
from tidegrid.domain.attempt import Reason, State
from tidegrid.domain.ids import show
from tidegrid.domain.job import FINAL, JobState, PartView, derive
from tidegrid.store import attempts, events, jobs


def refresh(conn: Connection, ctx: Context, job_ids: Iterable[int], now: int) -> list[int]:
    """Derive and store the state of the jobs, and of those that wait for them; the jobs that became final."""
    final: list[int] = []
    todo = list(dict.fromkeys(job_ids))
    while todo:
        ended = _refresh_once(conn, ctx, todo, now)
        final += ended
        todo = jobs.dependents(conn, ended) if ended else []
    return final


def _refresh_once(conn: Connection, ctx: Context, job_ids: list[int], now: int) -> list[int]:
    # locked before parts and attempts are read: another server may be deriving the same job from what it changes
    rows = {i: r for i, r in jobs.many(conn, job_ids, lock=True).items() if r["open"]}
    if not rows:
        return []
    parts = jobs.parts_of(conn, rows)
    live = {r["part_id"]: r for r in attempts.live_rows(conn, list(rows))}
    deps = jobs.dependencies(conn, rows)
    all_done = [i for i in rows if parts.get(i) and all(p["done"] for p in parts[i])]
    unfetched = {r["job_id"] for r in attempts.unfetched(conn, all_done)} if all_done else set()
    changed: list[dict[str, Any]] = []
    ended: list[int] = []
    for job_id, row in rows.items():
        blocked, doomed, why = _dependencies(deps.get(job_id, []))
        views = [_view(p, live.get(p["id"])) for p in parts.get(job_id, [])]
        state = derive(
            held=bool(row["held"]),
            cancel_wanted=bool(row["cancel_wanted"]),
            blocked=blocked,
            doomed=doomed,
            parts=views,
            fetching=job_id in unfetched,
        )
        starts = [r["started_at"] for p in parts.get(job_id, []) if (r := live.get(p["id"])) and r["started_at"]]
        started = row["started_at"] or (min(starts) if starts else None)
        if state == row["state"] and started == row["started_at"]:
            continue
        reason = row["reason"]
        if state in (JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED):
            reason = ""
        elif state is JobState.WAITING or (doomed and state is JobState.CANCELLED):
            reason = why
        over = state in FINAL
        changed.append(
            {
                "id": job_id,
                "state": str(state),
                "reason": reason,
                "open": not over,
                "started_at": started,
                "ended_at": now if over else None,
            }
        )
        if state != row["state"]:
            events.append(
                conn, kind="job.state", at=now, org_id=row["org_id"], job_id=job_id,
                body={"state": str(state), "was": row["state"], "reason": reason},
            )  # fmt: skip
        if over:
            ended.append(job_id)
            if row["reserved"]:
                jobs.release_reservation(conn, job_id, row["reserved"])
        elif state is JobState.FINISHING:
            ctx.wake("fetch")
        elif state is JobState.PENDING:
            ctx.wake("submit")
    jobs.update_jobs(conn, changed)
    return ended


def _view(part: Any, live: Any) -> PartView:
    return PartView(
        attempt_state=State(live["state"]) if live is not None else None,
        reason=Reason(part["reason"]) if part["reason"] else None,
        done=bool(part["done"]),
    )


def _dependencies(deps: list[tuple[str, str]]) -> tuple[bool, bool, str]:
    """(waits, can never start, why)."""
    waits = 0
    for kind, state in deps:
        final = JobState(state) in FINAL
        if final and kind == "ok" and state != JobState.SUCCEEDED:
            return False, True, f"a job it depends on ended {state}"
        waits += not final
    return waits > 0, False, f"waits for {waits} job{'s' if waits != 1 else ''}" if waits else ""


def job_name(job_id: int) -> str:
    return show("job", job_id)

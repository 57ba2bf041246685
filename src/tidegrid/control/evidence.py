"""Evidence into rows: apply `domain.attempt.step`, record what changed, settle what ended. Inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from tidegrid import ledger
from tidegrid.control import health, metering, runtimes
from tidegrid.control.context import Context
from tidegrid.domain.attempt import (
    NEVER_STARTED,
    PROLOGUE_BOUND_US,
    STRENGTH,
    Attempt,
    Ended,
    Evidence,
    Execution,
    Reason,
    RefusedBySite,
    State,
    Witness,
    heard,
    launch_of,
    narrow,
    step,
)
from tidegrid.domain.job import part_done
from tidegrid.domain.ranges import compress, expand
from tidegrid.store import attempts, events, jobs
from tidegrid.store.attempts import Stored

ROUNDS = 4  # times `max_refusals`: what no list of excluded places has ended by then is ended
BY_ITS_SITE = "its site cancelled it, and nobody here asked for that"


@dataclass
class Batch:
    """One transaction of evidence. touched: jobs whose projection must be refreshed."""

    conn: Connection
    ctx: Context
    now: int
    touched: set[int] = field(default_factory=set)
    because: dict[int, dict[str, Any]] = field(default_factory=dict)  # attempt -> why it moves, for its event

    def apply(self, stored: Stored, evidence: Iterable[Evidence]) -> Attempt:
        """Apply the pieces in order; returns the attempt as it is now."""
        before = after = stored.attempt
        for ev in evidence:
            if isinstance(ev, Ended):
                said, ev = ev, _by_the_site(stored, after, ev)
                if ev is not said and after.live:
                    after = replace(after, detail=BY_ITS_SITE)
                after = self._late_end(stored, after, ev)
            result = step(after, ev)
            after = result.attempt
            for text in result.anomalies:
                self.anomaly(stored, text, type(ev).__name__)
            if isinstance(ev, RefusedBySite) and after.reason is Reason.REFUSED and before.live:
                self._refused(stored, ev)
        if after is before or after == before:
            return after
        self._save(stored, after)
        return after

    def anomaly(self, stored: Stored, text: str, evidence: str) -> None:
        """Recorded once per attempt, text and process: contradiction repeats itself every tick."""
        if (stored.attempt.id, text) in self.ctx.said:
            return
        self.ctx.said.add((stored.attempt.id, text))
        self._event(stored, "attempt.anomaly", {"text": text, "evidence": evidence})

    def _event(self, stored: Stored, kind: str, body: dict[str, Any]) -> None:
        row = stored.row
        events.append(
            self.conn, kind=kind, at=self.now, org_id=row["org_id"], job_id=row["job_id"],
            attempt_id=row["id"], cluster=row["cluster"], body=body,
        )  # fmt: skip

    def _save(self, stored: Stored, after: Attempt) -> None:
        before, row = stored.attempt, stored.row
        cols: dict[str, Any] = {}
        starts = [e.started_at for e in after.executions if e.started_at is not None]
        if starts and min(starts) != row["started_at"]:
            cols["started_at"] = min(starts)
        if after.state is State.QUEUED and row["queued_at"] is None:
            cols["queued_at"] = self.now
        ended = after.state is State.ENDED and before.live
        if ended:
            ends = [e.ended_at for e in after.executions if e.ended_at is not None]
            cols["ended_at"] = max(ends) if ends else self.now
            cols["fetched"] = not after.may_have_started
        attempts.save(self.conn, stored, after, **cols)
        if after.state is not before.state:
            body: dict[str, Any] = {"state": str(after.state), "was": str(before.state), "partition": row["partition"]}
            if after.reason:
                body["reason"] = str(after.reason)
            if after.detail:
                body["detail"] = after.detail
            self._event(stored, "attempt.state", body)
            self.touched.add(row["job_id"])
            health.note_state(self.conn, self.ctx, row["cluster"], row["partition"], before, after)
        elif "started_at" in cols:
            self.touched.add(row["job_id"])
        old = {(e.task, e.restart): e for e in before.executions}
        runtimes.note(self.conn, self.ctx, stored, [e for e in after.executions if e.ended and old.get((e.task, e.restart)) != e])
        over = []
        for e in after.executions:
            was = old.get((e.task, e.restart))
            if e.ended and (was is None or not was.ended):
                metering.settle_execution(self.conn, self.ctx, stored, e, self.now)
                over.append(e)
                if e.reason in NEVER_STARTED and was is not None and was.started_at is not None:  # hours may have been closed
                    none = ledger.UsageKey(after.id, e.task, e.restart, -1)
                    ledger.reverse_beyond(self.conn, self.ctx.ids, self.now, none, memo="it never began")
        health.note_ends(self.conn, self.ctx, row["cluster"], row["partition"], over)
        if ended:
            ran = [e.started_at for e in after.executions if e.started_at is not None and e.reason not in NEVER_STARTED]
            if ran:
                jobs.began(self.conn, row["job_id"], min(ran))
            self.close(stored, after)

    def _late_end(self, stored: Stored, a: Attempt, ev: Ended) -> Attempt:
        """A stronger witness after an end that was taken from a weaker one, or accounting that says something else now: the state
        stays, times and money are corrected."""
        e = a.execution(ev.task, ev.restart)
        if e is None or not e.ended or e.reason in NEVER_STARTED:
            return a
        if STRENGTH[ev.source] <= STRENGTH[e.source] and not _rewritten(e, ev):
            return a
        fixed = replace(e, native_id=ev.native_id, started_at=ev.started_at, ended_at=ev.ended_at, source=ev.source,
                        exit_code=ev.exit_code, peak_mib=ev.peak_mib or e.peak_mib)  # fmt: skip
        if (e.started_at, e.ended_at) != (ev.started_at, ev.ended_at):
            body = {"task": e.task, "restart": e.restart, "was": str(e.source), "source": str(ev.source),
                    "started_at": [e.started_at, ev.started_at], "ended_at": [e.ended_at, ev.ended_at]}  # fmt: skip
            self._event(stored, "usage.corrected", body)
        none = ledger.UsageKey(a.id, e.task, e.restart, -1)
        if ev.started_at is None:  # it never had nodes: nothing of it counts
            ledger.reverse_beyond(self.conn, self.ctx.ids, self.now, none, memo=f"never started, by {ev.source}")
        else:
            again = ev.source is e.source
            metering.settle_execution(self.conn, self.ctx, stored, fixed, self.now, rewritten=again)
        others = tuple(x for x in a.executions if x is not e)
        return replace(a, executions=(*others, fixed))

    def _refused(self, stored: Stored, ev: RefusedBySite) -> None:
        health.note_refusal(self.conn, self.ctx, stored.row["cluster"], stored.row["partition"], ev.code)
        part = jobs.part(self.conn, stored.row["part_id"], lock=True)
        if part is not None:
            excluded = set(part["excluded"].split()) | {f"{stored.row['cluster']}/{stored.row['partition']}"}
            jobs.update_part(self.conn, part["id"], refusals=part["refusals"] + 1, excluded=" ".join(sorted(excluded)))

    def close(self, stored: Stored, after: Attempt) -> None:
        """The attempt has ended: release its hold, settle its part or give its tasks back to be placed."""
        row = stored.row
        part = jobs.part(self.conn, row["part_id"], lock=True)
        assert part is not None
        ledger.release(self.conn, self.ctx.ids, self.now, row["id"])
        attempts.update_row(self.conn, row["id"], settled=True)
        last = after.last()
        tasks = expand(after.tasks)
        if any(e.reason is Reason.REFUSED and not e.gave_up for e in last.values()):
            # its prologue would not start it: counted, so that a site where none can does not get it for ever
            excluded = " ".join(sorted({*part["excluded"].split(), f"{row['cluster']}/{row['partition']}"}))
            part = {**part, "refusals": part["refusals"] + 1, "excluded": excluded}
            jobs.update_part(self.conn, part["id"], refusals=part["refusals"], excluded=excluded)
        redo = []
        worst: Reason = Reason.OK
        exits: list[str] = []
        order = list(Reason)
        for t in tasks:
            e_ = last.get(t)
            reason = (e_.reason if e_ is not None and e_.reason else after.reason) or Reason.LOST
            started = e_ is not None and reason not in NEVER_STARTED and not e_.gave_up
            settled = part_done(
                reason,
                started=started,
                restartable=after.restartable,
                refusals=part["refusals"],
                max_refusals=self.ctx.settings.max_refusals * ROUNDS,
            )
            if not settled and not row["cancel_wanted"]:
                redo.append(t)
                continue
            if not settled:
                reason = Reason.CANCELLED  # it would be placed again, and is not wanted any more
            worst = max(worst, reason, key=order.index)
            if reason not in (Reason.OK, Reason.CANCELLED):
                exits.append(_say(t, reason, e_, len(tasks) > 1))
        self.touched.add(row["job_id"])
        where = f"{row['cluster']}/{row['partition']}"
        if not redo:
            jobs.update_part(self.conn, part["id"], done=True, placed=False, reason=str(worst))
            if exits:
                more = f" and {len(exits) - 3} more" if len(exits) > 3 else ""
                text = f"{'; '.join(exits[:3])}{more} on {where}"
                jobs.update_job(self.conn, row["job_id"], reason=f"{text}: {after.detail}" if after.detail else text)
            return
        self._give_back(stored, part, tuple(redo), len(tasks), worst)

    def _give_back(self, stored: Stored, part: Any, redo: tuple[int, ...], of: int, worst: Reason) -> None:
        """The tasks in `redo` are to be placed again: in this part if they are all of it, else in a new one."""
        row = stored.row
        again = row["hold"] * len(redo) // of
        jobs.moved(self.conn, row["job_id"], again)
        pause = self.now + self.ctx.micro(0.2 if part["refusals"] == 0 else 1.0)
        if len(redo) == of:
            jobs.update_part(self.conn, part["id"], placed=False, reserved=again, not_before=pause)
        else:
            kept = compress(set(expand(part["tasks"])) - set(redo))
            jobs.update_part(self.conn, part["id"], tasks=kept, done=True, placed=False, reason=str(worst))
            self._new_part(row, redo, again, pause)
        self._event(stored, "attempt.moved", {"tasks": compress(redo), "from": row["cluster"], **self._why(stored, worst)})
        self.ctx.wake("submit")

    def _new_part(self, row: Any, tasks: tuple[int, ...], reserved: int, not_before: int) -> None:
        jobs.add_part(
            self.conn,
            id=self.ctx.ids.new(),
            org_id=row["org_id"],
            job_id=row["job_id"],
            tasks=compress(tasks),
            reserved=reserved,
            not_before=not_before,
        )

    def _why(self, stored: Stored, worst: Reason) -> dict[str, Any]:
        known = self.because.get(stored.attempt.id)
        return known if known is not None else {"cause": str(worst)}

    def split(self, stored: Stored, why: str, moving: tuple[int, ...] | None = None) -> Attempt:
        """Take tasks of an array out of a live attempt, into a new part: those that are not known to have started, or, of
        these, `moving`."""
        a, row = stored.attempt, stored.row
        moving = a.unstarted() if moving is None else moving
        keep = tuple(t for t in expand(a.tasks) if t not in set(moving))
        after = narrow(a, keep)
        again = row["hold"] * len(moving) // max(1, len(expand(a.tasks)))
        jobs.moved(self.conn, row["job_id"], again)
        jobs.update_part(self.conn, row["part_id"], tasks=compress(keep))
        self._new_part(row, moving, again, self.now)
        known = self.because.get(a.id, {"why": why})
        self._event(stored, "attempt.moved", {"tasks": compress(moving), "from": row["cluster"], **known})
        self.touched.add(row["job_id"])
        self.ctx.wake("submit")
        self._save(stored, after)
        return after


def _say(task: int, reason: Reason, e: Execution | None, array: bool) -> str:
    text = str(reason)
    if reason is Reason.FAILED and e is not None and e.exit_code is not None:
        text = f"exit status {e.exit_code}"
    elif reason is Reason.TIMEOUT:
        text = "ran past its wall time"
    elif reason is Reason.OOM:
        text = "used more memory than it asked for"
    elif reason is Reason.NODE_FAIL:
        text = "its node failed"
    return f"task {task}: {text}" if array else text


def _by_the_site(stored: Stored, a: Attempt, ev: Ended) -> Ended:
    """A run that nobody here wanted to end was ended by its cluster: its people cancelled it, or nodes that remember an id which a
    killed controller gives out again refused one part of a job, and it took back the rest. What never began is not of these."""
    e = a.execution(ev.task, launch_of(a, ev.task, ev.restart, ev.started_at))
    if ev.reason is not Reason.CANCELLED or stored.row["cancel_wanted"] or e is None:
        return ev
    given_back = e.exit_code is not None  # by us, because its application had ended
    began = heard(e) or (ev.started_at is not None and ev.ended_at - ev.started_at > PROLOGUE_BOUND_US)
    return replace(ev, reason=Reason.NODE_FAIL) if began and not given_back else ev


def _rewritten(e: Execution, ev: Ended) -> bool:
    """Whether accounting has changed the row of an end that it told: a controller that forgot the end after telling it finds the job
    missing when it is back, and tells another. Rows of the same native id only."""
    return (
        ev.source is e.source is Witness.ACCOUNTING
        and ev.native_id == e.native_id
        and (ev.started_at, ev.ended_at) != (e.started_at, e.ended_at)
    )

"""What a cluster's answer means, committed: attempts take a step, and what follows from that at the site is gathered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict

from sqlalchemy import Connection

from tidegrid.connectors.contract import Listed
from tidegrid.control import incidents, metering, orphans
from tidegrid.control.actions import Actions
from tidegrid.control.answer import Answer, ended_unheard
from tidegrid.control.contact import Contact, native_name
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.projection import refresh
from tidegrid.control.told import id_of
from tidegrid.domain.attempt import (
    ABSENCES_TO_DOUBT,
    Absent,
    Ended,
    Evidence,
    Reason,
    Seen,
    State,
    Unsure,
    Witness,
)
from tidegrid.domain.clock import HOUR, SECOND
from tidegrid.domain.ranges import expand
from tidegrid.store import attempts, clusters, events
from tidegrid.store.attempts import Stored

CANCEL_AGAIN = 5 * SECOND


class Commit:
    """One transaction of a tick: the whole of its answer, or some attempts before the rest. out: what it has to do at the site."""

    def __init__(self, conn: Connection, ctx: Context, cluster: str, contact: Contact, answer: Answer) -> None:
        self.conn, self.ctx, self.cluster, self.contact, self.answer = conn, ctx, cluster, contact, answer
        self.seen, self.listed = answer.seen, answer.listed
        self.batch, self.out = Batch(conn, ctx, ctx.now()), Actions()

    def whole(self, settled: Set[int]) -> Actions:
        """All but what the answer says of attempts that are settled: applied before, in this tick."""
        ctx, conn, seen, listed, sightings = self.ctx, self.conn, self.seen, self.listed, self.contact.sightings
        evidence = {i: evs for i, evs in self.answer.evidence.items() if i not in settled}
        row = clusters.get(conn, self.cluster)
        slim = attempts.live_slim(conn, self.cluster)
        live = {r["id"] for r in slim}
        sightings.prune(live)
        for r in slim:  # its answer could not be written here, or its sending failed: it may have landed
            if r["state"] == State.SUBMITTING and r["sender"] and r["id"] not in ctx.sending:
                evidence[r["id"]] = [*evidence.get(r["id"], []), Unsure("what became of its submission is not known")]
        for id_ in listed.keys() & live:
            sightings.seen(id_, seen.site_time_us)
        hour = seen.site_time_us // HOUR
        turned, self.contact.hour = hour != self.contact.hour, hour
        outlived = self._outlived(live)
        marked = {(of, e.task) for e in self.answer.spool if (of := id_of(e)) is not None}
        ours = {i: job for i, job in listed.items() if i in live}
        unmarked = sightings.unmarked(ours, marked, seen.site_time_us, ctx.micro(ctx.settings.outlived))
        look = [
            r["id"]
            for r in slim
            if r["id"] in evidence
            or r["id"] in outlived
            or r["id"] in unmarked
            or self.answer.differs(r)
            or (turned and r["state"] == "RUNNING")
        ]
        for stored in attempts.by_ids(conn, look):
            if stored.attempt.id not in settled:
                self._live(stored, evidence.get(stored.attempt.id, []))
            if stored.attempt.id in outlived:
                self._give_back(stored, listed[stored.attempt.id])
            if stored.attempt.id in unmarked:
                self._never_began(stored, listed[stored.attempt.id])
        self._ended(live, evidence)
        self._sweep(live)
        refresh(conn, ctx, self.batch.touched, self.batch.now)
        self._cluster_row(row)
        return self.out

    def some(self, ids: Sequence[int]) -> Actions:
        """All that a tick knows of some attempts, before the rest of it."""
        self.out.settled = set(ids)
        for stored in attempts.by_ids(self.conn, ids):
            told = self.answer.evidence.get(stored.attempt.id, [])
            if not stored.attempt.live or stored.row["cluster"] != self.cluster:
                self._late(stored, told)
            elif stored.attempt.state is State.SUBMITTING:  # whether it is being sent is for the whole to see
                self.out.settled.discard(stored.attempt.id)
            else:
                self._live(stored, told)
        refresh(self.conn, self.ctx, self.batch.touched, self.batch.now)
        return self.out

    # Live attempts ----------------------------------------------------------------------------------------------------

    def _live(self, stored: Stored, evs: list[Evidence]) -> None:
        a, row, out = stored.attempt, stored.row, self.out
        job = self.listed.get(a.id)
        if not row["cancel_wanted"] and (unheard := ended_unheard(a, evs)):
            out.doubts.append((a.id, row["directory"], unheard))
            out.ended[a.id] = [e for e in evs if isinstance(e, Ended) and e.task in unheard]
            evs = [e for e in evs if e not in out.ended[a.id]]
        if job is not None:
            evs = [Seen(job.native_id, job.running), *evs]
        elif not self.seen.more and a.state is not State.SUBMITTING and not any(isinstance(e, Ended) for e in evs):
            acknowledged = row["queued_at"] or row["created_at"]
            if acknowledged < self.answer.began:
                evs = [*evs, Absent()]
        after = self.batch.apply(stored, evs)
        if after.live:
            metering.close_hours(self.conn, self.ctx, Stored(after, row), self.seen.site_time_us, self.batch.now)
        self._wants(Stored(after, row), job)

    def _wants(self, stored: Stored, job: Listed | None) -> None:
        """Cancels and doubts that follow from the attempt as it is now."""
        after, row = stored.attempt, stored.row
        id_ = after.id
        if row["cancel_wanted"] and after.live and after.state is not State.SUBMITTING and job is not None:
            self._cancel(id_, job.native_id)
        elif (
            job is not None
            and after.live
            and (moved := sorted({*job.waiting, *job.running} - set(expand(after.tasks))))
        ):
            self._cancel(id_, job.native_id, moved)
        if after.state is State.IN_DOUBT and after.absent >= ABSENCES_TO_DOUBT:
            tasks = after.unstarted()
            if tasks:
                self.out.doubts.append((id_, row["directory"], tasks))
            gone = [e for e in after.executions if not e.ended and e.app_exit is not None]
            if gone:  # no witness is left, but the job itself said that it ended: billed provisionally
                ends = [
                    Ended(
                        e.task, e.restart, e.native_id, Reason.OK if e.app_exit == 0 else Reason.FAILED, e.app_exit,
                        e.started_at, self.seen.site_time_us, Witness.PROVISIONAL,
                    )
                    for e in gone
                ]  # fmt: skip
                after = self.batch.apply(Stored(after, row), ends)
            self._orphans(Stored(after, row))

    def _orphans(self, stored: Stored) -> None:
        """What had started, and its controller has forgotten: once no node can still run it, it has ended."""
        sightings, site_time = self.contact.sightings, self.seen.site_time_us
        missing_us = self.ctx.micro(self.ctx.settings.orphan)
        if sightings.missing_for(stored.attempt.id, site_time) >= missing_us and self.seen.all_told:
            self.batch.apply(stored, orphans.ends(stored.attempt, sightings, site_time))

    def _outlived(self, live: set[int]) -> set[int]:
        """Live attempts whose cluster still runs what said long ago that it ended."""
        sightings, site_time = self.contact.sightings, self.seen.site_time_us
        said = {id_ for entry in self.answer.spool if entry.kind == "end" and (id_ := id_of(entry)) in live}
        if not self.contact.answered:  # what was said to an earlier process
            stored = attempts.live_on(self.conn, self.cluster)
            said |= {s.attempt.id for s in stored if any(e.app_exit is not None for e in s.attempt.executions)}
        for id_ in said:
            if id_ is not None:
                sightings.done.setdefault(id_, site_time)
        return sightings.outlived(self.listed, site_time, self.ctx.micro(self.ctx.settings.outlived))

    def _give_back(self, stored: Stored, job: Listed) -> None:
        for fresh in attempts.by_ids(self.conn, [stored.attempt.id]):
            ghosts = orphans.to_give_back(fresh.attempt, job.running) if fresh.attempt.live else []
            if ghosts:
                self.batch.apply(fresh, ghosts)
                tasks = sorted({g.task for g in ghosts})
                whole = set(tasks) >= {*job.running, *job.waiting}
                self._cancel(fresh.attempt.id, job.native_id, () if whole else tasks)

    def _never_began(self, stored: Stored, job: Listed) -> None:
        """Said to run, and not a sign of its prologue: a node refused it, and its controller has not heard. Its fence tells."""
        for fresh in attempts.by_ids(self.conn, [stored.attempt.id]):
            tasks = orphans.never_began(fresh.attempt, job.running) if fresh.attempt.live else ()
            if tasks:
                self.out.doubts.append((fresh.attempt.id, fresh.row["directory"], tasks))
            else:
                self.contact.sightings.bare.update({(fresh.attempt.id, t): orphans.NEVER for t in job.running})

    # Attempts that are over, and the cluster ---------------------------------------------------------------------------

    def _ended(self, live: set[int], evidence: Mapping[int, list[Evidence]]) -> None:
        """Late evidence of attempts that are over, and native jobs that must not go on."""
        late = [i for i in {*evidence, *self.listed} if i not in live]
        for stored in attempts.by_ids(self.conn, late) if late else []:
            if not self._late(stored, evidence.get(stored.attempt.id, [])):
                continue
            job = self.listed.get(stored.attempt.id)
            if job is not None and stored.attempt.state is State.ENDED:
                self._cancel(stored.attempt.id, job.native_id)

    def _late(self, stored: Stored, evidence: Iterable[Evidence]) -> bool:
        if stored.row["cluster"] != self.cluster:
            self.batch.anomaly(stored, f"shows up on {self.cluster}", "Observation")
            return False
        self.batch.apply(stored, evidence)
        return True

    def _cancel(self, attempt: int, native_id: str, tasks: Sequence[int] = ()) -> None:
        if self.batch.now - self.contact.cancelled.get(attempt, 0) >= CANCEL_AGAIN:
            self.contact.cancelled[attempt] = self.batch.now
            self.out.cancels.append((native_name(attempt), native_id, tasks))

    def _sweep(self, live: set[int]) -> None:
        """What was read and is of no more use. A mark of an attempt that is over goes only once an answer later than its listing no
        longer holds the job, and not before its directory says that this is no permit: a controller may have forgotten what waits."""
        out = self.out
        over: set[str] = set()
        left: dict[int, list[str]] = {}
        for entry in self.answer.spool:
            id_ = id_of(entry)
            if id_ is None:
                continue
            if id_ in live:
                if entry.kind != "mark":  # one that is no permit yet stays
                    out.sweep.append(entry.file)
            elif id_ in self.listed:
                continue
            elif entry.file not in self.contact.old_marks:
                over.add(entry.file)
            elif entry.kind == "mark":
                left.setdefault(id_, []).append(entry.file)
            else:
                out.sweep.append(entry.file)
        out.over = over
        for stored in attempts.by_ids(self.conn, sorted(left)) if left else []:
            out.denied[stored.row["directory"]] = left.pop(stored.attempt.id)
        out.sweep += (file for files in left.values() for file in files)  # of attempts that were never sent

    def _cluster_row(self, row: clusters.Row) -> None:
        """row: as it was. A renewal of the lease is committed before it is written at the site."""
        seen, now, out = self.seen, self.batch.now, self.out
        cols: dict[str, object] = {}
        if seen.cursor != row["cursor"]:
            cols["cursor"] = seen.cursor
        if seen.boot != row["boot"]:
            cols["boot"] = seen.boot
        if row["health"] != "up":
            cols |= {"health": "up", "silent_since": None}
            events.append(self.conn, kind="cluster.up", at=now, cluster=self.cluster, body={"was": row["health"]})
            if row["health"] == "silent" and row["dead_at"] is None:
                incidents.answers(self.conn, self.ctx, self.cluster, row["silent_since"])
        lease = self.ctx.settings.lease * SECOND
        if seen.site_time_us + lease - row["lease_expires_at"] > lease // 3:
            out.renew, out.expires_at = row["lease_seq"] + 1, seen.site_time_us + lease
            cols |= {"lease_seq": out.renew, "lease_expires_at": out.expires_at}
        if cols or now - self.contact.written_at >= SECOND:
            self.contact.written_at = now
            loads = json.dumps([{**asdict(load), "at": self.answer.loads_at} for load in seen.loads])
            cols |= {
                "last_answer_at": seen.site_time_us,
                "skew_us": seen.site_time_us - now,
                "loads": loads,
                "loads_at": now,
            }
        if cols:
            clusters.update(self.conn, self.cluster, **cols)

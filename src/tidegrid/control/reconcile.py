"""One cluster, one tick: ask once, commit what the answer means, then act on what was committed.

observe -> list the spool -> marks become permits -> one transaction -> cancels, fences -> lease

Marks come first, for each is a job that waits for its permit; while jobs are starting, they are also looked for between two answers
of the controller.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection

from tidegrid.connectors.contract import Connector, Listed, Observation, SiteRefused, SiteUnsure, SpoolEntry
from tidegrid.control import failover, incidents, metering, orphans
from tidegrid.control.contact import LOOK_S, Contact, attempt_of, native_name
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.projection import refresh
from tidegrid.control.told import gather, gather_spool, id_of
from tidegrid.domain.attempt import (
    ABSENCES_TO_DOUBT,
    Absent,
    AppExited,
    Attempt,
    Ended,
    Evidence,
    FenceLost,
    FenceWon,
    GaveUp,
    Marked,
    Permitted,
    Reason,
    Seen,
    State,
    Unsure,
    Witness,
    over_before,
    unsettled,
)
from tidegrid.domain.clock import HOUR, SECOND
from tidegrid.domain.errors import InvalidInput, NoSpace
from tidegrid.domain.ranges import expand
from tidegrid.store import attempts, clusters, events
from tidegrid.store.attempts import Stored

log = structlog.get_logger(__name__)
T = TypeVar("T")
CANCEL_AGAIN = 5 * SECOND
MOVING_S = 5.0  # after something came, started or ended, what waits may start
AT_ONCE, PARTS = 24, 20  # attempts in one part of a tick, where there are many, and such parts at most
RESTS, REST_S = 4, 2.0  # between two questions: times what the last answer took, and at most
LAST_S = 0.25  # between two looks whether the last of what runs has ended
STARTING = 30 * SECOND  # how long after its cluster called it running a job's mark is looked for so often


@dataclass
class Actions:
    """What a committed tick still has to do at the site."""

    sweep: list[str] = field(default_factory=list)
    cancels: list[tuple[str, str, Sequence[int]]] = field(default_factory=list)  # name, native id, tasks (none: all)
    doubts: list[tuple[int, str, tuple[int, ...]]] = field(default_factory=list)  # attempt, directory, tasks
    ended: dict[int, list[Ended]] = field(default_factory=dict)  # those in doubt because of these ends that their site told
    over: set[str] = field(default_factory=set)  # spool files of attempts that are over
    denied: dict[str, list[str]] = field(default_factory=dict)  # directory of such an attempt -> its marks
    settled: set[int] = field(default_factory=set)  # attempts of which all that was told is applied
    renew: int = 0  # lease sequence to write; 0: not now
    expires_at: int = 0

    def add(self, other: Actions) -> None:
        """What follows from single attempts."""
        self.cancels += other.cancels
        self.doubts += other.doubts
        self.ended |= other.ended
        self.settled |= other.settled


class Reconciler:
    """The tick of one cluster. `peers` are the contacts of all clusters, this one's included."""

    def __init__(self, ctx: Context, connector: Connector, peers: dict[str, Contact]) -> None:
        self.ctx, self.connector, self.peers = ctx, connector, peers
        self.cluster = connector.cluster
        self.contact = peers[self.cluster]

    async def tick(self) -> bool:
        """True where the cluster answered."""
        ctx, contact = self.ctx, self.contact
        began = ctx.now()
        cursor = await ctx.store.read(lambda c: clusters.get(c, self.cluster)["cursor"])
        now = asyncio.get_running_loop().time
        asked = now()
        try:
            async with asyncio.timeout(ctx.settings.call):
                seen = await self._meanwhile(self.connector.observe(cursor))
                contact.asked, loads_at = (asked, now()), _loads_at(seen, ctx.now())
                spool = await self.connector.files.spool()
        except (SiteUnsure, SiteRefused, TimeoutError, OSError) as e:
            contact.failures += 1
            await failover.check(ctx, self.cluster, self.peers, str(e) or type(e).__name__)
            return False
        spool = await self._granted(spool, seen)
        await contact.let_start(self._look)
        given = list(contact.given)
        evidence = gather(seen, spool, given)
        early = await self._in_parts(seen, evidence, began) if contact.starting else Actions()
        actions = await ctx.write(lambda c: self._commit(c, seen, spool, began, evidence, early.settled, loads_at))
        actions.add(early)
        del contact.given[: len(given)]
        contact.failures, contact.answered = 0, True
        contact.last_answer = asyncio.get_running_loop().time()
        contact.loads, contact.loads_at, contact.old_marks = seen.loads, loads_at, actions.over
        contact.stuck = _stuck(seen.jobs, contact)
        contact.starting = self._starting(seen)
        if contact.silent:
            contact.silent = False
            log.info("cluster.back", cluster=self.cluster)
            ctx.wake("submit")
        await self._act(actions, seen)
        return True

    async def _in_parts(self, seen: Observation, evidence: Mapping[int, list[Evidence]], began: int) -> Actions:
        """What the answer says of many, but for the last of them: what starts does not wait for its permit until all is written."""
        out, now = Actions(), asyncio.get_running_loop().time
        to_do = await self._to_do(seen, evidence)
        size, looked = max(AT_ONCE, len(to_do) // PARTS), now()
        while len(to_do) > size:
            some, to_do = to_do[:size], to_do[size:]
            out.add(await self.ctx.write(lambda c: self._commit_some(c, some, evidence, seen, began)))  # noqa: B023 - awaited here
            if now() - looked >= LOOK_S:
                await self._look()
                looked = now()
        return out

    async def _to_do(self, seen: Observation, evidence: Mapping[int, list[Evidence]]) -> list[int]:
        """Attempts of which this answer says something new; empty where they are few."""
        if len(evidence) + len(seen.jobs) <= AT_ONCE:
            return []
        listed = _listed(seen)
        slim = await self.ctx.store.read(lambda c: attempts.live_slim(c, self.cluster))
        differ = {r["id"] for r in slim if _differs(r, listed.get(r["id"]), seen.more)}
        return sorted(differ | set(evidence))

    async def rest(self) -> None:
        """So long that a controller that takes its time to answer is not asked most of the time, and until what starts has started."""
        await self.contact.let_start(self._look)
        began, answered = self.contact.asked
        left = min(REST_S, RESTS * (answered - began)) - (asyncio.get_running_loop().time() - answered)
        if left > 0:
            await self._meanwhile(asyncio.sleep(left) if self._more_to_come() else self._last_ends(left))

    def _more_to_come(self) -> bool:
        """Whether something waits there, or nothing runs."""
        running = [tasks for _, waiting, tasks in self.contact.listing if tasks or waiting]
        return not running or any(waiting for _, waiting, _ in self.contact.listing)

    async def _last_ends(self, seconds: float) -> None:
        """So long, or until the last of what runs there has said that it ended: then its controller has nothing else to do."""
        runs = {attempt_of(name) for name, _, tasks in self.contact.listing if tasks}
        until = asyncio.get_running_loop().time() + seconds
        try:
            while runs - self.contact.sightings.done.keys() and (left := until - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(min(left, LAST_S))
                async with asyncio.timeout(self.ctx.settings.call):
                    runs -= {id_of(e) for e in await self.connector.files.spool() if e.kind == "end"}
        except (SiteUnsure, SiteRefused, TimeoutError, OSError):
            return  # the tick finds out what it is

    async def pause(self, seconds: float) -> bool:
        """Between two ticks, where something is starting; False where nothing is: then nothing was waited for."""
        if not self.contact.starting:
            return False
        await self._meanwhile(asyncio.sleep(seconds))
        return True

    async def _meanwhile(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives; meanwhile whatever starts at the cluster gets its permit."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait((task,), timeout=LOOK_S))[0]:
                if self.contact.starting:
                    await self._look()
            return await task
        finally:
            task.cancel()

    def _starting(self, seen: Observation) -> bool:
        contact = self.contact
        listing = frozenset((j.name, j.waiting, j.running) for j in seen.jobs)
        if listing != contact.listing:
            contact.listing, contact.changed = listing, contact.last_answer
        if contact.last_answer - contact.changed < MOVING_S and any(j.waiting for j in seen.jobs):
            return True
        return contact.sent > contact.asked[0] or contact.sightings.starting(seen.site_time_us, STARTING)

    async def _look(self) -> None:
        """The spool alone."""
        try:
            async with asyncio.timeout(self.ctx.settings.call):
                await self._granted(await self.connector.files.spool())
        except (SiteUnsure, SiteRefused, TimeoutError, OSError):
            self.contact.starting = False  # the tick finds out what it is

    async def _granted(self, spool: list[SpoolEntry], seen: Observation | None = None) -> list[SpoolEntry]:
        """Marks of live attempts are committed, then removed: the permit to start. The rest of the spool. seen: the cluster's
        answer, which is older than the spool's listing."""
        marks = [e for e in spool if e.kind == "mark"]
        if not marks:
            return spool
        self.contact.permits()
        permits = await self.ctx.write(lambda c: self._commit_marks(c, marks, seen))
        if permits:
            self.contact.permits()
            try:
                async with asyncio.timeout(self.ctx.settings.call):
                    await self._one(self._permit(permits))
            except (SiteUnsure, TimeoutError) as e:  # given again when it is next listed
                log.info("site.action_failed", cluster=self.cluster, why=str(e) or type(e).__name__)
        handled = {p[0] for p in permits}
        return [e for e in spool if e.file not in handled]

    async def _permit(self, permits: list[tuple[str, int, int, int]]) -> None:
        removed = set(await self.connector.files.unspool([p[0] for p in permits]))
        self.contact.given += [p[1:] for p in permits if p[0] in removed]

    def _commit_marks(
        self, conn: Connection, marks: Sequence[SpoolEntry], seen: Observation | None
    ) -> list[tuple[str, int, int, int]]:
        """What may start now: (file, attempt, task, restart)."""
        batch = Batch(conn, self.ctx, self.ctx.now())
        told = gather_spool(marks)
        live = {}
        for stored in attempts.by_ids(conn, sorted(told)):
            if stored.attempt.live and stored.row["cluster"] == self.cluster:
                live[stored.attempt.id] = batch.apply(stored, told[stored.attempt.id])
        refresh(conn, self.ctx, batch.touched, batch.now)
        self.contact.sightings.heard((i, e.task) for e in marks if (i := id_of(e)) in live and i is not None)
        permits = [(e.file, i, e.task, e.restart) for e in marks if (i := id_of(e)) is not None and i in live]
        permits = [p for p in permits if (e := live[p[1]].execution(p[2], p[3])) is not None and e.marked]
        held = {p[0] for p in permits if p[3] and not over_before(live[p[1]], p[2], p[3])}
        since = {file: self.contact.again.get(file, batch.now) for file in held}
        if held and seen is not None:
            held -= self._may_run_again([p for p in permits if p[0] in held], seen)
        self.contact.again = since
        return [p for p in permits if p[0] not in held]

    def _may_run_again(self, held: Sequence[tuple[str, int, int, int]], seen: Observation) -> set[str]:
        """Marks of another start of what nobody has told the end of: its controller knows that it started it before, or has forgotten
        that, and every node has been told since to abort what the controller does not know (see `_orphans`)."""
        long_ago = self.ctx.now() - self.ctx.micro(self.ctx.settings.orphan)
        counted = {(i, t): n for j in seen.jobs if (i := attempt_of(j.name)) is not None for t, n in j.again}
        return {
            file
            for file, attempt, task, restart in held
            if counted.get((attempt, task), 0) >= restart or (seen.all_told and self.contact.again.get(file, long_ago + 1) <= long_ago)
        }

    # load -> decide -> commit -------------------------------------------------------------------------------------

    def _commit(
        self,
        conn: Connection,
        seen: Observation,
        spool: Sequence[SpoolEntry],
        began: int,
        told: Mapping[int, list[Evidence]],
        settled: Set[int],
        loads_at: int,
    ) -> Actions:
        ctx, now = self.ctx, self.ctx.now()
        evidence = {i: evs for i, evs in told.items() if i not in settled}
        row = clusters.get(conn, self.cluster)
        batch, out = Batch(conn, ctx, now), Actions()
        slim = attempts.live_slim(conn, self.cluster)
        live = {r["id"] for r in slim}
        self.contact.sightings.prune(live)
        for r in slim:  # its answer could not be written here, or its sending failed: it may have landed
            if r["state"] == State.SUBMITTING and r["sender"] and r["id"] not in ctx.sending:
                evidence[r["id"]] = [*evidence.get(r["id"], []), Unsure("what became of its submission is not known")]
        listed = _listed(seen)
        for id_ in listed.keys() & live:
            self.contact.sightings.seen(id_, seen.site_time_us)
        hour = seen.site_time_us // HOUR
        turned, self.contact.hour = hour != self.contact.hour, hour
        outlived = self._outlived(conn, spool, live, listed, seen.site_time_us)
        marked = {(of, e.task) for e in spool if (of := id_of(e)) is not None}
        ours = {i: job for i, job in listed.items() if i in live}
        patience = ctx.micro(ctx.settings.outlived)
        unmarked = self.contact.sightings.unmarked(ours, marked, seen.site_time_us, patience)
        look = [
            r["id"]
            for r in slim
            if r["id"] in evidence
            or r["id"] in outlived
            or r["id"] in unmarked
            or _differs(r, listed.get(r["id"]), seen.more)
            or (turned and r["state"] == "RUNNING")
        ]
        for stored in attempts.by_ids(conn, look):
            if stored.attempt.id not in settled:
                self._apply_live(batch, stored, evidence.get(stored.attempt.id, []), listed, seen, began, out)
            if stored.attempt.id in outlived:
                self._give_back(batch, stored, listed[stored.attempt.id], out)
            if stored.attempt.id in unmarked:
                self._never_began(batch, stored, listed[stored.attempt.id], out)
        self._apply_ended(batch, live, evidence, listed, out)
        self._sweep(conn, live, spool, listed, out)
        refresh(conn, ctx, batch.touched, now)
        self._cluster_row(conn, row, seen, now, loads_at, out)
        return out

    def _commit_some(
        self, conn: Connection, ids: Sequence[int], evidence: Mapping[int, list[Evidence]], seen: Observation, began: int
    ) -> Actions:
        """All that a tick knows of some attempts, before the rest of it."""
        batch, out, listed = Batch(conn, self.ctx, self.ctx.now()), Actions(settled=set(ids)), _listed(seen)
        for stored in attempts.by_ids(conn, ids):
            told = evidence.get(stored.attempt.id, [])
            if not stored.attempt.live or stored.row["cluster"] != self.cluster:
                self._apply_late(batch, stored, told)
            elif stored.attempt.state is State.SUBMITTING:  # whether it is being sent is for the whole to see
                out.settled.discard(stored.attempt.id)
            else:
                self._apply_live(batch, stored, told, listed, seen, began, out)
        refresh(conn, self.ctx, batch.touched, batch.now)
        return out

    def _apply_live(
        self,
        batch: Batch,
        stored: Stored,
        evs: list[Evidence],
        listed: dict[int, Listed],
        seen: Observation,
        began: int,
        out: Actions,
    ) -> None:
        a, row = stored.attempt, stored.row
        job = listed.get(a.id)
        if not row["cancel_wanted"] and (unheard := _ended_unheard(a, evs)):
            out.doubts.append((a.id, row["directory"], unheard))
            out.ended[a.id] = [e for e in evs if isinstance(e, Ended) and e.task in unheard]
            evs = [e for e in evs if e not in out.ended[a.id]]
        if job is not None:
            evs = [Seen(job.native_id, job.running), *evs]
        elif not seen.more and a.state is not State.SUBMITTING and not any(isinstance(e, Ended) for e in evs):
            acknowledged = row["queued_at"] or row["created_at"]
            if acknowledged < began:
                evs = [*evs, Absent()]
        after = batch.apply(stored, evs)
        if after.live:
            metering.close_hours(batch.conn, self.ctx, Stored(after, row), seen.site_time_us, batch.now)
        self._wants(batch, stored, after, job, seen.site_time_us, seen.all_told, out)

    def _outlived(
        self, conn: Connection, spool: Sequence[SpoolEntry], live: set[int], listed: dict[int, Listed], site_time: int
    ) -> set[int]:
        """Live attempts whose cluster still runs what said long ago that it ended."""
        sightings = self.contact.sightings
        said = {id_ for entry in spool if entry.kind == "end" and (id_ := id_of(entry)) in live}
        if not self.contact.answered:  # what was said to an earlier process
            stored = attempts.live_on(conn, self.cluster)
            said |= {s.attempt.id for s in stored if any(e.app_exit is not None for e in s.attempt.executions)}
        for id_ in said:
            if id_ is not None:
                sightings.done.setdefault(id_, site_time)
        return sightings.outlived(listed, site_time, self.ctx.micro(self.ctx.settings.outlived))

    def _give_back(self, batch: Batch, stored: Stored, job: Listed, out: Actions) -> None:
        for fresh in attempts.by_ids(batch.conn, [stored.attempt.id]):
            ghosts = orphans.to_give_back(fresh.attempt, job.running) if fresh.attempt.live else []
            if ghosts:
                batch.apply(fresh, ghosts)
                tasks = sorted({g.task for g in ghosts})
                whole = set(tasks) >= {*job.running, *job.waiting}
                self._cancel(fresh.attempt.id, job.native_id, batch.now, out, () if whole else tasks)

    def _never_began(self, batch: Batch, stored: Stored, job: Listed, out: Actions) -> None:
        """Said to run, and not a sign of its prologue: a node refused it, and its controller has not heard. Its fence tells."""
        for fresh in attempts.by_ids(batch.conn, [stored.attempt.id]):
            tasks = orphans.never_began(fresh.attempt, job.running) if fresh.attempt.live else ()
            if tasks:
                out.doubts.append((fresh.attempt.id, fresh.row["directory"], tasks))
            else:
                self.contact.sightings.bare.update({(fresh.attempt.id, t): orphans.NEVER for t in job.running})

    def _orphans(self, batch: Batch, stored: Stored, site_time: int, all_told: bool) -> None:
        """What had started, and its controller has forgotten: once no node can still run it, it has ended."""
        missing_us = self.ctx.micro(self.ctx.settings.orphan)
        if self.contact.sightings.missing_for(stored.attempt.id, site_time) >= missing_us and all_told:
            batch.apply(stored, orphans.ends(stored.attempt, self.contact.sightings, site_time))

    def _wants(
        self,
        batch: Batch,
        stored: Stored,
        after: Attempt,
        job: Listed | None,
        site_time: int,
        all_told: bool,
        out: Actions,
    ) -> None:
        """Cancels and doubts that follow from the attempt as it is now."""
        id_, row = after.id, stored.row
        if row["cancel_wanted"] and after.live and after.state is not State.SUBMITTING and job is not None:
            self._cancel(id_, job.native_id, batch.now, out)
        elif (
            job is not None
            and after.live
            and (moved := sorted({*job.waiting, *job.running} - set(expand(after.tasks))))
        ):
            self._cancel(id_, job.native_id, batch.now, out, moved)
        if after.state is State.IN_DOUBT and after.absent >= ABSENCES_TO_DOUBT:
            tasks = after.unstarted()
            if tasks:
                out.doubts.append((id_, row["directory"], tasks))
            gone = [e for e in after.executions if not e.ended and e.app_exit is not None]
            if gone:  # no witness is left, but the job itself said that it ended: billed provisionally
                ends = [
                    Ended(
                        e.task, e.restart, e.native_id, Reason.OK if e.app_exit == 0 else Reason.FAILED, e.app_exit,
                        e.started_at, site_time, Witness.PROVISIONAL,
                    )
                    for e in gone
                ]  # fmt: skip
                after = batch.apply(Stored(after, row), ends)
            self._orphans(batch, Stored(after, row), site_time, all_told)

    def _apply_ended(
        self,
        batch: Batch,
        live: set[int],
        evidence: dict[int, list[Evidence]],
        listed: dict[int, Listed],
        out: Actions,
    ) -> None:
        """Late evidence of attempts that are over, and native jobs that must not go on."""
        late = [i for i in {*evidence, *listed} if i not in live]
        for stored in attempts.by_ids(batch.conn, late) if late else []:
            if not self._apply_late(batch, stored, evidence.get(stored.attempt.id, [])):
                continue
            job = listed.get(stored.attempt.id)
            if job is not None and stored.attempt.state is State.ENDED:
                self._cancel(stored.attempt.id, job.native_id, batch.now, out)

    def _apply_late(self, batch: Batch, stored: Stored, evidence: Iterable[Evidence]) -> bool:
        if stored.row["cluster"] != self.cluster:
            batch.anomaly(stored, f"shows up on {self.cluster}", "Observation")
            return False
        batch.apply(stored, evidence)
        return True

    def _cancel(self, attempt: int, native_id: str, now: int, out: Actions, tasks: Sequence[int] = ()) -> None:
        if now - self.contact.cancelled.get(attempt, 0) >= CANCEL_AGAIN:
            self.contact.cancelled[attempt] = now
            out.cancels.append((native_name(attempt), native_id, tasks))

    def _sweep(
        self,
        conn: Connection,
        live: set[int],
        spool: Sequence[SpoolEntry],
        listed: dict[int, Listed],
        out: Actions,
    ) -> None:
        """What was read and is of no more use. A mark of an attempt that is over goes only once an answer later than its listing no
        longer holds the job, and not before its directory says that this is no permit: a controller may have forgotten what waits."""
        over: set[str] = set()
        left: dict[int, list[str]] = {}
        for entry in spool:
            id_ = id_of(entry)
            if id_ is None:
                continue
            if id_ in live:
                if entry.kind != "mark":  # one that is no permit yet stays
                    out.sweep.append(entry.file)
            elif id_ in listed:
                continue
            elif entry.file not in self.contact.old_marks:
                over.add(entry.file)
            elif entry.kind == "mark":
                left.setdefault(id_, []).append(entry.file)
            else:
                out.sweep.append(entry.file)
        out.over = over
        for stored in attempts.by_ids(conn, sorted(left)) if left else []:
            out.denied[stored.row["directory"]] = left.pop(stored.attempt.id)
        out.sweep += (file for files in left.values() for file in files)  # of attempts that were never sent

    def _cluster_row(self, conn: Connection, row: clusters.Row, seen: Observation, now: int, loads_at: int, out: Actions) -> None:
        cols: dict[str, object] = {}
        if seen.cursor != row["cursor"]:
            cols["cursor"] = seen.cursor
        if seen.boot != row["boot"]:
            cols["boot"] = seen.boot
        if row["health"] != "up":
            cols |= {"health": "up", "silent_since": None}
            events.append(conn, kind="cluster.up", at=now, cluster=self.cluster, body={"was": row["health"]})
            if row["health"] == "silent" and row["dead_at"] is None:
                incidents.answers(conn, self.ctx, self.cluster, row["silent_since"])
        lease = self.ctx.settings.lease * SECOND
        if seen.site_time_us + lease - row["lease_expires_at"] > lease // 3:
            out.renew, out.expires_at = row["lease_seq"] + 1, seen.site_time_us + lease
            cols |= {"lease_seq": out.renew, "lease_expires_at": out.expires_at}
        if cols or now - self.contact.written_at >= SECOND:
            self.contact.written_at = now
            loads = json.dumps([{**asdict(load), "at": loads_at} for load in seen.loads])
            cols |= {
                "last_answer_at": seen.site_time_us,
                "skew_us": seen.site_time_us - now,
                "loads": loads,
                "loads_at": now,
            }
        if cols:
            clusters.update(conn, self.cluster, **cols)

    # act --------------------------------------------------------------------------------------------------------------

    async def _act(self, out: Actions, seen: Observation) -> None:
        """Nothing is lost where an action fails: each follows again from what is stored. One that the site will not do must
        not keep it from the others; a site that does not answer is left alone until the next tick."""
        files = self.connector.files
        try:
            async with asyncio.timeout(self.ctx.settings.call):
                if out.renew:
                    text = f"{out.renew} {out.expires_at // SECOND} {self.ctx.token}\n"
                    await self._one(files.write("lease", text.encode()))
                for name, native_id, tasks in out.cancels:
                    await self._one(self.connector.cancel(name, native_id, tasks))
                for attempt, directory, unknown in out.doubts:
                    await self._one(self._fence(attempt, directory, unknown, out.ended.get(attempt, [])))
                for directory, marks in out.denied.items():
                    await self._one(self._deny(directory, marks))
                if out.sweep:
                    await self._one(files.unspool(out.sweep))
        except (SiteUnsure, TimeoutError) as e:
            log.info("site.action_failed", cluster=self.cluster, why=str(e) or type(e).__name__)

    async def _one(self, action: Awaitable[object]) -> None:
        try:
            await action
        except SiteUnsure as e:
            if e.silent:
                raise
            log.info("site.action_failed", cluster=self.cluster, why=e.message)
        except (SiteRefused, InvalidInput, NoSpace, OSError) as e:
            if isinstance(e, TimeoutError):
                raise
            log.info("site.action_failed", cluster=self.cluster, why=str(e) or type(e).__name__)

    async def _deny(self, directory: str, marks: Sequence[str]) -> None:
        """Remove the marks of an attempt that is over: its prologue may still wait, and must not take that for its permit."""
        await self.connector.files.write(f"{directory}/over", b"")
        await self.connector.files.unspool(marks)

    async def _fence(self, attempt: int, directory: str, tasks: tuple[int, ...], ended: Sequence[Ended]) -> None:
        """Race for the fences of an attempt that nobody knows of, or that its site says is over and that never began. What had
        begun after all has ended as was told: it hid its mark."""
        why = "its site ended it before it started" if ended else ""
        claims = await race(self.connector, directory, tasks, f"server:{self.ctx.token}", why, refused=bool(ended))
        begun = {c.task for c in claims if isinstance(c, FenceLost)}
        true = [e for e in ended if e.reason is not Reason.CANCELLED and e.task in begun]

        def commit(conn: Connection) -> None:
            batch = Batch(conn, self.ctx, self.ctx.now())
            for stored in attempts.by_ids(conn, [attempt]):
                batch.apply(stored, [*claims, *true])
            refresh(conn, self.ctx, batch.touched, batch.now)

        await self.ctx.write(commit)


async def race(
    connector: Connector, directory: str, tasks: Iterable[int], holder: str, why: str = "", *, refused: bool = False
) -> list[FenceWon | FenceLost]:
    """Claim the fences of tasks: each either can never start, or has started or is about to."""
    claims: list[FenceWon | FenceLost] = []
    for task in tasks:
        claim = await connector.files.claim(directory, task, 0, holder)
        if claim.won or claim.holder.startswith("server:"):
            claims.append(FenceWon(task, why, refused))
        else:
            native_id, _, nonce = claim.holder.partition(":")
            claims.append(FenceLost(task, native_id, nonce))
    return claims


def _ended_unheard(a: Attempt, evs: Iterable[Evidence]) -> tuple[int, ...]:
    """Tasks that their site says have ended, not because we asked, and that nothing said began: no prologue's file either."""
    began = {e.task for e in evs if isinstance(e, (Marked, GaveUp, AppExited, Permitted))}
    return tuple(sorted({e.task for e in evs if isinstance(e, Ended) and unsettled(a, e)} - began))


def _loads_at(seen: Observation, now: int) -> int:
    """When the loads of an answer that has come now were asked for, µs."""
    return now - int(seen.loads_age_s * SECOND)


def _listed(seen: Observation) -> dict[int, Listed]:
    return {i: j for j in seen.jobs if (i := attempt_of(j.name)) is not None}


def _stuck(listed: Iterable[Listed], contact: Contact) -> dict[int, tuple[str, str, float]]:
    """Attempts that the site says it will not start, each since it first said so."""
    now, out = asyncio.get_running_loop().time(), {}
    for job in listed:
        if job.stuck and job.waiting and (id_ := attempt_of(job.name)) is not None:
            was = contact.stuck.get(id_)
            out[id_] = (job.stuck, job.says, was[2] if was is not None and was[0] == job.stuck else now)
    return out


def _differs(row: attempts.Row, job: Listed | None, more: bool) -> bool:
    """Whether the listing says anything of a live attempt that its row does not say already."""
    state = row["state"]
    if job is None:
        return not more and state != State.SUBMITTING
    if row["native_id"] != job.native_id or row["absent"] or row["cancel_wanted"]:
        return True
    if state not in (State.QUEUED, State.RUNNING) or (job.running and state != State.RUNNING):
        return True
    known = row["tasks"]
    return known != "0" and bool({*job.waiting, *job.running} - set(expand(known)))



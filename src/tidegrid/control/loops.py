"""The loops that run beside the server: one a cluster, one that places, one that brings outputs home.

Placing, and each cluster, is the business of the server that holds its lease: their loops begin when the lease is taken and
end when it is lost, and everything they write is checked against it (`control.acting`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection

from tidegrid.connectors.contract import Connector, SiteRefused, SiteUnsure
from tidegrid.control import intake, replay
from tidegrid.control.acting import Guarded, Held, acting
from tidegrid.control.contact import Contact
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.leases import Leases
from tidegrid.control.picture import Picture
from tidegrid.control.placing import Placer
from tidegrid.control.probe import LOOK_S, Watch
from tidegrid.control.projection import refresh
from tidegrid.control.reconcile import Reconciler
from tidegrid.control.relocate import Relocator
from tidegrid.control.staging import Staging
from tidegrid.control.steering import EVERY_S, Steering
from tidegrid.control.submit import Submitter
from tidegrid.control.trials import LOOK_S as LOOK_TRIALS_S
from tidegrid.control.trials import Trials
from tidegrid.domain.attempt import Unsure
from tidegrid.domain.errors import TideError, Unreachable
from tidegrid.domain.lease import SUBMIT, cluster_of, cluster_role
from tidegrid.store import attempts, clusters, jobs

log = structlog.get_logger(__name__)
PRUNE_S = 3600.0  # seconds between two rounds of forgetting what need not be kept
_PRUNE = "prune"
TOGETHER = 64  # attempts whose outputs are asked for in one message
SLOWEST = 2.0  # seconds between two looks at a cluster that does not answer


class Loops:
    """Start with `start`, end with `stop`."""

    def __init__(
        self, ctx: Context, picture: Picture, staging: Staging, submitter: Submitter, leases: Leases
    ) -> None:
        self.ctx, self.picture, self.staging, self.submitter = ctx, picture, staging, submitter
        self.leases = leases
        self.contacts: dict[str, Contact] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._apart: set[int] = set()  # attempts whose outputs did not come together with others'
        picture.contacts = self.contacts
        self.placer = Placer(ctx, picture, submitter)
        self.relocator = Relocator(ctx, self.contacts, picture)
        self.steering = Steering(ctx, picture)
        self.health = Watch(ctx, self.contacts, picture)
        self.trials = Trials(ctx, picture, staging, submitter.application)
        self.checkpoints = submitter.checkpoints
        self.checkpoints.contacts = self.contacts
        leases.began, leases.ended = self._began, self._ended

    async def start(self) -> None:
        """Take the share of this server, and begin."""
        self._spawn("fetch", None, self._fetch_once, self.ctx.event("fetch"), lambda: 1.0)
        self._spawn("move", None, self.relocator.step, self.ctx.event("move"), lambda: self.ctx.settings.moving.every)
        self._spawn("health", None, self.health.step, self.ctx.event("health"), lambda: LOOK_S)
        self._spawn("steer", None, self.steering.step, self.ctx.event("steer"), lambda: EVERY_S)
        self._spawn("checkpoints", None, self.checkpoints.step, self.ctx.event("checkpoints"), lambda: 1.0)
        self._spawn("trials", None, self.trials.step, self.ctx.event("trials"), lambda: LOOK_TRIALS_S)
        self.watch_all()
        await self.leases.start()

    def watch_all(self) -> None:
        """The clusters that are connected now are those whose leases this server can take."""
        self.leases.can(cluster_role(name) for name in self.ctx.connectors)

    def watch(self, connector: Connector) -> None:
        """Begin to look at a cluster whose lease is held; again after its connector was replaced."""
        held = self.ctx.held.get(cluster_role(connector.cluster))
        if held is not None:
            self._watch(connector, held)

    def _watch(self, connector: Connector, held: Held) -> None:
        name = connector.cluster
        self.unwatch(name)
        contact = self.contacts[name] = Contact()
        contact.last_answer = asyncio.get_running_loop().time()
        guarded: Any = Guarded(connector, held)
        reconciler = Reconciler(self.ctx, guarded, self.contacts)
        wake = self.ctx.event(name)
        inherited = False

        def pause() -> float:
            return min(SLOWEST, self.ctx.settings.tick * float(2 ** min(contact.failures, 6)))

        async def once() -> bool:
            nonlocal inherited
            if not inherited:
                await self.ctx.write(lambda c: self._inherit(c, name))
                inherited = True
            await self.submitter.pick_up(name, held)
            await reconciler.rest()
            await reconciler.tick()
            return await reconciler.pause(pause())

        self._spawn(held.role, held, once, wake, pause)

    def unwatch(self, name: str) -> None:
        task = self._tasks.pop(cluster_role(name), None)
        if task is not None:
            task.cancel()
        self.contacts.pop(name, None)

    def _began(self, held: Held) -> None:
        """A lease was taken."""
        if held.role == SUBMIT:
            self._spawn(SUBMIT, held, self.placer.step, self.ctx.event("submit"), lambda: 0.5)
            self._spawn(_PRUNE, held, lambda: replay.prune(self.ctx), self.ctx.event("prune"), lambda: PRUNE_S)
        elif (connector := self.ctx.connectors.get(cluster_of(held.role))) is not None:
            self._watch(connector, held)

    async def _ended(self, held: Held) -> None:
        """A lease was lost, or is about to be given up: returns when nothing here acts under it."""
        names = (SUBMIT, _PRUNE) if held.role == SUBMIT else (held.role,)
        tasks = [t for t in (self._tasks.pop(name, None) for name in names) if t is not None]
        cluster = cluster_of(held.role)
        self.contacts.pop(cluster, None)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if cluster:
            try:
                async with asyncio.timeout(self.ctx.settings.server_lease / 3):
                    await self.submitter.drain(cluster)
            except TimeoutError:
                pass  # their answers will not be written, and whoever takes the cluster puts them in doubt

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.health.stop()
        await self.checkpoints.stop()
        try:
            async with asyncio.timeout(self.ctx.settings.call):
                await self.placer.drain()
        except TimeoutError:
            pass  # what was under way is in doubt, and found again by whoever takes its cluster
        await self.leases.stop()

    def _spawn(
        self,
        name: str,
        held: Held | None,
        once: Callable[[], Awaitable[object]],
        wake: asyncio.Event,
        pause: Callable[[], float],
    ) -> None:
        with acting(held):
            self._tasks[name] = asyncio.create_task(self._forever(name, once, wake, pause), name=name)

    async def _forever(
        self, name: str, once: Callable[[], Awaitable[object]], wake: asyncio.Event, pause: Callable[[], float]
    ) -> None:
        trouble = 0
        while True:
            wake.clear()
            try:
                again = await once()
                trouble = 0
                if isinstance(again, int) and again > 0:
                    continue
            except (Unreachable, OSError) as e:
                trouble += 1
                log.warning("loop.trouble", loop=name, why=str(e))
            except TideError as e:
                if e.code == "lease.lost":  # where it is lost for good, this task is cancelled at once
                    self.leases.look()
                trouble += 1
                log.error("loop.error", loop=name, code=e.code, why=str(e))
            except Exception:  # a defect in one step must not stop the network
                trouble += 1
                log.exception("loop.defect", loop=name)
            try:
                async with asyncio.timeout(max(pause(), min(10.0, 0.2 * 2 ** min(trouble, 6)) if trouble else 0.0)):
                    await wake.wait()
            except TimeoutError:
                pass

    # one step each ----------------------------------------------------------------------------------------------------

    def _inherit(self, conn: Connection, cluster: str) -> None:
        """What another server, or an earlier life of this one, was sending there can no longer be trusted."""
        batch = Batch(conn, self.ctx, self.ctx.now())
        for stored in attempts.submitting(conn, cluster):
            if stored.attempt.id not in self.ctx.sending:
                batch.apply(stored, [Unsure("the server stopped while this was being sent")])
        refresh(conn, self.ctx, batch.touched, batch.now)

    async def _fetch_once(self) -> int:
        """Bring home the outputs of every attempt that ended on a cluster of ours; the clusters in parallel, each attempt by
        itself. Those of a dead cluster stay there: whoever places says so."""
        ctx = self.ctx
        if not ctx.held:
            return 0
        ids = await ctx.store.read(jobs.finishing)
        if not ids:
            return 0
        rows, dead = await ctx.store.read(
            lambda c: (attempts.unfetched(c, ids), {r["name"] for r in clusters.all(c) if r["dead_at"] is not None})
        )
        by_job: dict[int, list[attempts.Row]] = {}
        for row in sorted(rows, key=lambda r: r["id"], reverse=True):  # the newest first: what it left is the result, and takes the names
            by_job.setdefault(row["job_id"], []).append(row)
        together: dict[str, list[attempts.Row]] = {}
        for newest, *_ in by_job.values():
            if newest["cluster"] not in dead and newest["id"] not in self._apart:
                together.setdefault(newest["cluster"], []).append(newest)
        home = set().union(*await asyncio.gather(*(self._fetch_together(*of) for of in together.items())), set[int]())
        gate = asyncio.Semaphore(ctx.settings.transfers_at_once)

        async def one(row: attempts.Row) -> int:
            given_up = row["cluster"] in dead
            held = ctx.held.get(SUBMIT if given_up else cluster_role(row["cluster"]))
            if held is None:
                return 0
            async with gate:
                with acting(held):
                    try:
                        return await self._fetch(row, given_up=given_up)
                    except TideError as e:
                        if e.code != "lease.lost":
                            raise
                        return 0

        async def of_job(its: list[attempts.Row]) -> int:
            """Earlier attempts' files stand beside the newest's."""
            done = 0
            for row in its:
                if row["id"] not in home and not await one(row):
                    break
                done += 1
            return done

        return sum(await asyncio.gather(*(of_job(its) for its in by_job.values())))

    async def _fetch_together(self, cluster: str, rows: Sequence[attempts.Row]) -> set[int]:
        """Attempts of a cluster whose outputs came home in one stream. What does not come so is fetched by itself, from then on: one
        that cannot be brought keeps no other from coming."""
        connector, held, contact = self.ctx.connector(cluster), self.ctx.held.get(cluster_role(cluster)), self.contacts.get(cluster)
        home: set[int] = set()
        if connector is None or held is None or contact is None or contact.silent:
            return home
        with acting(held):
            for i in range(0, len(rows), TOGETHER):
                await contact.let_start()
                some = rows[i : i + TOGETHER]
                specs = await self.ctx.store.read(lambda c: jobs.many(c, {r["job_id"] for r in some}))  # noqa: B023 - awaited here
                try:
                    came = await self.staging.fetch_together(connector, [(r, intake.spec_from(specs[r["job_id"]])) for r in some])
                except (SiteUnsure, SiteRefused, TimeoutError, OSError, TideError) as e:
                    log.info("fetch.apart", cluster=cluster, attempts=len(some), why=str(e))
                    came = set()
                self._apart |= {r["id"] for r in some} - came
                try:
                    if came:
                        await self.ctx.write(lambda c: self._fetched(c, [r for r in some if r["id"] in came]))  # noqa: B023
                except TideError as e:
                    if e.code != "lease.lost":
                        raise
                    return home
                home |= came
        return home

    def _fetched(self, conn: Connection, rows: Sequence[attempts.Row]) -> None:
        attempts.mark_fetched(conn, [r["id"] for r in rows])
        refresh(conn, self.ctx, {r["job_id"] for r in rows}, self.ctx.now())

    async def _fetch(self, row: attempts.Row, *, given_up: bool) -> int:
        connector = self.ctx.connector(row["cluster"])
        contact = self.contacts.get(row["cluster"])
        if not given_up:
            if connector is None or contact is None or contact.silent:
                return 0
            try:
                job = (await self.ctx.store.read(lambda c: jobs.many(c, [row["job_id"]])))[row["job_id"]]
                await self.staging.fetch_outputs(connector, row, intake.spec_from(job))
            except (SiteUnsure, SiteRefused, TimeoutError, OSError) as e:
                log.info("fetch.later", cluster=row["cluster"], why=str(e))
                return 0
            except TideError as e:  # a full disk here: the outputs wait at the site, and the job says why
                if e.code == "lease.lost":
                    raise
                log.warning("fetch.blocked", cluster=row["cluster"], code=e.code, why=e.message)
                why = f"outputs cannot be fetched: {e}"
                await self.ctx.write(lambda c: jobs.update_job(c, row["job_id"], reason=why))
                return 0

        await self.ctx.write(lambda c: self._fetched(c, [row]))
        self._apart.discard(row["id"])
        return 1

"""The loops that run beside the server: one a cluster, one that places, one that brings outputs home."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy import Connection

from tidegrid.connectors.contract import Connector, SiteRefused, SiteUnsure
from tidegrid.control import intake
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.picture import Picture
from tidegrid.control.probe import LOOK_S, Watch
from tidegrid.control.projection import refresh
from tidegrid.control.reconcile import Contact, Reconciler
from tidegrid.control.staging import Staging
from tidegrid.control.submit import Submitter
from tidegrid.domain.attempt import Unsure
from tidegrid.domain.errors import Conflict, TideError, Unreachable
from tidegrid.store import attempts, clusters, jobs

log = structlog.get_logger(__name__)
SLOWEST = 2.0  # seconds between two looks at a cluster that does not answer


class Loops:
    """Start with `start`, end with `stop`. `superseded` is set when another server has taken over."""

    def __init__(self, ctx: Context, picture: Picture, staging: Staging, submitter: Submitter) -> None:
        self.ctx, self.picture, self.staging, self.submitter = ctx, picture, staging, submitter
        self.contacts: dict[str, Contact] = {}
        self.superseded = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        picture.contacts = self.contacts
        self.health = Watch(ctx, self.contacts, picture)
        self.checkpoints = submitter.checkpoints
        self.checkpoints.contacts = self.contacts

    async def start(self) -> None:
        """Take the clusters over, put what was under way in doubt, and begin."""
        await self.ctx.write(self._take_over)
        self._spawn("submit", self._submit_once, self.ctx.event("submit"), lambda: 0.5)
        self._spawn("fetch", self._fetch_once, self.ctx.event("fetch"), lambda: 1.0)
        self._spawn("health", self.health.step, self.ctx.event("health"), lambda: LOOK_S)
        self._spawn("checkpoints", self.checkpoints.step, self.ctx.event("checkpoints"), lambda: 1.0)
        for connector in list(self.ctx.connectors.values()):
            self.watch(connector)

    def watch(self, connector: Connector) -> None:
        """Begin to look at a cluster; again after its connector was replaced."""
        name = connector.cluster
        self.unwatch(name)
        contact = self.contacts[name] = Contact()
        contact.last_answer = asyncio.get_running_loop().time()
        reconciler = Reconciler(self.ctx, connector, self.contacts)
        wake = self.ctx.event(name)

        def pause() -> float:
            return min(SLOWEST, self.ctx.settings.tick * float(2 ** min(contact.failures, 6)))

        async def once() -> None:
            await reconciler.tick()

        self._spawn(f"cluster:{name}", once, wake, pause)

    def unwatch(self, name: str) -> None:
        task = self._tasks.pop(f"cluster:{name}", None)
        if task is not None:
            task.cancel()
        self.contacts.pop(name, None)

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
                await self.submitter.drain()
        except TimeoutError:
            pass  # what was under way is in doubt, and found again at the next start

    def _spawn(
        self, name: str, once: Callable[[], Awaitable[object]], wake: asyncio.Event, pause: Callable[[], float]
    ) -> None:
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
            except Conflict as e:
                if e.code != "server.superseded":
                    raise
                log.error("server.superseded", loop=name)
                self.superseded.set()
                return
            except (Unreachable, OSError) as e:
                trouble += 1
                log.warning("loop.trouble", loop=name, why=str(e))
            except TideError as e:
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

    def _take_over(self, conn: Connection) -> None:
        """A new fencing token on every cluster; submissions that were under way can no longer be trusted."""
        clusters.ensure(conn, self.ctx.connectors)
        rows = clusters.all(conn)
        self.ctx.token = 1 + max((r["fencing_token"] for r in rows), default=0)
        for row in rows:
            clusters.update(conn, row["name"], fencing_token=self.ctx.token)
        batch = Batch(conn, self.ctx, self.ctx.now())
        for stored in attempts.submitting(conn):
            batch.apply(stored, [Unsure("the server stopped while this was being sent")])
        refresh(conn, self.ctx, batch.touched, batch.now)

    async def _submit_once(self) -> int:
        return await self.submitter.step()

    async def _fetch_once(self) -> int:
        """Bring home the outputs of every attempt that ended; the clusters in parallel, each attempt by itself."""
        ctx = self.ctx
        ids = await ctx.store.read(jobs.finishing)
        if not ids:
            return 0
        rows = await ctx.store.read(lambda c: attempts.unfetched(c, ids))
        gate = asyncio.Semaphore(ctx.settings.transfers_at_once)

        async def one(row: attempts.Row) -> int:
            async with gate:
                return await self._fetch(row)

        done = sum(await asyncio.gather(*(one(r) for r in rows)))
        return done

    async def _fetch(self, row: attempts.Row) -> int:
        connector = self.ctx.connectors.get(row["cluster"])
        contact = self.contacts.get(row["cluster"])
        state = await self.ctx.store.read(lambda c: clusters.get(c, row["cluster"]))
        given_up = state is not None and state["dead_at"] is not None
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
                log.warning("fetch.blocked", cluster=row["cluster"], code=e.code, why=e.message)
                why = f"outputs cannot be fetched: {e}"
                await self.ctx.write(lambda c: jobs.update_job(c, row["job_id"], reason=why))
                return 0

        def commit(conn: Connection) -> None:
            attempts.update_row(conn, row["id"], fetched=True)
            refresh(conn, self.ctx, [row["job_id"]], self.ctx.now())

        await self.ctx.write(commit)
        return 1

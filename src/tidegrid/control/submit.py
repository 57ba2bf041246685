"""Sending: stage what an attempt needs, call the cluster, and write what it answered.

Nothing is ever sent twice: a submission whose answer cannot be trusted leaves the attempt IN_DOUBT, and the reconciler
finds it or wins its fence. An attempt's `sender` is the token of the cluster's lease under which it is sent: what has one is
never sent by another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import structlog
from sqlalchemy import Connection

from tidegrid.catalog.document import Application
from tidegrid.connectors.contract import SiteRefused, SiteUnsure, SubmitRequest
from tidegrid.connectors.rooted import located
from tidegrid.connectors.script import BATCH_FILE, COMMAND_FILE, CONTINUE_FILE, render_job
from tidegrid.connectors.together import Together
from tidegrid.control import intake
from tidegrid.control.acting import Held, acting, current
from tidegrid.control.checkpoints import Checkpoints
from tidegrid.control.contact import native_name
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.failover import FAILURES_TO_BREAK
from tidegrid.control.picture import Picture
from tidegrid.control.projection import refresh
from tidegrid.control.staging import Staging
from tidegrid.domain.attempt import Accepted, Evidence, NotSent, RefusedBySite, Unsure
from tidegrid.domain.errors import Conflict, TideError
from tidegrid.domain.ids import b32, show
from tidegrid.domain.job import JobSpec
from tidegrid.domain.ranges import expand
from tidegrid.store import attempts, jobs

log = structlog.get_logger(__name__)
STAGED = 4  # times as many may be staged at once as submitted: what is staged together takes one command at the site
ANSWERS = 32  # written in one transaction at most
Answered = tuple[int, Evidence]


class Submitter:
    """`application` gives the pinned version of a document."""

    def __init__(self, ctx: Context, picture: Picture, staging: Staging, application: Any) -> None:
        self.ctx, self.picture, self.staging, self.application = ctx, picture, staging, application
        self.checkpoints = Checkpoints(ctx, staging, application)
        self.template = resources.files("tidegrid.payload").joinpath("job.sh.in").read_text()
        self._gates: dict[str, tuple[asyncio.Semaphore, asyncio.Semaphore]] = {}  # by cluster: to be staged, to be submitted
        self._told: dict[str, tuple[Held | None, Together[Answered, None]]] = {}
        self._sending: dict[asyncio.Task[Any], str] = {}  # under way -> to which cluster

    def send(self, spec: JobSpec, attempt: dict[str, Any], held: Held) -> None:
        """Begin to send an attempt that is committed, with held's token as its `sender`."""
        with acting(held):
            task = asyncio.create_task(self._send(spec, attempt))
        self._sending[task] = attempt["cluster"]
        task.add_done_callback(self._sending.pop)

    async def pick_up(self, cluster: str, held: Held) -> None:
        """Send what another server has placed on a cluster that is ours."""
        ctx = self.ctx
        rows = await ctx.store.read(lambda c: attempts.unsent(c, cluster))
        if not rows:
            return
        specs = {i: intake.spec_from(r) for i, r in (await ctx.store.read(
            lambda c: jobs.many(c, {r["job_id"] for r in rows}))).items()}  # fmt: skip
        mine = set(await ctx.write(lambda c: attempts.begin_sending(c, [r["id"] for r in rows], held.token)))
        ctx.sending |= mine
        for row in rows:
            if row["id"] in mine:
                self.send(specs[row["job_id"]], dict(row), held)

    async def drain(self, cluster: str = "") -> None:
        """Wait for submissions under way to one cluster; to all."""
        while under_way := {t for t, to in self._sending.items() if not cluster or to == cluster}:
            await asyncio.wait(under_way)

    async def _send(self, spec: JobSpec, attempt: dict[str, Any]) -> None:
        """Where the answer cannot be written, or this ends in any other way, the reconciler puts the attempt in doubt."""
        cluster = attempt["cluster"]
        try:
            evidence = await self._try(spec, attempt)
            await self._answers(cluster)((attempt["id"], evidence))
        except Conflict as e:
            if e.code != "lease.lost":
                raise
            log.warning("submit.lease_lost", attempt=show("att", attempt["id"]), cluster=cluster)
            return  # whoever has the cluster now puts it in doubt, and finds it or wins its fence
        finally:
            self.ctx.sending.discard(attempt["id"])
        if not isinstance(evidence, Accepted):
            log.info(
                "submit.not_accepted",
                attempt=show("att", attempt["id"]),
                cluster=cluster,
                answer=repr(evidence),
            )
        self.ctx.wake(cluster)

    def _answers(self, cluster: str) -> Together[Answered, None]:
        """Where answers are written: those that come while others are being committed, together."""
        held = current()
        was, together = self._told.get(cluster, (None, None))
        if together is None or was is not held:

            async def write(answered: Sequence[Answered]) -> Sequence[Exception | None]:
                if (contact := self.picture.contacts.get(cluster)) is not None:
                    await contact.let_start()  # what starts goes before what is to wait
                try:
                    await self.ctx.write(lambda c: self._answer(c, dict(answered)))
                except Exception as e:  # noqa: BLE001 - one that cannot be written keeps no other from it
                    return [e] if len(answered) == 1 else [x for one in answered for x in await write([one])]
                return [None] * len(answered)

            together = Together(write, most=ANSWERS)
            self._told[cluster] = held, together
        return together

    async def _try(self, spec: JobSpec, attempt: dict[str, Any]) -> Evidence:
        """Stage, then submit. Before the call nothing can have started there, so a failure is a refusal."""
        cluster, settings = attempt["cluster"], self.ctx.settings
        connector = self.ctx.connector(cluster)
        if connector is None:
            return NotSent("the cluster is not connected")
        if cluster not in self._gates:
            self._gates[cluster] = asyncio.Semaphore(STAGED * settings.submissions_at_once), asyncio.Semaphore(settings.submissions_at_once)
        staged, sent = self._gates[cluster]
        async with staged:
            contact = self.picture.contacts.get(cluster)
            if contact is not None:
                await contact.let_start()
            if self._broken(cluster):
                return NotSent("the cluster does not answer")
            try:
                request = await self._stage(connector, spec, attempt)
            except (SiteUnsure, TimeoutError, OSError) as e:
                return NotSent(f"staging failed: {e}")
            except SiteRefused as e:
                return RefusedBySite(e.code, e.message)
            except TideError as e:
                if e.code == "lease.lost":
                    raise
                return RefusedBySite(e.code, e.message)
            except Exception as e:  # a defect: counted as a refusal, so that it does not go on for ever
                log.exception("submit.defect", attempt=show("att", attempt["id"]))
                return RefusedBySite("submit.defect", f"it could not be prepared: {type(e).__name__}")
            async with sent:
                if self._broken(cluster):
                    return NotSent("the cluster does not answer")
                try:
                    async with asyncio.timeout(settings.call):
                        native_id = await connector.submit(request)
                    if contact is not None:
                        contact.took()
                    return Accepted(native_id)
                except SiteRefused as e:
                    return RefusedBySite(e.code, e.message)
                except (SiteUnsure, TimeoutError, OSError) as e:
                    return Unsure(str(e) or "no answer in time")

    def _broken(self, cluster: str) -> bool:
        """Whether it has failed to answer so often that nothing more is sent there; many may queue at a gate meanwhile."""
        contact = self.picture.contacts.get(cluster)
        return contact is not None and contact.failures >= FAILURES_TO_BREAK

    async def _stage(self, connector: Any, spec: JobSpec, attempt: dict[str, Any]) -> SubmitRequest:
        app: Application = await self.application(spec.app, spec.app_version)
        directory = attempt["directory"]
        variables, setup = await self.picture.invocation(app, attempt["cluster"], attempt["partition"])
        script = app.render(spec.params, variables, setup=setup)
        await self.staging.stage_in(connector, attempt, spec, app)
        if saved := await self.checkpoints.stage(connector, attempt, app):
            goes_on = app.render(spec.params, variables, setup=setup, continues=True)
            await connector.files.write(f"{directory}/{CONTINUE_FILE}", goes_on.encode())
            await self.checkpoints.continues(attempt, saved)
        root, place = located(connector.files, directory)
        job = render_job(
            self.template,
            attempt=b32(attempt["id"]),
            directory=place,
            root=root,
            movable=attempt["movable"],
            restartable=attempt["restartable"],
            wait_s=self.ctx.settings.permit_wait,
            stop_s=self.ctx.settings.restart_wait,
            array=bool(spec.array),
        )
        files = {COMMAND_FILE: script.encode(), BATCH_FILE: job.encode()}
        # a job makes what is missing, but many may start at once, and then each process counts
        await connector.files.write_many(directory, files, directories=("log",) if spec.array else ("log", "work"))
        r = spec.resources
        return SubmitRequest(
            name=native_name(attempt["id"]),
            directory=directory,
            script=BATCH_FILE,
            partition=attempt["partition"],
            cores=attempt["cores"] // r.nodes,
            memory_mib=r.memory_mib,
            wall_s=r.wall_s,
            gpus=r.gpus,
            gpu_type=r.gpu_type,
            nodes=r.nodes,
            ranks=r.ranks,
            exclusive=r.exclusive,
            constraint=spec.site.features,
            qos=spec.site.qos,
            warn_s=spec.site.warn_s,
            tasks=expand(attempt["tasks"]),
            array=bool(spec.array),
            throttle=spec.throttle,
            env={
                **spec.env,
                "TIDE_JOB": show("job", attempt["job_id"]),
                "TIDE_ATTEMPT": show("att", attempt["id"]),
                "TIDE_NODES": str(r.nodes),
                "TIDE_RANKS": str(r.ranks),
                "TIDE_CORES": str(attempt["cores"] // r.nodes),
                "TIDE_MEMORY_MIB": str(r.memory_mib),
            },
        )

    def _answer(self, conn: Connection, answered: Mapping[int, Evidence]) -> None:
        batch = Batch(conn, self.ctx, self.ctx.now())
        for stored in attempts.by_ids(conn, sorted(answered)):
            batch.apply(stored, [answered[stored.attempt.id]])
        refresh(conn, self.ctx, batch.touched, batch.now)

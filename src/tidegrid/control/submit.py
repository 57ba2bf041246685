"""Placing and sending: decide over the picture, commit SUBMITTING with its hold, stage, then call the cluster.

Nothing is ever sent twice: a submission whose answer cannot be trusted leaves the attempt IN_DOUBT, and the reconciler
finds it or wins its fence. Placing is one server's role; sending to a cluster is the business of whoever holds that cluster,
who writes its token into the attempt first: `sender`. What has a sender is never sent by another.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import structlog
from sqlalchemy import Connection

from tidegrid import ledger
from tidegrid.catalog.document import Application
from tidegrid.connectors.contract import SiteRefused, SiteUnsure, SubmitRequest
from tidegrid.connectors.rooted import below, located
from tidegrid.connectors.script import BATCH_FILE, COMMAND_FILE, CONTINUE_FILE, render_job
from tidegrid.connectors.together import Together
from tidegrid.control import access, intake, replay
from tidegrid.control.acting import Held, acting, current
from tidegrid.control.checkpoints import Checkpoints
from tidegrid.control.contact import native_name
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.failover import FAILURES_TO_BREAK
from tidegrid.control.picture import Picture
from tidegrid.control.projection import refresh
from tidegrid.control.staging import Staging
from tidegrid.domain.attempt import Accepted, Evidence, NotSent, Reason, RefusedBySite, Unsure
from tidegrid.domain.errors import Conflict, InsufficientFunds, TideError
from tidegrid.domain.ids import b32, show
from tidegrid.domain.job import JobSpec
from tidegrid.domain.lease import cluster_role
from tidegrid.domain.ranges import expand
from tidegrid.scheduling.placement import Decision, Refusal
from tidegrid.scheduling.record import Asked
from tidegrid.scheduling.snapshot import Snapshot
from tidegrid.store import attempts, decisions, events, jobs, licences
from tidegrid.store.scope import Scope

log = structlog.get_logger(__name__)
_AWAY = (Refusal.UNHEALTHY, Refusal.DRAINED, Refusal.FAILING, Refusal.LICENCE, Refusal.GUESTS)
OLD_LOAD_S = 5.0
LOAD_LOOKS = 30  # a second and a half
STAGED = 4  # times as many may be staged at once as submitted: what is staged together takes one command at the site
PLACED = 100  # written in one transaction at most
ANSWERS = 32  # written in one transaction at most
Row = Any
Answered = tuple[int, Evidence]


def directory_of(org_id: int, job_id: int, attempt_id: int) -> str:
    """The attempt's directory below the site's root."""
    return f"{b32(org_id)}/{job_id & 255:02x}/{b32(job_id)}/{b32(attempt_id)}"


def refused_by(conn: Connection, job_id: int, part_id: int) -> str:
    """Who refused the part so far, and with which words; "" for nobody."""
    said: dict[str, str] = {}
    for a in attempts.page_of_job(conn, Scope(None), job_id):
        if a["part_id"] == part_id and (a["reason"] == Reason.REFUSED or a["detail"].startswith("site.")):
            said[f"{a['cluster']}/{a['partition']}"] = a["detail"] or "its prologue did not start it"
    return "refused by " + ", ".join(f"{place} ({why})" for place, why in said.items()) if said else ""


class Submitter:
    """The submit loop's work. `application` gives the pinned version of a document."""

    def __init__(self, ctx: Context, picture: Picture, staging: Staging, application: Any) -> None:
        self.ctx, self.picture, self.staging, self.application = ctx, picture, staging, application
        self.checkpoints = Checkpoints(ctx, staging, application)
        self.template = resources.files("tidegrid.payload").joinpath("job.sh.in").read_text()
        self._gates: dict[str, tuple[asyncio.Semaphore, asyncio.Semaphore]] = {}  # by cluster: to be staged, to be submitted
        self._told: dict[str, tuple[Held | None, Together[Answered, None]]] = {}
        self._sending: dict[asyncio.Task[Any], str] = {}  # under way -> to which cluster; being placed -> ""
        self._snapshot: Snapshot | None = None

    async def step(self) -> int:
        """Place what can be placed; how many attempts were made."""
        ctx = self.ctx
        rows = await ctx.store.read(lambda c: jobs.parts_to_place(c, ctx.now(), ctx.settings.place_at_once))
        if not rows:
            return 0
        await self._fresh_loads()
        specs = [intake.spec_from(r) for r in rows]
        self.picture.software.learn((s.app, s.app_version) for s in specs)
        snapshot = self._snapshot = await self.picture.snapshot()
        if snapshot is None:
            return 0
        asked = Asked(tuple(await self.picture.requests(rows, specs, snapshot)))
        chosen = await asyncio.to_thread(asked.decide, snapshot)
        placing = asyncio.create_task(self._place(rows, specs, asked, chosen))
        self._sending[placing] = ""
        placing.add_done_callback(self._placed)
        # what is committed as ours to send has to be sent, also where placing is being given up this moment
        return await asyncio.shield(placing)

    async def _fresh_loads(self) -> None:
        """Where a cluster's load is a while old, another is asked for: hundreds of jobs may go by it at once, and what has ended
        since would send them where it is full no more. A cluster that is slow to tell keeps nothing waiting for long."""
        old = []
        for name, contact in self.picture.contacts.items():
            want = getattr(self.ctx.connectors.get(name), "want_load", None)
            if want is not None and contact.answered and not contact.failures and want(OLD_LOAD_S):
                old.append((contact, contact.loads))
                self.ctx.wake(name)
        for _ in range(LOAD_LOOKS):
            if not any(contact.loads is was for contact, was in old):
                break
            await asyncio.sleep(0.05)

    def _placed(self, task: asyncio.Task[Any]) -> None:
        self._sending.pop(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it hears of it; nobody may

    async def _place(self, rows: Sequence[Row], specs: Sequence[JobSpec], asked: Asked, chosen: Sequence[Decision]) -> int:
        """In a few transactions, so that the first are on their way while the last are written."""
        call: int | None = None
        total = 0
        for i in range(0, len(rows), PLACED):
            part = slice(i, i + PLACED)
            call, made = await self._place_some(rows[part], specs[part], asked, chosen, chosen[part], call)
            total += made
        return total

    async def _place_some(
        self, rows: Sequence[Row], specs: Sequence[JobSpec], asked: Asked, all_: Sequence[Decision], chosen: Sequence[Decision], call: int | None
    ) -> tuple[int | None, int]:  # fmt: skip
        ctx = self.ctx
        created: set[int] = set()  # also by a run of the function that was undone

        def commit(conn: Connection) -> tuple[int | None, list[tuple[Row, JobSpec, dict[str, Any], Held | None]]]:
            made, why = self._commit(conn, rows, specs, chosen, created)
            kept = call
            if kept is not None:
                decisions.acted(conn, kept, len(made))
            elif self._snapshot is not None:
                kept = replay.keep(conn, ctx, asked, self._snapshot, all_, why="place", acted=len(made))
            decisions.add(conn, [{**row, "batch": kept} for row in why])
            return kept, made

        try:
            kept, made = await ctx.write(commit)
        except BaseException:  # whether it was committed may be unknown: what was is nobody's to send now
            ctx.sending -= created
            raise
        ctx.sending -= created - {attempt["id"] for _, _, attempt, held in made if held is not None}
        for _, spec, attempt, held in made:
            if held is not None:
                self._start(spec, attempt, held)
        for cluster in {attempt["cluster"] for _, _, attempt, held in made if held is None}:
            ctx.wake(cluster)
        return kept, len(made)

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
                self._start(specs[row["job_id"]], dict(row), held)

    def _start(self, spec: JobSpec, attempt: dict[str, Any], held: Held) -> None:
        with acting(held):
            task = asyncio.create_task(self._send(spec, attempt))
        self._sending[task] = attempt["cluster"]
        task.add_done_callback(self._sending.pop)

    async def drain(self, cluster: str = "") -> None:
        """Wait for submissions under way to one cluster; to all, and for what is being placed."""
        while under_way := {t for t, to in self._sending.items() if not cluster or to == cluster}:
            await asyncio.wait(under_way)

    # commit ---------------------------------------------------------------------------------------------------------

    def _commit(
        self,
        conn: Connection,
        rows: Sequence[Row],
        specs: Sequence[JobSpec],
        chosen: Sequence[Decision],
        created: set[int],
    ) -> tuple[list[tuple[Row, JobSpec, dict[str, Any], Held | None]], list[dict[str, Any]]]:
        """Rows are read again: what was cancelled, held or placed meanwhile is left alone. With each attempt the lease under
        which it is ours to send; None: another server holds its cluster. And why each went where it went, to be kept."""
        ctx, now = self.ctx, self.ctx.now()
        made: list[tuple[Row, JobSpec, dict[str, Any], Held | None]] = []
        why, notes = [], []
        still = jobs.still_to_place(conn, [r["id"] for r in rows])
        ours: dict[str, Held | None] = {}
        shared: set[tuple[str, int, int]] = set()  # whose jobs run under the cluster's own account there
        private = self.picture.private() if self.picture is not None else frozenset()
        for row, spec, decision in zip(rows, specs, chosen, strict=True):
            part = still.get(row["id"])
            if part is None:
                continue
            best = decision.best
            if best is None:
                away = any(r in decision.refusals for r in _AWAY)
                self._wait(conn, row, decision.why_not(), ctx.settings.resubmit, now, away=away)
                continue
            whose = best.cluster, row["org_id"], row["project_id"]
            account, lacking = (None, "") if whose in shared else access.pick(conn, ctx, best.cluster, private, *whose[1:], now)
            if lacking:
                self._wait(conn, row, lacking, ctx.settings.resubmit, now)
                continue
            if best.cluster not in ours:
                found = ctx.held.get(cluster_role(best.cluster))
                ours[best.cluster] = found if found is not None and found.still(conn) else None
            if account is None:
                shared.add(whose)
            held = ours[best.cluster]
            attempt = self._attempt(row, part, spec, best, now)
            if account is not None:
                attempt |= {"account_id": account["id"], "directory": below(account["unix_user"], attempt["directory"])}
            if held is not None:
                attempt["sender"] = held.token
                created.add(attempt["id"])
                ctx.sending.add(attempt["id"])
            jobs.release_reservation(conn, row["job_id"], part["reserved"])
            decision_row = self._decision(row, decision, now)
            attempt["decision_id"] = decision_row["id"]
            attempts.add(conn, [attempt])
            licences.take(conn, attempt["id"], row["org_id"], decision.licences)
            try:
                ledger.hold(conn, ctx.ids, now, row["org_id"], attempt["id"], attempt["hold"])
            except InsufficientFunds as e:  # the other parts go on: take back what was written for this one
                licences.forget(conn, attempt["id"])
                attempts.remove_unsent(conn, attempt["id"])
                jobs.release_reservation(conn, row["job_id"], -part["reserved"])
                self._wait(conn, row, f"waits for balance: {e.message}", 10.0, now)
                continue
            why.append(decision_row)
            notes.append(
                {
                    "kind": "attempt.created", "at": now, "org_id": row["org_id"], "job_id": row["job_id"],
                    "attempt_id": attempt["id"], "cluster": best.cluster,
                    "body": {"partition": best.partition, "tasks": row["tasks"], "price": best.price},
                }
            )  # fmt: skip
            made.append((row, spec, attempt, held))
        jobs.mark_placed(conn, [r["id"] for r, _, _, _ in made])
        events.append_many(conn, notes)
        refresh(conn, ctx, {r["job_id"] for r, _, _, _ in made}, now)
        return made, why

    def _attempt(self, row: Row, part: Row, spec: JobSpec, best: Any, now: int) -> dict[str, Any]:
        id_ = self.ctx.ids.new()
        return {
            "id": id_,
            "org_id": row["org_id"],
            "job_id": row["job_id"],
            "part_id": row["id"],
            "cluster": best.cluster,
            "partition": best.partition,
            "tasks": part["tasks"],
            "sender": 0,
            "directory": directory_of(row["org_id"], row["job_id"], id_),
            "account_id": None,
            "movable": spec.movable is not False,
            "restartable": spec.restartable,
            "created_at": now,
            "hold": best.hold,
            "cores": best.need[0] // 1000,
            "memory_mib": best.need[1],
            "gpus": best.need[2],
            "wall_s": spec.resources.wall_s,
            "rates": json.dumps({"sell": list(best.sell), "cost": list(best.cost_rates), "supply": best.supply}),
        }

    def _decision(self, row: Row, decision: Decision, now: int) -> dict[str, Any]:
        assert decision.best is not None
        return {
            "id": self.ctx.ids.new(),
            "org_id": row["org_id"],
            "job_id": row["job_id"],
            "part_id": row["id"],
            "at": now,
            "chosen": decision.best.name,
            "body": {**decision.to_json(), "text": decision.text},
            "snapshot": decision.snapshot,
            "policy": decision.policy,
        }

    def _wait(
        self, conn: Connection, row: Row, why: str, seconds: float, now: int, *, away: bool = True
    ) -> None:  # fmt: skip
        """away: some place may come back, so that refusals of the others are not the last word."""
        cols: dict[str, Any] = {"not_before": now + self.ctx.micro(seconds)}
        if row["excluded"]:  # every place left has refused it: start over, until the refusals are too many
            why = f"{why}; {said}" if (said := refused_by(conn, row["job_id"], row["id"])) else why
            if not away and row["refusals"] >= self.ctx.settings.max_refusals:
                self._refused(conn, row, why, now)
                return
            cols |= {"excluded": "", "not_before": now + self.ctx.micro(max(seconds, 5.0))}
        jobs.update_part(conn, row["id"], **cols)
        if row["job_reason"] != why:
            jobs.update_job(conn, row["job_id"], reason=why)

    def _refused(self, conn: Connection, row: Row, why: str, now: int) -> None:
        """Nobody takes it: the part is settled, and says what each of them said."""
        part = jobs.part(conn, row["id"], lock=True)
        assert part is not None
        jobs.release_reservation(conn, row["job_id"], part["reserved"])
        jobs.update_part(conn, row["id"], done=True, reserved=0, reason=str(Reason.REFUSED))
        jobs.update_job(conn, row["job_id"], reason=why)
        refresh(conn, self.ctx, [row["job_id"]], now)

    # act ------------------------------------------------------------------------------------------------------------

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

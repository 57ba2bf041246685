"""Placing and sending: decide over the picture, commit SUBMITTING with its hold, stage, then call the cluster.

Nothing is ever sent twice: a submission whose answer cannot be trusted leaves the attempt IN_DOUBT, and the reconciler
finds it or wins its fence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import structlog
from sqlalchemy import Connection

from tidegrid import ledger
from tidegrid.catalog.document import Application
from tidegrid.connectors.contract import SiteRefused, SiteUnsure, SubmitRequest
from tidegrid.connectors.script import BATCH_FILE, COMMAND_FILE, CONTINUE_FILE, render_job
from tidegrid.control import intake
from tidegrid.control.checkpoints import Checkpoints
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.picture import Picture
from tidegrid.control.projection import refresh
from tidegrid.control.reconcile import check_token, native_name
from tidegrid.control.staging import Staging
from tidegrid.domain.attempt import Accepted, Evidence, NotSent, RefusedBySite, Unsure
from tidegrid.domain.errors import InsufficientFunds, TideError
from tidegrid.domain.ids import b32, show
from tidegrid.domain.job import JobSpec
from tidegrid.domain.ranges import expand
from tidegrid.scheduling.placement import Decision
from tidegrid.scheduling.snapshot import Snapshot
from tidegrid.store import attempts, clusters, decisions, events, jobs

log = structlog.get_logger(__name__)
Row = Any


def directory_of(org_id: int, job_id: int, attempt_id: int) -> str:
    """The attempt's directory below the site's root."""
    return f"{b32(org_id)}/{job_id & 255:02x}/{b32(job_id)}/{b32(attempt_id)}"


class Submitter:
    """The submit loop's work. `application` gives the pinned version of a document."""

    def __init__(self, ctx: Context, picture: Picture, staging: Staging, application: Any) -> None:
        self.ctx, self.picture, self.staging, self.application = ctx, picture, staging, application
        self.checkpoints = Checkpoints(ctx, staging, application)
        self.template = resources.files("tidegrid.payload").joinpath("job.sh.in").read_text()
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._snapshot: Snapshot | None = None

    async def step(self) -> int:
        """Place what can be placed; how many attempts were made."""
        ctx = self.ctx
        rows = await ctx.store.read(lambda c: jobs.parts_to_place(c, ctx.now(), ctx.settings.place_at_once))
        if not rows:
            return 0
        snapshot = self._snapshot = await self.picture.snapshot()
        if snapshot is None:
            return 0
        specs = [intake.spec_from(r) for r in rows]
        requests = await self.picture.requests(rows, specs)
        chosen = await asyncio.to_thread(self.picture.decide, requests, snapshot)
        before = set(ctx.sending)
        try:
            made = await ctx.write(lambda c: self._commit(c, rows, specs, chosen))
        except BaseException:  # whether it was committed may be unknown: what was is nobody's to send now
            ctx.sending &= before
            raise
        ctx.sending &= before | {attempt["id"] for _, _, attempt in made}
        for row, spec, attempt in made:
            task = asyncio.create_task(self._send(row, spec, attempt))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return len(made)

    async def drain(self) -> None:
        """Wait for submissions under way."""
        while self._sending:
            await asyncio.wait(set(self._sending))

    # commit ---------------------------------------------------------------------------------------------------------

    def _commit(
        self, conn: Connection, rows: Sequence[Row], specs: Sequence[JobSpec], chosen: Sequence[Decision]
    ) -> list[tuple[Row, JobSpec, dict[str, Any]]]:
        """Rows are read again: what was cancelled, held or placed meanwhile is left alone."""
        ctx, now = self.ctx, self.ctx.now()
        made: list[tuple[Row, JobSpec, dict[str, Any]]] = []
        why, notes = [], []
        still = jobs.still_to_place(conn, [r["id"] for r in rows])
        tokens = {c["name"]: c["fencing_token"] for c in clusters.all(conn)}
        for row, spec, decision in zip(rows, specs, chosen, strict=True):
            part = still.get(row["id"])
            if part is None:
                continue
            best = decision.best
            if best is None:
                self._wait(conn, row, decision.why_not(), ctx.settings.resubmit, now)
                continue
            check_token(ctx, tokens.get(best.cluster, -1))
            attempt = self._attempt(row, part, spec, best, now)
            jobs.release_reservation(conn, row["job_id"], part["reserved"])
            decision_row = self._decision(row, decision, now)
            attempt["decision_id"] = decision_row["id"]
            attempts.add(conn, [attempt])
            try:
                ledger.hold(conn, ctx.ids, now, row["org_id"], attempt["id"], attempt["hold"])
            except InsufficientFunds as e:  # the other parts go on: take back what was written for this one
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
            made.append((row, spec, attempt))
        jobs.mark_placed(conn, [r["id"] for r, _, _ in made])
        decisions.add(conn, why)
        events.append_many(conn, notes)
        if made and self._snapshot is not None:
            decisions.keep_snapshot(conn, self._snapshot.revision, now, self._snapshot.to_bytes())
        refresh(conn, ctx, {r["job_id"] for r, _, _ in made}, now)
        return made

    def _attempt(self, row: Row, part: Row, spec: JobSpec, best: Any, now: int) -> dict[str, Any]:
        s, id_ = self.ctx.settings, self.ctx.ids.new()
        self.ctx.sending.add(id_)
        long = max(best.wait_p50, best.run_p90) > s.movable_after
        return {
            "id": id_,
            "org_id": row["org_id"],
            "job_id": row["job_id"],
            "part_id": row["id"],
            "cluster": best.cluster,
            "partition": best.partition,
            "tasks": part["tasks"],
            "directory": directory_of(row["org_id"], row["job_id"], id_),
            "movable": spec.movable if spec.movable is not None else long,
            "restartable": spec.restartable,
            "created_at": now,
            "hold": best.hold,
            "cores": spec.resources.cores,
            "memory_mib": spec.resources.memory_mib,
            "gpus": spec.resources.gpus,
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

    def _wait(self, conn: Connection, row: Row, why: str, seconds: float, now: int) -> None:
        cols: dict[str, Any] = {"not_before": now + self.ctx.micro(seconds)}
        if row["excluded"]:  # every place left has refused it: start over, until the refusals are too many
            cols |= {"excluded": "", "not_before": now + self.ctx.micro(max(seconds, 5.0))}
        jobs.update_part(conn, row["id"], **cols)
        if row["job_reason"] != why:
            jobs.update_job(conn, row["job_id"], reason=why)

    # act ------------------------------------------------------------------------------------------------------------

    async def _send(self, row: Row, spec: JobSpec, attempt: dict[str, Any]) -> None:
        """Where the answer cannot be written, or this ends in any other way, the reconciler puts the attempt in doubt."""
        gate = self._gates.setdefault(attempt["cluster"], asyncio.Semaphore(self.ctx.settings.submissions_at_once))
        try:
            async with gate:
                evidence = await self._try(row, spec, attempt)
            await self.ctx.write(lambda c: self._answer(c, attempt["id"], evidence))
        finally:
            self.ctx.sending.discard(attempt["id"])
        if not isinstance(evidence, Accepted):
            log.info(
                "submit.not_accepted",
                attempt=show("att", attempt["id"]),
                cluster=attempt["cluster"],
                answer=repr(evidence),
            )
        self.ctx.wake(attempt["cluster"])

    async def _try(self, row: Row, spec: JobSpec, attempt: dict[str, Any]) -> Evidence:
        """Stage, then submit. Before the call nothing can have started there, so a failure is a refusal."""
        connector = self.ctx.connectors.get(attempt["cluster"])
        if connector is None:
            return NotSent("the cluster is not connected")
        try:
            request = await self._stage(connector, row, spec, attempt)
        except (SiteUnsure, TimeoutError, OSError) as e:
            return NotSent(f"staging failed: {e}")
        except SiteRefused as e:
            return RefusedBySite(e.code, e.message)
        except TideError as e:
            return RefusedBySite(e.code, e.message)
        except Exception as e:  # a defect: counted as a refusal, so that it does not go on for ever
            log.exception("submit.defect", attempt=show("att", attempt["id"]))
            return RefusedBySite("submit.defect", f"it could not be prepared: {type(e).__name__}")
        try:
            async with asyncio.timeout(self.ctx.settings.call):
                return Accepted(await connector.submit(request))
        except SiteRefused as e:
            return RefusedBySite(e.code, e.message)
        except (SiteUnsure, TimeoutError, OSError) as e:
            return Unsure(str(e) or "no answer in time")

    async def _stage(self, connector: Any, row: Row, spec: JobSpec, attempt: dict[str, Any]) -> SubmitRequest:
        app: Application = await self.application(spec.app, spec.app_version)
        directory = attempt["directory"]
        variables, setup = await self.picture.invocation(app, attempt["cluster"], attempt["partition"])
        script = app.render(spec.params, variables, setup=setup)
        await self.staging.stage_in(connector, attempt, spec, app)
        if saved := await self.checkpoints.stage(connector, attempt, app):
            goes_on = app.render(spec.params, variables, setup=setup, continues=True)
            await connector.files.write(f"{directory}/{CONTINUE_FILE}", goes_on.encode())
            await self.checkpoints.continues(attempt, saved)
        await connector.files.write(f"{directory}/{COMMAND_FILE}", script.encode())
        job = render_job(
            self.template,
            attempt=b32(attempt["id"]),
            directory=directory,
            root=connector.files.root,
            movable=attempt["movable"],
            restartable=attempt["restartable"],
            wait_s=self.ctx.settings.permit_wait,
            array=bool(spec.array),
        )
        await connector.files.write(f"{directory}/{BATCH_FILE}", job.encode(), mode=0o700)
        r = spec.resources
        return SubmitRequest(
            name=native_name(attempt["id"]),
            directory=directory,
            script=BATCH_FILE,
            partition=attempt["partition"],
            cores=r.cores,
            memory_mib=r.memory_mib,
            wall_s=r.wall_s,
            gpus=r.gpus,
            gpu_type=r.gpu_type,
            tasks=expand(attempt["tasks"]),
            array=bool(spec.array),
            throttle=spec.throttle,
            env={
                **spec.env,
                "TIDE_JOB": show("job", row["job_id"]),
                "TIDE_ATTEMPT": show("att", attempt["id"]),
                "TIDE_CORES": str(r.cores),
                "TIDE_MEMORY_MIB": str(r.memory_mib),
            },
        )

    def _answer(self, conn: Connection, attempt_id: int, evidence: Evidence) -> None:
        batch = Batch(conn, self.ctx, self.ctx.now())
        for stored in attempts.by_ids(conn, [attempt_id]):
            check_token(self.ctx, clusters.get(conn, stored.row["cluster"])["fencing_token"])
            batch.apply(stored, [evidence])
        refresh(conn, self.ctx, batch.touched, batch.now)

"""Placing: decide over the picture, commit each attempt as SUBMITTING with its hold, and have sent what is ours to send.

Placing is one server's role; sending to a cluster is the business of whoever holds that cluster (`submit`), who writes its token
into the attempt first: `sender`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from tidegrid import ledger
from tidegrid.connectors.rooted import below
from tidegrid.control import access, intake, replay
from tidegrid.control.acting import Held
from tidegrid.control.context import Context
from tidegrid.control.picture import Picture
from tidegrid.control.projection import refresh
from tidegrid.control.submit import Submitter
from tidegrid.domain.attempt import Reason
from tidegrid.domain.errors import InsufficientFunds
from tidegrid.domain.ids import b32
from tidegrid.domain.job import JobSpec
from tidegrid.domain.lease import cluster_role
from tidegrid.scheduling.placement import Decision, Refusal
from tidegrid.scheduling.record import Asked
from tidegrid.scheduling.snapshot import Snapshot
from tidegrid.store import attempts, decisions, events, jobs, licences
from tidegrid.store.scope import Scope

_AWAY = (Refusal.UNHEALTHY, Refusal.DRAINED, Refusal.FAILING, Refusal.LICENCE, Refusal.GUESTS)
OLD_LOAD_S = 5.0
LOAD_LOOKS = 30  # a second and a half
PLACED = 100  # written in one transaction at most
Row = Any


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


class Placer:
    """The submit loop's work."""

    def __init__(self, ctx: Context, picture: Picture, submitter: Submitter) -> None:
        self.ctx, self.picture, self.submitter = ctx, picture, submitter
        self._placing: set[asyncio.Task[Any]] = set()
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
        self._placing.add(placing)
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
        self._placing.discard(task)
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
                self.submitter.send(spec, attempt, held)
        for cluster in {attempt["cluster"] for _, _, attempt, held in made if held is None}:
            ctx.wake(cluster)
        return kept, len(made)

    async def drain(self) -> None:
        """Wait for what is being placed, and for all submissions under way."""
        while self._placing:
            await asyncio.wait(self._placing)
        await self.submitter.drain()

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
        for cluster in sorted({d.best.cluster for d in chosen if d.best is not None}):  # in the order of `leases.locked`
            found = ctx.held.get(cluster_role(cluster))
            ours[cluster] = found if found is not None and found.still(conn) else None
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

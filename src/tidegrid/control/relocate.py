"""Jobs that wait at a cluster that answers, and are placed again: stuck there, drained, too late, or better off elsewhere.

The job is given back only once the server holds the fence of every task that moves, so that it can never start where it was; what
started meanwhile stays. Its wait there is cancelled by the next look at the cluster.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection

from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.control import health, incidents, intake, replay
from tidegrid.control.acting import acting
from tidegrid.control.contact import Contact
from tidegrid.control.context import Context
from tidegrid.control.evidence import Batch
from tidegrid.control.fences import race
from tidegrid.control.picture import Picture
from tidegrid.control.projection import refresh
from tidegrid.domain.attempt import FenceWon
from tidegrid.domain.clock import SECOND
from tidegrid.domain.errors import TideError
from tidegrid.domain.ids import show
from tidegrid.domain.lease import cluster_role
from tidegrid.domain.ranges import expand
from tidegrid.scheduling.health import Condition, Sign, shown
from tidegrid.scheduling.moving import Cause, Choice, Move, Waiting, look
from tidegrid.scheduling.objective import lookup
from tidegrid.scheduling.record import Asked
from tidegrid.scheduling.snapshot import Ints, Snapshot
from tidegrid.store import attempts, clusters, decisions, jobs
from tidegrid.store import health as healths

log = structlog.get_logger(__name__)
LOOKED_AT = 200  # attempts of one cluster in one look; the next look goes on behind them
RACED_AT_ONCE = 200  # tasks of one array in one look
_UNWELL = (Condition.DRAINED, Condition.DRAINING)
_SIGNS = {"site.nodes_down": Sign.NODES_DOWN, "site.launch_failed": Sign.LAUNCH_FAILED}
Row = Mapping[Any, Any]


class Relocator:
    """One step looks at every cluster that answers."""

    def __init__(self, ctx: Context, contacts: dict[str, Contact], picture: Picture) -> None:
        self.ctx, self.contacts, self.picture = ctx, contacts, picture
        self._behind: dict[str, int] = {}

    async def step(self) -> int:
        """0, always: the next step waits for its time."""
        snapshot = await self.picture.snapshot()
        if snapshot is None:
            return 0
        states, unwell = await self.ctx.store.read(
            lambda c: ({r["name"]: r for r in clusters.all(c)}, healths.conditions(c))
        )
        left = snapshot.free.copy()
        for name, contact in list(self.contacts.items()):
            if not contact.answered or contact.silent or contact.failures or name not in self.ctx.connectors:
                continue
            state = states.get(name)
            drained = state is not None and (bool(state["drained"]) or state["dead_at"] is not None)
            held = self.ctx.held.get(cluster_role(name))
            if held is None:
                continue
            found = await self._look(name, contact, snapshot, drained, unwell, left)
            with acting(held):
                for row, move in found[: self.ctx.settings.moving.at_once]:
                    await self._try(name, row, move)
        return 0

    # load -> decide ---------------------------------------------------------------------------------------------------

    async def _look(
        self, cluster: str, contact: Contact, snapshot: Snapshot, drained: bool, unwell: Mapping[healths.Place, Condition], left: Ints,
    ) -> list[tuple[Row, Move]]:
        ctx = self.ctx
        after = self._behind.get(cluster, 0)
        rows = await ctx.store.read(lambda c: attempts.waiting_on(c, cluster, after=after, limit=LOOKED_AT))
        self._behind[cluster] = rows[-1]["id"] if len(rows) == LOOKED_AT else 0
        loop_now, now = asyncio.get_running_loop().time(), ctx.now()
        asked: list[tuple[Row, Waiting]] = []
        for row in rows:
            worst = {unwell.get((cluster, p)) for p in ("", row["partition"])}
            condition = shown(Condition.DRAINING if Condition.DRAINING in worst else Condition.OK, drained=drained)
            code, says, since = contact.stuck.get(row["id"], ("", "", loop_now))
            waited = (now - (row["queued_at"] or row["created_at"])) / SECOND
            if not code and condition not in _UNWELL and waited < ctx.settings.moving.settle and not _has_deadline(row):
                continue
            asked.append(
                (row, Waiting(f"{cluster}/{row['partition']}", waited, None, row["moved"], False, condition, code, says,
                              loop_now - since))
            )  # fmt: skip
        return await self._judge(asked, snapshot, left) if asked else []

    async def _judge(self, asked: Sequence[tuple[Row, Waiting]], snapshot: Snapshot, left: Ints) -> list[tuple[Row, Move]]:
        ctx, rows = self.ctx, [row for row, _ in asked]
        been, bodies = await ctx.store.read(
            lambda c: (
                attempts.places_of(c, [r["part_id"] for r in rows]),
                decisions.bodies(c, [r["decision_id"] for r in rows if r["decision_id"]]),
            )
        )
        specs = [intake.spec_from(r) for r in rows]
        plain = await self.picture.requests(rows, specs, snapshot)
        here = [
            dataclasses.replace(
                q, excluded=(), unwelcome=(), licences=(), deadline_s=None, constraints=dataclasses.replace(q.constraints, any_of=(w.place,), ordered=())
            )
            for q, (_, w) in zip(plain, asked, strict=True)
        ]
        there = [
            dataclasses.replace(q, excluded=(*q.excluded, *sorted(been.get(r["part_id"], set()) | {w.place})))
            for q, (r, w) in zip(plain, asked, strict=True)
        ]
        stay, go = Asked(tuple(here), alone=True, k=1), Asked(tuple(there), alone=True)
        chosen_here = await asyncio.to_thread(stay.decide, snapshot)
        chosen_there = await asyncio.to_thread(go.decide, snapshot)
        choices = []
        for (row, w), spec, a, b, q in zip(asked, specs, chosen_here, chosen_there, plain, strict=True):
            w = dataclasses.replace(
                w, predicted=_predicted(bodies.get(row["decision_id"])), fixed=spec.movable is False
            )
            elsewhere = [] if b.best is None else [b.best, *(c for c in b.candidates if c is not b.best)]
            choices.append(Choice(w, a.best, elsewhere, lookup(spec.objective, None), q.tasks, math.inf if q.deadline_s is None else q.deadline_s - snapshot.epoch_s))
        moves = look(choices, left, ctx.settings.moving)
        out = [(row, move) for (row, _), move in zip(asked, moves, strict=True) if move is not None]
        if out:

            def keep(conn: Connection) -> None:
                replay.keep(conn, ctx, stay, snapshot, chosen_here, why="here", acted=len(out))
                replay.keep(conn, ctx, go, snapshot, chosen_there, why="elsewhere", acted=len(out))

            await ctx.write(keep)
        return out

    # act -> commit ----------------------------------------------------------------------------------------------------

    async def _try(self, cluster: str, row: Row, move: Move) -> None:
        """One attempt; where the site does not play along, the next look finds it again."""
        ctx = self.ctx
        connector = ctx.connector(cluster)
        found = await ctx.store.read(lambda c: attempts.by_ids(c, [row["id"]]))
        tasks = found[0].attempt.unstarted()[:RACED_AT_ONCE] if found and found[0].attempt.live else ()
        if connector is None or not tasks:
            return
        why = f"{move.refused}: {move.why}" if move.refused else move.why
        try:
            async with asyncio.timeout(ctx.settings.call):
                claims = await race(connector, row["directory"], tasks, ctx.token, why)
        except (SiteUnsure, SiteRefused, TimeoutError, OSError, TideError) as e:
            log.info("move.later", cluster=cluster, attempt=show("att", row["id"]), why=str(e) or type(e).__name__)
            return
        moved = await ctx.write(lambda c: self._commit(c, cluster, row, move, claims))
        if moved:
            log.info("move.done", cluster=cluster, attempt=show("att", row["id"]), cause=str(move.cause), tasks=moved)
        ctx.wake(cluster)

    def _commit(self, conn: Connection, cluster: str, row: Row, move: Move, claims: Sequence[Any]) -> int:
        """Tasks that moved. What was won can never start there, so it is given back whatever has become of the rest."""
        ctx = self.ctx
        batch = Batch(conn, ctx, ctx.now())
        for stored in attempts.by_ids(conn, [row["id"]]):
            known = {e.task for e in stored.attempt.executions}
            won = tuple(c.task for c in claims if isinstance(c, FenceWon) and c.task not in known)
            if not stored.attempt.live or not claims:
                return 0
            batch.because[row["id"]] = {"cause": str(move.cause), "why": move.why, **move.figures}
            lost = [c for c in claims if not isinstance(c, FenceWon)]
            if not won:
                batch.apply(stored, lost)
                break
            self._leave(conn, cluster, row, move)
            if set(won) == set(expand(stored.attempt.tasks)):
                batch.apply(stored, claims)
                continue
            after = batch.split(stored, move.why, won)
            if lost:
                batch.apply(attempts.Stored(after, {**stored.row, "tasks": after.tasks}), lost)
        refresh(conn, ctx, batch.touched, batch.now)
        return len(won)

    def _leave(self, conn: Connection, cluster: str, row: Row, move: Move) -> None:
        """The part does not go back there while any other place can take it; the place answers for what it did."""
        place, partition = f"{cluster}/{row['partition']}", row["partition"]
        part = jobs.part(conn, row["part_id"], lock=True)
        if part is not None and move.cause not in (Cause.DRAINED, Cause.FAILING):
            excluded = " ".join(sorted({*part["excluded"].split(), place, *move.passes}))
            refusals = part["refusals"] + (move.cause is Cause.STUCK)
            jobs.update_part(conn, part["id"], excluded=excluded, refusals=refusals)
        if move.refused in _SIGNS:
            health.note(conn, self.ctx, cluster, partition, _SIGNS[move.refused])
        elif move.refused:
            health.note_refusal(conn, self.ctx, cluster, partition, move.refused)
        incidents.did(conn, self.ctx, cluster, partition, f"a waiting job placed anew: {move.cause}", moved=1)


def _has_deadline(row: Row) -> bool:
    return bool(json.loads(row["spec"]).get("deadline"))


def _predicted(body: Mapping[str, Any] | None) -> float | None:
    """The p90 wait an attempt was placed with."""
    for c in (body or {}).get("candidates", ()):
        if c.get("partition") == (body or {}).get("chosen"):
            return float(c["wait_p90_s"])
    return None

"""Run times as this server knows them: runs are recorded as they end, learnt from the table, and asked for by whoever decides.

What is learnt is every organisation's; what is shown of it is one's own (`Prediction.own`). Only runs whose times no customer can
write are recorded: by accounting or a controller.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from tidegrid.control import intake
from tidegrid.control.context import Context
from tidegrid.domain.attempt import STRENGTH, Execution, Reason, Witness
from tidegrid.domain.clock import SECOND
from tidegrid.domain.job import JobSpec
from tidegrid.domain.ranges import expand
from tidegrid.scheduling import traits
from tidegrid.scheduling.accuracy import Outcome, report
from tidegrid.scheduling.runtime import Learnt, Prediction, Question, Run
from tidegrid.scheduling.snapshot import Snapshot
from tidegrid.scheduling.software import speeds
from tidegrid.scheduling.traits import Traits
from tidegrid.store import decisions, jobs, runs
from tidegrid.store.attempts import Stored
from tidegrid.store.scope import Scope

FRESH_S = 1.0  # so long an application's runs are not looked for again
LOADED = 256  # runs of an application that are learnt at the start: more than are remembered
OVERLAP_S = 60  # runs are looked for so far back: other servers commit in their own order
TASKS = 16  # of an array that are recorded: the others say the same
Ended = tuple[Stored, Execution]


# Recording --------------------------------------------------------------------------------------------------------------


def note(conn: Connection, ctx: Context, stored: Stored, ended: Sequence[Execution]) -> None:
    """Runs of an attempt that have ended, or of which something else is known now; recorded at the end of the transaction."""
    tasks = set(expand(stored.row["tasks"])[:TASKS])
    for e in ended:
        timed = e.started_at is not None and e.ended_at is not None and STRENGTH[e.source] >= STRENGTH[Witness.CONTROLLER]
        if timed and e.reason is Reason.OK and e.task in tasks:
            ctx.before_commit(conn, record, (stored, e))


def record(conn: Connection, ctx: Context, ended: Sequence[Ended]) -> None:
    """Rows of the runs, with what had been predicted of them when they were placed."""
    of = jobs.many(conn, {s.row["job_id"] for s, _ in ended})
    made = decisions.bodies(conn, sorted({s.row["decision_id"] for s, _ in ended if s.row["decision_id"]}))
    rows = []
    for stored, e in ended:
        row = stored.row
        spec = intake.spec_from(of[row["job_id"]])
        said = made.get(row["decision_id"], {}).get("prediction") or {}
        text = json.dumps(traits_of(spec).to_json(), sort_keys=True, separators=(",", ":"))
        rows.append(
            {
                "org_id": row["org_id"], "attempt_id": row["id"], "task": e.task, "restart": e.restart,
                "job_id": row["job_id"], "app": spec.app, "place": f"{row['cluster']}/{row['partition']}",
                "recorded_at": ctx.now(), "run_ms": max(0, (e.ended_at or 0) - (e.started_at or 0)) // 1000,
                "wall_s": row["wall_s"], "peak_mib": e.peak_mib or None, "traits": text,
                "traits_hash": hashlib.sha256(text.encode()).hexdigest()[:16],
                "speed_ppm": round(1e6 * float(said.get("speed") or 1.0)),
                "estimate_ms": round(1000 * spec.estimate_s) if spec.estimate_s else None,
                "source": str(said.get("source") or ""),
                "said_p50_ms": _ms(said.get("run_p50_s")), "said_p90_ms": _ms(said.get("run_p90_s")),
                "said_peak_mib": None if said.get("peak_p90_mib") is None else round(said["peak_p90_mib"]),
            }
        )  # fmt: skip
    runs.put(conn, rows)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(1000 * seconds)


def traits_of(spec: JobSpec) -> Traits:
    """A wall time that was taken from a prediction tells nothing of the job."""
    found = traits.of_job(spec, spec.input_bytes)
    if not spec.wall_auto:
        return found
    return replace(found, numbers={k: v for k, v in found.numbers.items() if k != "wall_s"})


# Knowing ----------------------------------------------------------------------------------------------------------------


class Known:
    """What was learnt, kept current from the table."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self._learnt = Learnt()
        self._at: dict[str, tuple[int, int]] = {}  # application -> when it was looked at, newest row then
        self._seen: dict[str, dict[tuple[int, int, int], int]] = {}  # rows of the last OVERLAP_S, with their time
        self._counts: dict[str, Counter[int]] = {}
        self._lock = asyncio.Lock()

    async def predict(self, asked: Sequence[tuple[JobSpec, int]], snapshot: Snapshot) -> list[Prediction]:
        """For every (job, organisation): the run time of one task at each partition of the snapshot."""
        async with self._lock:
            for app in {spec.app for spec, _ in asked}:
                await self._refresh(app)
            return await asyncio.to_thread(self._predict, asked, snapshot)

    def _predict(self, asked: Sequence[tuple[JobSpec, int]], snapshot: Snapshot) -> list[Prediction]:
        known: dict[tuple[str, str, float, float], Prediction] = {}
        out = []
        for spec, org in asked:
            found = traits_of(spec)
            wall, estimate = float(spec.resources.wall_s), spec.estimate_s or None
            key = (spec.app, json.dumps(found.to_json(), sort_keys=True), wall, spec.estimate_s)
            if key not in known:  # jobs of a batch are often alike
                question = Question(spec.app, found, wall, estimate)
                known[key] = self._learnt.quantiles(question, snapshot.partitions, speeds(snapshot.software, spec.app, snapshot.speed))
            out.append(replace(known[key], own=self._counts[spec.app][org]))
        return out

    async def _refresh(self, app: str) -> None:
        now = self.ctx.now()
        looked, newest = self._at.get(app, (None, 0))
        if looked is not None and now - looked < FRESH_S * SECOND:
            return
        if looked is None:
            rows, counts = await self.ctx.store.read(lambda c: (runs.newest(c, app, LOADED), runs.counts(c, app)))
            self._counts[app] = Counter(counts)
            fresh = rows
        else:
            back = newest - OVERLAP_S * SECOND
            rows = await self.ctx.store.read(lambda c: runs.since(c, app, back, 10_000))
            seen = self._seen[app]
            fresh = [r for r in rows if _key(r) not in seen]
            self._counts[app].update(r["org_id"] for r in fresh)
        newest = max([newest, *(r["recorded_at"] for r in fresh)])
        kept = newest - 2 * OVERLAP_S * SECOND
        seen = {k: at for k, at in self._seen.get(app, {}).items() if at >= kept}
        self._seen[app] = seen | {_key(r): r["recorded_at"] for r in fresh if r["recorded_at"] >= kept}
        if fresh:
            await asyncio.to_thread(self._learn, fresh)
        self._at[app] = (now, newest)

    def _learn(self, rows: Sequence[Mapping[Any, Any]]) -> None:
        for r in rows:
            self._learnt.update(
                Run(
                    app=r["app"], partition=r["place"], traits=Traits.from_json(json.loads(r["traits"])),
                    run_s=r["run_ms"] / 1000, peak_mib=r["peak_mib"], speed=r["speed_ppm"] / 1e6,
                    estimate_s=None if r["estimate_ms"] is None else r["estimate_ms"] / 1000,
                )
            )  # fmt: skip


def accuracy(conn: Connection, scope: Scope, app: str | None, last: int) -> list[dict[str, Any]]:
    """`scheduling.accuracy.report` of the scope's last runs, an application each."""
    out = []
    for name in runs.apps(conn, scope) if app is None else [app]:
        found = [
            Outcome(
                r["place"], r["run_ms"] / 1000, float(r["wall_s"]), r["source"], _s(r["said_p50_ms"]), _s(r["said_p90_ms"]),
                r["peak_mib"], r["said_peak_mib"],
            )
            for r in runs.of_scope(conn, scope, name, last)
        ]  # fmt: skip
        out.append({"app": name, **report(found)})
    return out


def _s(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _key(row: Mapping[Any, Any]) -> tuple[int, int, int]:
    return row["attempt_id"], row["task"], row["restart"]



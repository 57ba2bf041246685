"""A reconcile tick with 10,000 live jobs, and what it costs beside the plain way: loading every live attempt and applying
the listing to each.

The store is real (SQLite in a temporary directory), the cluster answers from memory: what is measured is the platform's part
of a tick, from the answer to the committed transaction. Three kinds of tick: nothing new; 100 jobs ended and 100 started;
and every job newly seen running. What starts asks for its permit, and gets it. Wall time, median of several.

    python -m benchmarks.reconcile [--jobs N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.calibration import calibrate

from tidegrid import ledger
from tidegrid.connectors.contract import Listed, NodeLoad, Observation, Record, SpoolEntry
from tidegrid.control import intake
from tidegrid.control.contact import Contact, native_name
from tidegrid.control.context import Context, Settings
from tidegrid.control.reconcile import Reconciler
from tidegrid.domain.attempt import Ended, Reason, Seen, step
from tidegrid.domain.ids import Ids, b32
from tidegrid.domain.job import JobSpec
from tidegrid.store import attempts, clusters, jobs, orgs
from tidegrid.store.engine import Store

T0 = 1_800_000_000_000_000


class Files:
    """marks: of prologues that ask for their permit, by file."""

    root = "/nowhere"

    def __init__(self) -> None:
        self.marks: dict[str, SpoolEntry] = {}

    def mark(self, attempt: int, native_id: str, at: int) -> None:
        name = f"{b32(attempt)}.0.0.mark"
        self.marks[name] = SpoolEntry(name, "mark", b32(attempt), 0, 0, f"nonce {native_id} {at}\n")

    async def spool(self) -> list[SpoolEntry]:
        return list(self.marks.values())

    async def unspool(self, files: Sequence[str]) -> list[str]:
        return [f for f in files if self.marks.pop(f, None) is not None]

    async def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        pass


class Cluster:
    """A connector that answers at once with what it is told to."""

    cluster = "bench"

    def __init__(self) -> None:
        self.files = Files()
        self.jobs: tuple[Listed, ...] = ()
        self.records: tuple[Record, ...] = ()
        self.now = T0

    async def observe(self, cursor: str) -> Observation:
        records, self.records = self.records, ()
        load = NodeLoad("cpu", (10_000, 0), (10_000, 0), (0, 0), (1, 1, 0))
        return Observation(self.jobs, records, str(self.now), False, (load,), self.now, "b")


async def measure(count: int = 10_000) -> dict[str, Any]:
    """Seconds a tick, by kind."""
    with tempfile.TemporaryDirectory() as directory:
        clock = [T0]

        def now() -> int:
            clock[0] += 1
            return clock[0]

        store = Store.open(f"sqlite:///{directory}/t.db", now_us=now)
        ctx = Context(store, type("C", (), {"now": staticmethod(now)})(), Ids(now, random.Random(1).getrandbits), Path(directory), Settings())
        ids = await store.write(lambda c: fill(c, ctx, count, "bench"))
        cluster = Cluster()
        reconciler = Reconciler(ctx, cluster, {"bench": Contact()})  # type: ignore[arg-type]
        queued = {i: Listed(native_name(i), str(n), (0,), ()) for n, i in enumerate(ids)}
        cluster.jobs = tuple(queued.values())
        await reconciler.tick()
        out: dict[str, Any] = {"live_jobs": count}
        out["nothing_new_s"] = await _median(reconciler, 7, lambda: None)
        left, done = list(ids), 0

        def start(some: Sequence[int]) -> None:
            for i in some:
                queued[i] = Listed(native_name(i), queued[i].native_id, (), (0,))
                cluster.files.mark(i, queued[i].native_id, cluster.now)

        def churn() -> None:
            nonlocal done
            ended = left[done : done + 100]
            done += 100
            for i in ended:
                queued.pop(i)
            start(left[done : done + 100])
            cluster.now += 60_000_000
            cluster.jobs = tuple(queued.values())
            cluster.records = tuple(
                Record(native_name(i), Ended(0, 0, str(ids.index(i)), Reason.OK, 0, cluster.now - 30_000_000, cluster.now)) for i in ended
            )

        start(left[:100])
        cluster.jobs = tuple(queued.values())
        await reconciler.tick()
        out["100_ended_100_started_s"] = await _median(reconciler, 5, churn)
        out["plain_nothing_new_s"] = await store.read(lambda c: _plain(c, queued))
        out["times_quicker_than_plain"] = round(out["plain_nothing_new_s"] / out["nothing_new_s"], 1)

        def start_all() -> None:
            start([i for i, j in queued.items() if not j.running])
            cluster.jobs = tuple(queued.values())

        out["all_started_s"] = await _median(reconciler, 1, start_all)
        store.close()
        return out


async def _median(reconciler: Reconciler, times: int, prepare: Any) -> float:
    seconds = []
    for _ in range(times):
        prepare()
        began = time.perf_counter()
        assert await reconciler.tick()
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds), 4)


def _plain(conn: Any, listed: dict[int, Listed]) -> float:
    """Load every live attempt whole and step it with what was listed."""
    began = time.perf_counter()
    for stored in attempts.live_on(conn, "bench"):
        job = listed[stored.attempt.id]
        step(stored.attempt, Seen(job.native_id, job.running))
    return round(time.perf_counter() - began, 4)


def fill(conn: Any, ctx: Context, count: int, cluster: str) -> list[int]:
    """Live attempts, queued on a cluster of that name; their ids."""
    new = ctx.ids.new
    org, project, user = new(), new(), new()
    orgs.create_org(conn, id=org, name="o", at=T0)
    orgs.create_project(conn, id=project, org_id=org, name="default", at=T0)
    orgs.create_user(conn, id=user, org_id=org, name="u", role="user", at=T0)
    clusters.ensure(conn, [cluster])
    ledger.deposit(conn, ctx.ids, T0, org, 10**15, "d")
    spec = intake.spec_json(JobSpec("a", "v"))
    job_ids, part_ids, attempt_ids = ([new() for _ in range(count)] for _ in range(3))
    jobs.insert_jobs(
        conn,
        [
            {"id": j, "org_id": org, "project_id": project, "user_id": user, "spec": spec, "app": "a", "app_version": "v",
             "state": "queued", "created_at": T0}
            for j in job_ids
        ],
        [{"id": p, "org_id": org, "job_id": j, "tasks": "0", "placed": True} for p, j in zip(part_ids, job_ids, strict=True)],
    )  # fmt: skip
    rates = json.dumps({"sell": [5_000_000, 0, 0], "cost": [1_000_000, 0, 0]})
    attempts.add(
        conn,
        [
            {"id": a, "org_id": org, "job_id": j, "part_id": p, "cluster": cluster, "partition": "cpu", "state": "QUEUED",
             "native_id": str(n), "created_at": T0, "queued_at": T0, "cores": 1, "memory_mib": 64, "wall_s": 600,
             "rates": rates, "directory": "d"}
            for n, (a, j, p) in enumerate(zip(attempt_ids, job_ids, part_ids, strict=True))
        ],
    )  # fmt: skip
    return attempt_ids


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10_000)
    args = parser.parse_args()
    print(json.dumps({"calibration": calibrate(), **asyncio.run(measure(args.jobs))}))


if __name__ == "__main__":
    main()

"""Placement of 1,000 jobs over 1,000 partitions against the shortest correct plain Python loop, in the same run.

The mix (seed 1): 200 clusters of 5 partitions in 6 regions, three architectures, a fifth with GPUs, a third idle, the others with
running and waiting jobs; jobs of 1 to 64 cores with constraints, GPUs, arrays, inputs, budgets and deadlines, objectives mixed; about
half of the pairs feasible. The plain loop must give the same best 8 (order and scores) and the same counted reasons.
It is given the waits, which the vectorised side looks up itself within its time; the queues' forward runs, once a picture, are timed
apart. Times are CPU time, best of five for the vectorised side. `in_pieces`: the same with free nodes of six kinds at each partition, which the
plain loop knows nothing of.

    python -m benchmarks.placement [--jobs N] [--partitions N] [--plain-jobs N]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from benchmarks.calibration import calibrate

from tidegrid.domain.job import Constraints
from tidegrid.rating.book import Supply
from tidegrid.rating.rates import Rates
from tidegrid.scheduling.forecasts import WAIT_P50_SHARE
from tidegrid.scheduling.objective import PRESETS
from tidegrid.scheduling.placement import Decision, Refusal, Request, decide
from tidegrid.scheduling.runtime import predict
from tidegrid.scheduling.snapshot import Health, PartitionRow, Snapshot
from tidegrid.scheduling.waits import Waits

REGIONS = ("north", "east", "south", "west", "plateau", "coast")
ARCHS = ("x86_64", "x86_64", "x86_64", "x86_64", "aarch64", "loongarch64")
FEN = 1_000_000


def make_snapshot(rng: np.random.Generator, partitions: int) -> Snapshot:
    rows = []
    for p in range(partitions):
        cluster = f"c{p // 5:03}"
        gpus = 8 if p % 5 == 4 else 0
        nodes, cores = int(rng.integers(4, 200)), int(rng.choice([32, 48, 64, 64, 128]))
        node = (cores * 1000, cores * int(rng.choice([2, 4, 8])) * 1024, gpus)
        capacity = tuple(nodes * x for x in node)
        running, waiting, free = [], [], list(capacity)
        if rng.random() < 0.67:
            for _ in range(int(rng.integers(1, 16))):
                share = float(rng.uniform(0.02, 0.3))
                need = tuple(min(int(share * c), f) for c, f in zip(capacity, free, strict=True))
                free = [f - n for f, n in zip(free, need, strict=True)]
                running.append((int(rng.integers(60, 20_000)), need))
            for _ in range(int(rng.integers(0, 10))):
                share = float(rng.uniform(0.01, 0.3))
                waiting.append((int(rng.integers(600, 20_000)), tuple(int(share * c) for c in capacity)))
        purchased = bool(rng.random() < 0.4)
        price = int(rng.integers(3, 13)) * FEN + int(rng.integers(0, FEN))
        rows.append(
            PartitionRow(
                cluster,
                f"p{p % 5}",
                REGIONS[p // 5 % 6],
                str(rng.choice(ARCHS)),
                capacity,
                free,
                node,
                Rates(price, 400 * FEN, FEN // 10),
                Rates(price // (2 if purchased else 6), 100 * FEN),
                gpu_type=str(rng.choice(["a100", "dcu"])) if gpus else "",
                max_wall_s=int(rng.choice([0, 0, 86_400, 43_200, 14_400])),
                health=Health(int(rng.choice([0] * 18 + [1, 2]))),
                supply=Supply.PURCHASED if purchased else Supply.CO_BUILT,
                speed=float(rng.uniform(0.6, 1.8)),
                staging_s=float(rng.uniform(0, 5)),
                bandwidth=float(rng.uniform(2e7, 1e9)),
                running=running,
                waiting=waiting,
            )
        )
    names = sorted({r.cluster for r in rows})
    apps = {f"app{i}": [n for n in names if rng.random() < 0.85] for i in range(8)}
    return Snapshot.build(1_700_000_000, rows, apps)


def make_requests(rng: np.random.Generator, jobs: int, snapshot: Snapshot) -> list[Request]:
    out, many = [], max(1, len(snapshot.clusters) * 3 // 10)
    for i in range(jobs):
        gpus = int(rng.choice([1, 2, 4])) if rng.random() < 0.04 else 0
        cores = int(rng.choice([1, 1, 2, 4, 4, 8, 16, 32, 64]))
        wall = int(rng.choice([600, 1800, 3600, 7200, 14_400, 28_800, 60_000]))
        p90 = wall * float(rng.uniform(0.2, 1.0))
        constraints = Constraints(
            arch=("x86_64",) if rng.random() < 0.35 else (),
            regions=tuple(str(x) for x in rng.choice(REGIONS, 4, replace=False)) if rng.random() < 0.25 else (),
            any_of=tuple(str(x) for x in rng.choice(snapshot.clusters, many, replace=False))
            if rng.random() < 0.05
            else (),
            exclude=tuple(str(x) for x in rng.choice(snapshot.clusters, 2)) if rng.random() < 0.1 else (),
        )
        hours = wall / 3600 * cores
        out.append(
            Request(
                i,
                f"app{int(rng.integers(0, 12))}",
                (cores * 1000, cores * int(rng.choice([1024, 2048])), gpus),
                wall,
                gpu_type="a100" if gpus and rng.random() < 0.5 else "",
                tasks=int(rng.integers(2, 200)) if rng.random() < 0.1 else 1,
                constraints=constraints,
                run_p50_s=p90 * float(rng.uniform(0.2, 1.0)),
                run_p90_s=p90,
                input_bytes=int(rng.integers(0, 10**10)) if rng.random() < 0.5 else 0,
                objective=str(
                    rng.choice(["balanced", "balanced", "balanced", "cheapest", "fastest", "deadline", "budget"])
                ),
                balance=10**10,
                budget=int(hours * 90_000) + 10**6 if rng.random() < 0.1 else None,
                deadline_s=snapshot.epoch_s + wall * 2 if rng.random() < 0.1 else None,
            )
        )
    return out


def plain(
    requests: list[Request], s: Snapshot, waits: list[list[float]], k: int
) -> list[tuple[list[int], list[float], dict[str, int]]]:
    """The same decisions, one pair at a time: (indices of the best k, their scores, counted reasons) a request."""
    parts = [
        (
            name, name.partition("/")[0], s.archs[s.arch[p]], s.regions[s.region[p]], s.gpu_types[s.gpu_type[p]],
            s.capacity[p].tolist(), s.largest[p].tolist(), int(s.max_wall_s[p]), int(s.health[p]), s.sell[p].tolist(), s.cost[p].tolist(),
            float(s.speed[p]), float(s.staging_s[p]), float(s.bandwidth[p]), {a for i, a in enumerate(s.apps) if s.installed[i, p]},
        )
        for p, name in enumerate(s.partitions)
    ]  # fmt: skip
    room, load, out = s.free.tolist(), [0.0] * len(parts), []
    known = set(s.apps)
    for r, wait_row in zip(requests, waits, strict=True):
        o, c, (cores, mib, gpus), count, scored, ends, runs = PRESETS[r.objective], r.constraints, r.need, {}, [], [], {}
        excluded, listed, time_weight = {*c.exclude, *r.excluded}, set(c.any_of or c.ordered), o.time * 1e6 / 3600
        run50, run90 = (
            predict(np.empty(0), r.wall_s) if r.run_p50_s is None or r.run_p90_s is None else (r.run_p50_s, r.run_p90_s)
        )
        wait_weight = time_weight * (WAIT_P50_SHARE + o.risk * (1 - WAIT_P50_SHARE))
        for p, (
            name,
            cluster,
            arch,
            region,
            gpu,
            cap,
            big,
            longest,
            health,
            sell,
            cost,
            speed,
            base,
            band,
            apps,
        ) in enumerate(parts):
            bad = []
            if c.arch and arch not in c.arch:
                bad.append("arch")
            if c.regions and region not in c.regions:
                bad.append("region")
            if listed and name not in listed and cluster not in listed:
                bad.append("not_listed")
            if excluded and (name in excluded or cluster in excluded):
                bad.append("excluded")
            if r.app in known and r.app not in apps:
                bad.append("not_installed")
            if r.gpu_type and gpu != r.gpu_type:
                bad.append("gpu_type")
            if cores > big[0] or mib > big[1] or gpus > big[2]:
                bad.append("too_large")
            if longest and r.wall_s > longest:
                bad.append("too_long")
            if health:
                bad.append("unhealthy" if health == 1 else "drained")
            if not bad:
                per_s = (sell[0] * cores / 1000 + sell[1] * gpus + sell[2] * mib / 1024) / 360_000
                cost_s = (cost[0] * cores / 1000 + cost[1] * gpus + cost[2] * mib / 1024) / 360_000
                wait = wait_row[p]
                if wait or any(n and x < n for x, n in zip(room[p], r.need, strict=True)):
                    wait += load[p]
                waves = 1
                if r.tasks > 1:
                    waves = math.ceil(r.tasks / min(r.tasks, *(x // n for x, n in zip(cap, r.need, strict=True) if n)))
                run, slow = min(run50 / speed, r.wall_s), min(run90 / speed, r.wall_s) * waves
                staging = base + r.input_bytes / band if r.input_bytes else 0.0
                hold, limit = per_s * r.wall_s * r.tasks, r.deadline_s
                end = (wait + slow if o.sure else wait * WAIT_P50_SHARE + run * waves) + staging
                if r.balance is not None and hold > r.balance:
                    bad.append("balance")
                if r.budget is not None and math.floor(per_s * r.wall_s + 0.5) * r.tasks > r.budget:
                    bad.append("budget")
                tardy = limit is not None and end > limit - s.epoch_s
                if tardy:
                    count["deadline"] = count.get("deadline", 0) + 1
                if not bad:
                    money = (o.price * per_s + o.cost * cost_s) * r.tasks * run
                    spread = o.risk * (slow - run * waves)
                    score = money + time_weight * (run * waves + staging + spread) + wait_weight * wait
                    scored.append((tardy, score, p))
                    ends.append((end, score, p))
                    runs[p] = slow
            for reason in bad:
                count[reason] = count.get(reason, 0) + 1
        in_time = sorted((score, p) for tardy, score, p in scored if not tardy)
        first = [(score, p) for _, score, p in sorted(ends, key=lambda e: (e[0], e[2]))]
        best = (in_time or first)[:k]  # late is better than never
        out.append(([p for _, p in best], [x for x, _ in best], count))
        if best:
            p = best[0][1]
            take = [n * r.tasks for n in r.need]
            room[p] = [x - n for x, n in zip(room[p], take, strict=True)]
            load[p] += min(1.0, max(n / max(x, 1) for n, x in zip(take, parts[p][5], strict=True))) * runs[p]
    return out


def timed(requests: Sequence[Request], snapshot: Snapshot, rows: Waits) -> tuple[list[Decision], float, float]:
    """The decisions, seconds of the fastest of five rounds, and milliseconds of one job alone (median of 50)."""
    times, one = [], []
    for _ in range(5):
        snapshot.memo["waits"] = rows.fresh()  # no answer kept from the round before
        start = time.process_time()
        decisions = decide(requests, snapshot)
        times.append(time.process_time() - start)
    for r in requests[:50]:
        snapshot.memo["waits"] = rows.fresh()
        start = time.process_time()
        decide([r], snapshot)
        one.append(time.process_time() - start)
    return decisions, min(times), float(np.median(one)) * 1000


def in_pieces(snapshot: Snapshot, kinds: int = 6) -> Snapshot:
    """The same with what is free on nodes of so many kinds, from a twelfth of it to a half on each."""
    p = len(snapshot.partitions)
    share = np.tile(np.arange(1, kinds + 1), p)[:, None]
    free = np.repeat(snapshot.free // 12, kinds, axis=0) * share
    return dataclasses.replace(snapshot, hole_ptr=np.arange(p + 1) * kinds, hole_nodes=np.full(p * kinds, 3), hole_free=free)


def measure(jobs: int = 1000, partitions: int = 1000, plain_jobs: int = 1000, seed: int = 1) -> dict[str, Any]:
    """One JSON object; raises AssertionError where the two sides differ."""
    rng = np.random.default_rng(seed)
    snapshot = make_snapshot(rng, partitions)
    requests = make_requests(rng, jobs, snapshot)
    assert not any(r.constraints.ordered for r in requests)

    start = time.process_time()
    snapshot.memo["waits"] = Waits(snapshot)
    forward_s = time.process_time() - start
    rows = snapshot.memo["waits"]
    decisions, seconds, one_ms = timed(requests, snapshot, rows)
    pieces = in_pieces(snapshot)
    _, pieces_s, one_pieces_ms = timed(requests, pieces, Waits(pieces))

    some = requests[:plain_jobs]
    waits = [rows.of(r.need, r.wall_s)[0].tolist() for r in some]
    start = time.process_time()
    expected = plain(some, snapshot, waits, 8)
    plain_s = time.process_time() - start
    for (best, scores, count), decision in zip(expected, decisions, strict=False):
        assert [c.index for c in decision.candidates] == best, f"job {decision.request}: other candidates"
        assert np.allclose([c.score for c in decision.candidates], scores, rtol=1e-9), (
            f"job {decision.request}: other scores"
        )
        assert {Refusal(r): n for r, n in count.items()} == decision.refusals, f"job {decision.request}: other reasons"

    pairs = jobs * partitions
    plain_pair, pair = plain_s / (len(some) * partitions), seconds / pairs
    return {
        "benchmark": "placement",
        "jobs": jobs,
        "partitions": partitions,
        "seed": seed,
        "feasible_share": round(sum(d.feasible for d in decisions) / pairs, 3),
        "shapes": len({(r.need, r.wall_s) for r in requests}),
        "seconds": round(seconds, 4),
        "pairs_per_s": round(1 / pair),
        "plain_jobs": len(some),
        "plain_seconds": round(plain_s, 3),
        "plain_pairs_per_s": round(1 / plain_pair),
        "ratio": round(plain_pair / pair, 1),
        "equal": True,
        "one_job_ms": round(one_ms, 3),
        "in_pieces": {"seconds": round(pieces_s, 4), "one_job_ms": round(one_pieces_ms, 3)},
        "forward_runs_s": round(forward_s, 3),
        "calibration": calibrate(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Placement against a plain loop")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--plain-jobs", type=int, default=1000, help="how many of the jobs the plain loop places too")
    args = parser.parse_args()
    print(json.dumps(measure(args.jobs, args.partitions, args.plain_jobs)))


if __name__ == "__main__":
    main()

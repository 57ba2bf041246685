"""A real Slurm queue steered against the same left to Slurm's own backfill: the same stream on two clusters alike, at once, in pairs.

    python -m benchmarks.steering [--rounds 3] [--jobs 80] [--seed N]

A stream is Poisson arrivals of jobs of one core to the whole machine; run times are log-uniform from 1 to 30 s, and a job asks for one
to five times as many minutes as it runs seconds, at most an hour, so that a minute of Slurm's limits stands for a second:
the slowdown's bound of 10 s becomes 10/60 s, of which whole seconds of Slurm's clock show 1. Offered load 1.1 while jobs arrive.
Both clusters have Slurm's priority by arrival and its backfill plugin, looking every 2 s. A round is two pairs at once, on machines of
128 cores in 4 nodes and of 48 in 12; in every round the roles within a pair change.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid.connectors.slurm.shell import LocalShell
from tidegrid.connectors.slurm.steering import Steerer
from tidegrid.launch import testbed
from tidegrid.scheduling.kernel.policy import POLICIES

BOUND_S, LOAD, LONGEST_S = 1.0, 1.1, 30.0
# the same shape under two names; partition, cores
PAIRS = ((("alpha", "delta"), "cpu", 128), (("beta", "epsilon"), "short", 48))


def stream(rng: random.Random, jobs: int, cores: int) -> list[tuple[float, float, int, int]]:
    """(arrival s, run s, cores, limit minutes)"""
    out, at = [], 0.0
    sizes = [max(1, cores * k // 128) for k in (1, 1, 2, 4, 8, 16, 32, 32, 64, 128)]
    mean = sum(sizes) / len(sizes) * (LONGEST_S - 1) / np.log(LONGEST_S) / cores / LOAD
    for _ in range(jobs):
        run = float(np.exp(rng.uniform(0, np.log(LONGEST_S))))
        at += rng.expovariate(1 / mean)
        out.append((at, run, rng.choice(sizes), max(1, min(60, round(run * rng.uniform(1, 5))))))
    return out


async def play(
    bed: testbed.Testbed, name: str, partition: str, work: list[tuple[float, float, int, int]], steer: bool, base: Path
) -> dict[str, float]:
    cluster = bed.cluster(name)
    shell = LocalShell(environment={"SLURM_CONF": str(cluster.client_conf), "PATH": cluster.environment["PATH"]})
    steerer = Steerer(shell, str(base / f"steer-{name}"), partition, POLICIES["default"], lease_s=15)
    ids: dict[str, tuple[float, float, int, int]] = {}
    stop = asyncio.Event()
    ended: dict[str, tuple[int, int, int]] = {}  # submit, start, end; the controller forgets them after five minutes

    async def steering() -> None:
        while not stop.is_set():
            await steerer.step()
            await asyncio.sleep(1.0)

    async def collecting() -> None:
        while not stop.is_set():
            said = await shell.run(f"squeue -h -a -p {partition} -t CD -O 'JobID:|,SubmitTime:|,StartTime:|,EndTime:|'")
            for row in said.stdout.splitlines():
                id_, *times = row.split("|")[:4]
                if id_ in ids:
                    ended[id_] = (int(times[0]), int(times[1]), int(times[2]))
            if len(ended) == len(work):
                stop.set()
            await asyncio.sleep(2.0)

    tasks = [asyncio.create_task(collecting()), *([asyncio.create_task(steering())] if steer else [])]
    began = time.monotonic()
    for job in work:
        await asyncio.sleep(max(0.0, began + job[0] - time.monotonic()))
        said = await shell.run(f"sbatch --parsable -p {partition} -n {job[2]} -t {job[3]} --mem-per-cpu=1 -o /dev/null --wrap 'sleep {job[1]:.2f}'")
        ids[said.stdout.strip()] = job
    async with asyncio.timeout(1800):
        await stop.wait()
    await asyncio.gather(*tasks)
    if steer:
        await steerer.undo()
    await shell.close()
    waits = [start - submit for submit, start, _ in ended.values()]
    slow = [max(1.0, (end - submit) / max(end - start, BOUND_S)) for submit, start, end in ended.values()]
    return {"jobs": len(waits), "mean_wait_s": statistics.mean(waits), "max_wait_s": max(waits), "bounded_slowdown": statistics.mean(slow)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="tide-steering-"))
    bed = testbed.up(base / "bed", 5, False, bound=True)
    pairs: list[dict[str, Any]] = []

    async def pair(n: int, names: tuple[str, str], partition: str, cores: int) -> dict[str, Any]:
        seed = args.seed + 2 * n + (cores == 48)
        work, arms = stream(random.Random(seed), args.jobs, cores), names if n % 2 == 0 else names[::-1]
        steered, plain = await asyncio.gather(
            play(bed, arms[0], partition, work, True, base), play(bed, arms[1], partition, work, False, base)
        )
        ratio = steered["bounded_slowdown"] / plain["bounded_slowdown"]
        print(f"steering: round {n + 1} of {args.rounds}, {cores} cores: slowdown {steered['bounded_slowdown']:.2f} steered, "
              f"{plain['bounded_slowdown']:.2f} not: {ratio:.2f}", file=sys.stderr, flush=True)  # fmt: skip
        return {"seed": seed, "cores": cores, "steered": steered, "plain": plain, "slowdown_ratio": ratio,
                "wait_ratio": steered["mean_wait_s"] / plain["mean_wait_s"]}  # fmt: skip

    async def both(n: int) -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(pair(n, *p) for p in PAIRS)))

    try:
        for n in range(args.rounds):
            pairs += asyncio.run(both(n))
    finally:
        bed.down()
        shutil.rmtree(base, ignore_errors=True)
    found: dict[str, Any] = {"jobs": args.jobs, "pairs": len(pairs), "load_average": os.getloadavg()[0]}
    for name in ("slowdown_ratio", "wait_ratio"):
        logs = np.log([p[name] for p in pairs])
        draws = np.random.default_rng(0).choice(logs, (10_000, len(logs))).mean(axis=1)
        low, high = (float(x) for x in np.exp(np.quantile(draws, (0.025, 0.975))))
        found[name] = {"mean": float(np.exp(logs.mean())), "low_95": low, "high_95": high}
    print(json.dumps({**found, "each": pairs}))


if __name__ == "__main__":
    main()

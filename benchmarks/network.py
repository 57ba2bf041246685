"""Networks of sites under the broker's policies, beside each site alone and one pooled machine, in one run.

Quality: KTH, SDSC-SP2, HPC2N and CTC by convention K, first 330 days, times from each log's own first submission, EASY at the sites,
user estimates; and the same with HPC2N's jobs thinned to 40 %, where a quiet site has something to lose. Gap closed: of the mean
wait's way from every site alone to the pooled machine.

Speed, in CPU time: earliest estimated start, per job from arrays to starts, on 5 and on 100 sites with generated logs at load 0.9, compiled (after
a first call on a small log), against the plain path of the same source on the first 1,000 jobs.

    TIDEGRID_TRACES=DIR python -m benchmarks.network [--only speed|quality]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.quality_logs import read_four

from tidegrid.scheduling.network import POLICIES, NetworkPolicy
from tidegrid.simulation.network import NetworkJobs, NetworkRun, Site, pooled, simulate
from tidegrid.simulation.scorecard import compared, gap_closed, scorecard

DAYS = 330
ORDER = ("home", "two-choices", "least-work", "earliest", "tide", "tide-fair", "tide-fair-slowdown")


def four(folder: Path, keep: dict[str, float] | None = None) -> tuple[NetworkJobs, list[Site]]:
    """The four logs as one network's jobs. keep: share of a log's jobs, drawn with seed 1."""
    logs, parts, users = read_four(folder), [], 0
    for i, log in enumerate(logs):
        rows = np.flatnonzero(log.submit < DAYS * 86_400)
        if keep and log.name in keep:
            rows = rows[np.random.default_rng(1).random(len(rows)) < keep[log.name]]
        user = np.where(log.user[rows] < 0, -1, log.user[rows] + users)
        users = max(users, int(user.max()) + 1)
        parts.append((log.submit[rows], log.estimate[rows], log.run[rows], log.need[rows], np.full(len(rows), i), user))
    jobs = NetworkJobs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return jobs, [Site(log.name, [log.processors]) for log in logs]


def generated(sites: int, jobs: int, load: float, seed: int = 1) -> tuple[NetworkJobs, list[Site]]:
    """Sites of 64 to 1,024 processors with jobs of powers of two, lognormal run times, estimates up to five times too long, and
    arrivals that come and go with the day."""
    rng = np.random.default_rng(seed)
    sizes = 2 ** rng.integers(6, 11, sites)
    home = rng.choice(sites, jobs, p=sizes / sizes.sum())
    need = np.minimum(2 ** rng.integers(0, 9, jobs), sizes[home])
    run = np.maximum(1, rng.lognormal(7.0, 1.6, jobs)).astype(np.int64)
    estimate = run * rng.integers(1, 6, jobs) + rng.integers(0, 600, jobs)
    span = float((need * run).sum() / (sizes.sum() * load))
    submit = np.sort(rng.uniform(0, span, jobs))
    submit = (submit + 20_000 * np.sin(submit / 86_400 * 2 * np.pi)).clip(0).astype(np.int64)
    return NetworkJobs(submit, estimate, run, need, home), [Site(f"s{i}", [int(n)]) for i, n in enumerate(sizes)]


def timed(jobs: NetworkJobs, sites: list[Site], policy: NetworkPolicy, **kw: Any) -> tuple[NetworkRun, float]:
    t = time.process_time()  # one thread; the machine may have others to serve
    run = simulate(jobs, sites, policy, **kw)
    return run, time.process_time() - t


def quality(jobs: NetworkJobs, sites: list[Site], names: tuple[str, ...]) -> dict[str, Any]:
    t = time.process_time()
    one = pooled(jobs, sites)
    out: dict[str, Any] = {"jobs": len(jobs.submit), "policies": {}}
    cards, home = {}, None
    pooled_card = scorecard(jobs, sites, one)
    out["pooled"] = _row(pooled_card) | {"jobs_per_s": round(len(jobs.submit) / (time.process_time() - t))}
    for name in names:
        run, seconds = timed(jobs, sites, POLICIES[name])
        home = run if name == "home" else home
        cards[name] = scorecard(jobs, sites, run)
        assert home is not None
        closed = gap_closed(jobs, home, run, one)
        side = compared(cards[name], cards["home"])
        out["policies"][name] = _row(cards[name]) | {
            "gap_closed": {k: round(v, 4) for k, v in closed.items()}, "jobs_per_s": round(len(jobs.submit) / seconds),
            "sites": {r["site"]: {"mean_wait": round(r["network"]["mean_wait"]), "bsld": round(r["network"]["mean_bounded_slowdown"], 2)} for r in side["sites"]},
            "worse_than_alone": side["worse_than_alone"],
        }  # fmt: skip
        print(name, json.dumps(out["policies"][name]), file=sys.stderr, flush=True)
    return out


def _row(card: dict[str, Any]) -> dict[str, Any]:
    return {
        "mean_wait": {k: round(v) for k, v in card["mean_wait"].items()}, "bsld": {k: round(v, 2) for k, v in card["mean_bounded_slowdown"].items()},
        "p95_wait": round(card["p95_wait"]), "max_wait_days": round(card["max_wait"] / 86_400, 2),
        "moved": round(card["moved"], 3), "moves": card["moves"], "jain": round(card["users"]["jain"], 4),
    }  # fmt: skip


def speed() -> dict[str, Any]:
    out: dict[str, Any] = {}
    for sites, jobs in ((5, 100_000), (100, 100_000)):
        log, places = generated(sites, jobs, 0.9)
        first = NetworkJobs(log.submit[:1000], log.estimate[:1000], log.run[:1000], log.need[:1000], log.home[:1000])
        row: dict[str, Any] = {}
        for name in ("earliest", "tide"):
            compiled, first_s = timed(first, places, POLICIES[name])
            plain, plain_s = timed(first, places, POLICIES[name], fast=False)
            assert (compiled.start == plain.start).all() and (compiled.site == plain.site).all()
            run, seconds = timed(log, places, POLICIES[name])
            row[name] = {
                "jobs_per_s": round(jobs / seconds), "plain_jobs_per_s": round(1000 / plain_s), "ratio": round(jobs / seconds / (1000 / plain_s), 1),
                "mean_wait": round(float((run.start - log.submit).mean())), "first_call_s": round(first_s, 1),
            }  # fmt: skip
        out[f"{sites} sites"] = row
        print(sites, json.dumps(row), file=sys.stderr, flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("speed", "quality"))
    args = parser.parse_args()
    out: dict[str, Any] = {}
    if args.only != "quality":
        out["speed"] = speed()
    folder = os.environ.get("TIDEGRID_TRACES")
    if args.only != "speed" and folder:
        out["four logs"] = quality(*four(Path(folder)), ORDER)
        out["HPC2N thinned"] = quality(*four(Path(folder), {"HPC2N": 0.4}), ("home", "earliest", "tide", "tide-fair", "tide-fair-slowdown"))
    elif args.only != "speed":
        out["skipped"] = "TIDEGRID_TRACES is not set: no logs"
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()

"""The default policy of a cluster's queue against the baseline, on logs: mean bounded slowdown, users' estimates only.

Four logs (KTH, SDSC-SP2, HPC2N, CTC; convention K), ten runs each with every submission moved by up to five minutes either way: EASY
and the baseline of `quality_baseline`, which are plain code of their own, and the product's kernel with its policy `default`, the same
for all. Reported: medians, the geometric mean of the ratios, longest waits against EASY's in the same run, how much of the way
from EASY to the same policies with run times known beforehand is gone, the windows of RLScheduler beside what is published on
them, and a cross-validation: of a grid of the default's parameters the best of three logs (or of one half of all logs) is judged by
the fourth (the other half), with other shakes. TIDEGRID_TRACES says where the logs are.

    python -m benchmarks.quality [--runs N] [--seed N] [--grid-runs N (0: no cross-validation)]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.calibration import calibrate
from benchmarks.quality_baseline import baseline, clairvoyant, easy, geometric_mean, longest_wait_days, slowdowns
from benchmarks.quality_logs import FOUR, Ints, Log, read
from benchmarks.quality_windows import FCFS_NO_BACKFILL, FILES, PUBLISHED_RL, fcfs, windows

from tidegrid.scheduling.kernel import build
from tidegrid.scheduling.kernel.compiled import load
from tidegrid.scheduling.kernel.policy import POLICIES, Policy
from tidegrid.scheduling.kernel.policy import clairvoyant as foreseeing

GRID: Mapping[str, Sequence[float]] = {
    "ageing": (1.0, 1.5, 2.0), "patience_s": (1800.0, 14_400.0), "wideness": (0.75, 1.0), "own_word": (2.0, 4.0, 8.0),
}  # fmt: skip
HELD_BACK = 3
"""Shakes, others than those of the choice, by which a choice is judged."""

_logs: dict[str, Log] = {}


def scheduled(log: Log, policy: Policy) -> Ints:
    """Start times, int64[J], by the product's kernel."""
    jobs = build.table(log.submit, log.estimate, log.run, log.need, log.user)
    users = max(1, int(log.user.max()) + 1)
    state = build.build(jobs, np.array([[log.processors]]), [policy], users=users, compiled=True)
    load().replay(state, 0, 0, len(log))
    return build.starts(state)


def _log(name: str) -> Log:
    if name not in _logs:
        file, processors = FOUR[name]
        _logs[name] = read(name, traces() / "swf" / f"{file}.swf.gz", processors)
    return _logs[name]


def traces() -> Path:
    folder = os.environ.get("TIDEGRID_TRACES", "")
    if not folder or not (Path(folder) / "swf").is_dir():
        sys.exit(
            "quality: set TIDEGRID_TRACES to a folder that holds swf/*.swf.gz (`make` sets it where ../shared/traces is)"
        )
    return Path(folder)


def one_run(name: str, seed: int | None) -> dict[str, list[float]]:
    """Mean bounded slowdown and longest wait (days) of every contender on one log, shaken or (None) as it is."""
    log = _log(name) if seed is None else _log(name).shaken(seed)
    default = POLICIES["default"]
    starts = {"easy": easy(log), "baseline": baseline(log), "default": scheduled(log, default)}
    if seed is None:
        starts["clairvoyant_baseline"] = clairvoyant(log)
        starts["clairvoyant_default"] = scheduled(log, foreseeing(default))
    return {k: [float(slowdowns(log, s).mean()), longest_wait_days(log, s)] for k, s in starts.items()}


def halves(name: str, seed: int, policy: Policy | None) -> list[float]:
    """Mean bounded slowdown of the first and the second half of a log's jobs; without a policy, the baseline's."""
    log = _log(name).shaken(seed)
    slow = slowdowns(log, baseline(log) if policy is None else scheduled(log, policy))
    middle = len(log) // 2
    return [float(slow[:middle].mean()), float(slow[middle:].mean())]


def four_logs(pool: ProcessPoolExecutor, seeds: Sequence[int]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    tasks = {name: [pool.submit(one_run, name, s) for s in (None, *seeds)] for name in FOUR}
    for name, futures in tasks.items():
        plain, *shaken = (f.result() for f in futures)
        median = {k: float(np.median([r[k][0] for r in shaken])) for k in ("easy", "baseline", "default")}
        cap = [2 * r["easy"][1] + 2 for r in (plain, *shaken)]
        longest = [r["default"][1] for r in (plain, *shaken)]
        best = min(plain["clairvoyant_baseline"][0], plain["clairvoyant_default"][0])
        span = plain["easy"][0] - best
        out[name] = {
            "as_logged": {k: round(v[0], 2) for k, v in plain.items()},
            "shaken_median": {k: round(v, 2) for k, v in median.items()},
            "ratio": round(median["default"] / median["baseline"], 3),
            "longest_wait_days": {
                "easy": round(plain["easy"][1], 2), "baseline": round(plain["baseline"][1], 2),
                "default": round(plain["default"][1], 2), "default_worst_of_all_runs": round(max(longest), 2),
                "least_room_under_cap": round(min(c - x for c, x in zip(cap, longest, strict=True)), 2),
            },
            "gap_closed": {k: round((plain["easy"][0] - plain[k][0]) / span, 3) for k in ("baseline", "default")},
        }  # fmt: skip
    return out


def cross_validation(pool: ProcessPoolExecutor, runs: int, seed: int) -> dict[str, Any]:
    """What is chosen without a log, or without a half of time, and how it does there against the baseline."""
    grid = [dict(zip(GRID, values, strict=True)) for values in product(*GRID.values())]
    default = POLICIES["default"]
    chosen_on = [1000 + seed + i for i in range(runs)]
    tasks = [[[pool.submit(halves, n, s, replace(default, **g)) for s in chosen_on] for n in FOUR] for g in grid]
    cells = np.log([[[f.result() for f in one] for one in of] for of in tasks]).mean(axis=2)  # [grid, log, half]
    whole = np.log(np.exp(cells).mean(axis=2))
    all_logs = int(whole.mean(axis=1).argmin())
    folds: dict[str, tuple[int, dict[str, int | None]]] = {}
    for i, name in enumerate(FOUR):
        best = int(np.delete(whole, i, axis=1).mean(axis=1).argmin())
        folds[f"without {name}"] = best, {name: None}
    for half, word in enumerate(("first", "second")):
        best = int(cells[:, :, half].mean(axis=1).argmin())
        folds[f"from the {word} half"] = best, dict.fromkeys(FOUR, 1 - half)
    judged_by = [2000 + seed + i for i in range(HELD_BACK)]
    needed = {(n, b) for b, where in folds.values() for n in where} | {(n, None) for n in FOUR}
    held = {
        (n, b): [pool.submit(halves, n, s, None if b is None else replace(default, **grid[b])) for s in judged_by]
        for n, b in needed
    }
    out: dict[str, Any] = {
        "candidates": len(grid),
        "seeds_of_choice": chosen_on,
        "seeds_of_judgement": judged_by,
        "chosen_on_all": grid[all_logs],
        "folds": {},
    }
    for fold, (b, where) in folds.items():
        ratios = {}
        for name, half in where.items():
            mine, theirs = (
                np.median([np.mean(r) if half is None else r[half] for r in (f.result() for f in held[name, k])])
                for k in (b, None)
            )
            ratios[name] = round(float(mine / theirs), 3)
        out["folds"][fold] = {"chosen": grid[b], "ratio_to_baseline": ratios}
    apart = [r for f in folds if f.startswith("without") for r in out["folds"][f]["ratio_to_baseline"].values()]
    out["unseen_logs_geometric_mean_ratio"] = round(geometric_mean(apart), 3)
    for word in ("first", "second"):
        found = out["folds"][f"from the {word} half"]["ratio_to_baseline"].values()
        out[f"from_{word}_half_geometric_mean_ratio"] = round(geometric_mean(list(found)), 3)
    return out


def window_means(name: str) -> dict[str, float]:
    parts = windows(traces(), name)
    contenders = {"easy": easy, "baseline": baseline, "default": lambda log: scheduled(log, POLICIES["default"])}
    found = {k: float(np.mean([slowdowns(w, f(w)).mean() for w in parts])) for k, f in contenders.items()}
    oracle = round(float(np.mean([slowdowns(w, fcfs(w)).mean() for w in parts])), 2)
    assert oracle == FCFS_NO_BACKFILL[name], f"{name}: FCFS gives {oracle}, published is {FCFS_NO_BACKFILL[name]}"
    return {
        "fcfs_no_backfill": oracle,
        **{k: round(v, 2) for k, v in found.items()},
        "published_rl": PUBLISHED_RL[name],
    }


def measure(runs: int, seed: int, grid_runs: int) -> dict[str, Any]:
    traces()
    load()  # compiled once, kept for the processes below
    seeds = [seed + i for i in range(runs)]
    print(f"quality: shaken by seeds {seeds[0]} to {seeds[-1]}", file=sys.stderr, flush=True)
    with ProcessPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        rl = {name: pool.submit(window_means, name) for name in FILES}
        logs = four_logs(pool, seeds)
        ratios = [v["ratio"] for v in logs.values()]
        report: dict[str, Any] = {
            "benchmark": "quality",
            "seeds": seeds,
            "logs": logs,
            "geometric_mean_ratio": round(geometric_mean(ratios), 3),
            "worst_ratio": max(ratios),
            "rlscheduler_windows": {k: f.result() for k, f in rl.items()},
        }
        won = sum(v["default"] < v["published_rl"] for v in report["rlscheduler_windows"].values())
        report["windows_better_than_published"] = won
        if grid_runs:
            report["cross_validation"] = cross_validation(pool, grid_runs, seed)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--grid-runs", type=int, default=1)
    args = parser.parse_args()
    found = measure(args.runs, args.seed, args.grid_runs)
    print(json.dumps({"calibration": calibrate(), **found}, indent=1))


if __name__ == "__main__":
    main()

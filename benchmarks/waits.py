"""Forecasts of waits on the later half of each log, learned online, beside the plain forward run; and run times beside last-2.

KTH, SDSC-SP2, HPC2N and CTC by convention K under EASY with user estimates. Nothing was fitted to a log: the table begins with the
constants that placement had before (`forecasts.cold`), and its steps are the same everywhere.

    TIDEGRID_TRACES=DIR python -m benchmarks.waits
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.quality_logs import Log, read_four

from tidegrid.scheduling.kernel import layout
from tidegrid.scheduling.kernel.build import build, rows, table
from tidegrid.scheduling.kernel.compiled import load
from tidegrid.scheduling.kernel.policy import Policy
from tidegrid.scheduling.network import POLICIES
from tidegrid.simulation.forecasting import judged, told
from tidegrid.simulation.network import NetworkJobs, Site, simulate


def waits(log: Log) -> dict[str, Any]:
    jobs = NetworkJobs(log.submit, log.estimate, log.run, log.need, np.zeros(len(log), np.int64))
    run = simulate(jobs, [Site(log.name, [log.processors])], POLICIES["home"], forecasts=True)
    assert run.said is not None
    wait = run.start - log.submit
    soon, p50, p90, version = told(log.submit, wait, run.said)
    held = slice(len(log) // 2, len(log))
    scores = judged(wait[held], run.said[held], soon[held], p50[held], p90[held])
    return {k: round(v, 4) for k, v in scores.items()} | {"table": version}


def run_times(log: Log, predictor: str) -> dict[str, float]:
    """Of the time that jobs of the later half were planned with when they came."""
    told = table(log.submit, log.estimate, log.run, log.need, log.user)
    state = build(told, np.array([[log.processors]]), [Policy(predictor=predictor)], users=int(log.user.max()) + 1, compiled=True)
    load().replay(state, 0, 0, len(log))
    held = slice(len(log) // 2, len(log))
    planned, run = rows(state)[held, layout.PLANNED], log.run[held]
    return {
        "mean_error_s": round(float(np.abs(planned - run).mean()), 1), "median_error_s": float(np.median(np.abs(planned - run))),
        "mean_accuracy": round(float((np.minimum(planned, run) / np.maximum(np.maximum(planned, run), 1)).mean()), 4),
        "too_short": round(float((planned < run).mean()), 4),
    }  # fmt: skip


def main() -> None:
    folder = os.environ.get("TIDEGRID_TRACES")
    if not folder:
        print(json.dumps({"skipped": "TIDEGRID_TRACES is not set: no logs"}))
        return
    out: dict[str, Any] = {}
    for log in read_four(Path(folder)):
        out[log.name] = {"waits": waits(log), "run times": {p: run_times(log, p) for p in ("estimate", "last2", "alike")}}
        print(log.name, json.dumps(out[log.name]), file=sys.stderr, flush=True)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()

"""One log through one policy, from the file to the figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid.domain.errors import InvalidInput
from tidegrid.lab import logs, replaying
from tidegrid.scheduling.kernel.policy import Policy
from tidegrid.simulation.digest import figures
from tidegrid.simulation.traces.trace import Trace, convention_k

Window = tuple[int, int]  # first job, how many


def simulate(path: Path, policy: Policy, *, processors: int | None = None, kill: bool = True, windows: Sequence[Window] = (),
             repair: bool = False) -> dict[str, Any]:  # fmt: skip
    """Figures of the log's jobs under convention K on a machine of `processors` (the log's, where None); seconds, and `seconds` of
    this machine's time from the file to here. kill: a job ends at its estimate. windows: parts of the log, each from an empty
    machine; then the figures are the means over them.

    Raises NotFound, and InvalidInput as the readers do, `simulate.empty` where no job is left, `simulate.window` where a window is not in the log.
    """
    began = time.perf_counter()
    trace = logs.load(path, repair=repair, processors=processors)
    jobs = convention_k(trace, processors, cut=kill)
    if not len(jobs):
        raise InvalidInput("simulate.empty", f"{path}: none of its {len(trace)} jobs has a known run time and fits a machine of {jobs.header.processors} processors",
                           hint="see `tide trace info`, or give --processors")  # fmt: skip
    parts = [_part(path, jobs, window) for window in windows] or [jobs]
    kernel, found = 0.0, []
    for part in parts:
        done, took = replaying.schedule(part, policy)
        found.append(figures(done))
        kernel += took
    mean: dict[str, Any] = {name: float(np.mean([f[name] for f in found])) for name in found[0]}
    mean["jobs"] = sum(int(f["jobs"]) for f in found)
    if windows:
        mean["windows"] = len(windows)
    return {
        "processors": int(jobs.header.processors or 0), **mean, "dropped": len(trace) - len(jobs), "repairs": dict(trace.repairs),
        "seconds": round(time.perf_counter() - began, 6), "kernel_seconds": round(kernel, 6), "compiled": replaying.compiled() is not None,
    }  # fmt: skip


def _part(path: Path, jobs: Trace, window: Window) -> Trace:
    first, count = window
    if first + count > len(jobs):
        raise InvalidInput("simulate.window", f"{path}: window {first}:{count} goes beyond its {len(jobs)} jobs", hint="give windows within the log")
    return jobs.take(slice(first, first + count))

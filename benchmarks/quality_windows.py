"""The windows of RLScheduler (Zhang et al., SC'20): 10 x 1,024 jobs from an empty machine, and what was published on them.

They are read as the published code reads them, not by convention K: run time as logged (jobs of 0 s are left out, it is not cut at
the estimate), processors the larger of allocated and requested, order by job number, the first 10,000 jobs of the real logs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benchmarks.quality_logs import ALLOCATED, ESTIMATE, REQUESTED, RUN, USER, Ints, Log, rows_of

FILES = {
    "Lublin-1": ("lublin_256", 256),
    "SDSC-SP2": ("SDSC-SP2-1998-4.2-cln", 128),
    "HPC2N": ("HPC2N-2002-2.2-cln", 240),
    "Lublin-2": ("lublin_256_new2", 256),
}
STARTS = (1981, 2756, 4299, 8850, 3316, 2714, 5228, 7762, 4022, 7085)
"""First job of each window: seed 1 of the published code."""
JOBS, SLICE = 1024, 10_000
PUBLISHED_RL = {"Lublin-1": 58.64, "SDSC-SP2": 397.82, "HPC2N": 86.14, "Lublin-2": 118.79}
"""Mean bounded slowdown of the published learned policy with backfill."""
FCFS_NO_BACKFILL = {"Lublin-1": 7273.77, "SDSC-SP2": 1727.54, "HPC2N": 297.18, "Lublin-2": 7842.47}
"""Published too, and an oracle of the reading: `fcfs` gives the same to two decimals."""


def windows(folder: Path, name: str) -> list[Log]:
    """The ten windows of a log."""
    file, processors = FILES[name]
    rows = rows_of(folder / "swf" / f"{file}.swf.gz")
    run = np.where(rows[:, RUN] < 0, 10, rows[:, RUN])
    need = np.maximum(rows[:, ALLOCATED], rows[:, REQUESTED])
    estimate = np.where(rows[:, ESTIMATE] == -1, run, rows[:, ESTIMATE])
    keep = (run > 0) & (need > 0)
    rows, run, need, estimate = rows[keep][:SLICE], run[keep][:SLICE], need[keep][:SLICE], estimate[keep][:SLICE]
    users, index = np.unique(rows[:, USER], return_inverse=True)
    user = np.where(users[index] < 0, -1, index)
    log = Log(name, processors, rows[:, 1], run, estimate, need, user)
    return [log.part(np.arange(first, first + JOBS)) for first in STARTS]


def fcfs(log: Log) -> Ints:
    """Start times, int64[J], in order of submission without backfill."""
    start = np.empty(len(log), np.int64)
    ends = np.zeros(log.processors, np.int64)  # when each processor is free, ascending
    before = 0
    for j, n in enumerate(log.need):
        before = max(int(ends[n - 1]), int(log.submit[j]), before)
        start[j] = before
        ends[:n] = before + log.run[j]
        ends.sort()
    return start

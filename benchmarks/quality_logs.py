"""Logs for the quality benchmark, read by convention K and shaken; independent of the product's own reader.

Convention K: processors = requested where positive, else allocated; kept are jobs that ran with 0 < processors <= N; estimate =
requested time where positive, else run time; run time is cut at the estimate; stable order by submission; t0 = first submission.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

FOUR = {
    "KTH": ("KTH-SP2-1996-2.1-cln", 100),
    "SDSC-SP2": ("SDSC-SP2-1998-4.2-cln", 128),
    "HPC2N": ("HPC2N-2002-2.2-cln", 240),
    "CTC": ("CTC-SP2-1996-3.1-cln", 338),
}
"""File and processors of the logs that have users' estimates."""
RUN, ALLOCATED, REQUESTED, ESTIMATE, USER = 3, 4, 7, 8, 11
"""Columns of the Standard Workload Format, from 0."""


@dataclass(frozen=True, eq=False)
class Log:
    """Jobs in order of submission, int64 each: submit, run and estimate in seconds, processors, user (an index from 0, -1 where
    the log does not say)."""

    name: str
    processors: int
    submit: Ints
    run: Ints
    estimate: Ints
    need: Ints
    user: Ints

    def __len__(self) -> int:
        return len(self.submit)

    def shaken(self, seed: int, most_s: int = 300) -> Log:
        """Every submission moved by a whole number of seconds from -most_s to most_s, uniformly."""
        moved = self.submit + np.random.default_rng(seed).integers(-most_s, most_s, len(self), endpoint=True)
        return self.part(np.argsort(moved, kind="stable"), moved)

    def half(self, which: int) -> Log:
        """The first (0) or second (1) half of the jobs."""
        middle = len(self) // 2
        return self.part(np.arange(middle) if which == 0 else np.arange(middle, len(self)))

    def part(self, rows: Ints, submit: Ints | None = None) -> Log:
        times = (self.submit if submit is None else submit)[rows]
        return replace(
            self,
            submit=times - times[0],
            run=self.run[rows],
            estimate=self.estimate[rows],
            need=self.need[rows],
            user=self.user[rows],
        )


def rows_of(path: Path) -> Ints:
    """Every job line of a gzipped log, int64[J,18]; fractions of seconds are cut."""
    with gzip.open(path, "rt", errors="replace") as lines:
        table = [line.split()[:18] for line in lines if line.strip() and not line.startswith(";")]
    return np.array(table, np.float64).astype(np.int64)


def read(name: str, path: Path, processors: int) -> Log:
    """A log by convention K."""
    rows = rows_of(path)
    need = np.where(rows[:, REQUESTED] > 0, rows[:, REQUESTED], rows[:, ALLOCATED])
    keep = (rows[:, RUN] >= 0) & (need > 0) & (need <= processors)
    rows, need = rows[keep], need[keep]
    order = np.argsort(rows[:, 1], kind="stable")
    rows, need = rows[order], need[order]
    estimate = np.where(rows[:, ESTIMATE] > 0, rows[:, ESTIMATE], rows[:, RUN])
    users, index = np.unique(rows[:, USER], return_inverse=True)
    user = np.where(users[index] < 0, -1, index)
    submit = rows[:, 1] - rows[0, 1]
    return Log(name, processors, submit, np.minimum(rows[:, RUN], estimate), estimate, need, user)


def read_four(folder: Path) -> list[Log]:
    """KTH, SDSC-SP2, HPC2N and CTC from a folder of traces."""
    return [read(name, folder / "swf" / f"{file}.swf.gz", n) for name, (file, n) in FOUR.items()]

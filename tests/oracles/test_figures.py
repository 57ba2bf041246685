"""Figures that several independent simulators agree on: first come first served without kill, and EASY by estimates."""

from __future__ import annotations

import numpy as np
import pytest
from tests.oracles.replay import of_jobs, of_log, trace

from tidegrid.lab import logs

WINDOW_STARTS = (1981, 2756, 4299, 8850, 3316, 2714, 5228, 7762, 4022, 7085)


@pytest.mark.parametrize(
    ("log", "processors", "mean_wait"),
    [("SDSC-SP2-1998-4.2-cln", 128, 1_552_128), ("HPC2N-2002-2.2-cln", 240, 16_189), ("CTC-SP2-1996-3.1-cln", 512, 6_183)],
)
def test_first_come_first_served_without_kill(log: str, processors: int, mean_wait: int):
    assert round(of_log(log, "fcfs", processors=processors, kill=False)["mean_wait"]) == mean_wait


@pytest.mark.parametrize(
    ("log", "mean_wait", "slowdown", "digits"),
    [
        ("SDSC-SP2-1998-4.2-cln", 20_572, 88.53, 2),
        ("HPC2N-2002-2.2-cln", 10_801, 89.0, 1),
        ("CTC-SP2-1996-3.1-cln", 13_943, 49.2, 1),
        ("KTH-SP2-1996-2.1-cln", 6_837, 92.9, 1),
    ],
)
def test_easy_by_estimates(log: str, mean_wait: int, slowdown: float, digits: int):
    found = of_log(log, "easy")
    assert round(found["mean_wait"]) == mean_wait
    assert round(found["mean_bounded_slowdown"], digits) == slowdown
    if log.startswith("SDSC"):
        assert round(found["utilisation"], 4) == 0.8245


@pytest.mark.parametrize(
    ("log", "processors", "slowdown"),
    [
        ("lublin_256", 256, 7273.77),
        ("SDSC-SP2-1998-4.2-cln", 128, 1727.54),
        ("HPC2N-2002-2.2-cln", 240, 297.18),
        ("lublin_256_new2", 256, 7842.47),
    ],
)
def test_the_published_windows_of_rlscheduler_first_come_first_served(log: str, processors: int, slowdown: float):
    """As that code reads a log: run times as logged, those of 0 s left out; the larger of allocated and requested processors."""
    t = logs.load(trace(f"swf/{log}.swf.gz"))
    run = np.where(t.run < 0, 10, t.run)
    need = np.maximum(t.allocated, t.requested)
    estimate = np.where(t.estimate < 0, run, t.estimate)
    keep = np.flatnonzero((run > 0) & (need > 0))[:10_000]
    means = []
    for first in WINDOW_STARTS:
        rows = keep[first : first + 1024]
        means.append(of_jobs("fcfs", processors, t.submit[rows], run[rows], need[rows], estimate[rows]).slowdown.mean())
    assert round(float(np.mean(means)), 2) == slowdown

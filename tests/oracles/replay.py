"""A small event loop over `start_now`, and a reader of the Standard Workload Format: what the oracles here share."""

from __future__ import annotations

import gzip
import heapq
import os
from pathlib import Path

import numpy as np
import pytest

from tidegrid.scheduling.queue import start_now


def trace(name: str) -> Path:
    """A file below TIDEGRID_TRACES; skips the test where there is none."""
    root = os.environ.get("TIDEGRID_TRACES")
    if not root:
        pytest.skip("TIDEGRID_TRACES is not set: no stored schedules to compare with")
    path = Path(root) / name
    if not path.exists():
        pytest.skip(f"{name} is not below TIDEGRID_TRACES")
    return path


def read_swf(path: Path) -> np.ndarray:
    """int64[N,18], the fields of the format; header lines are left out."""
    with gzip.open(path, "rt", encoding="latin-1") as lines:
        return np.array([[float(x) for x in line.split()] for line in lines if line[0] != ";"]).astype(np.int64)


def replay(
    policy: str, processors: int, submit: np.ndarray, run: np.ndarray, need: np.ndarray, estimate: np.ndarray
) -> np.ndarray:
    """Starts int64[N]. At one instant: all ends, then all submissions, then one step of the queue."""
    order = np.argsort(submit, kind="stable")
    starts = np.full(len(submit), -1, np.int64)
    free, nxt, queue = processors, 0, np.empty(0, np.int64)
    running: list[tuple[int, int]] = []  # (end, job)
    while nxt < len(order) or running:
        now = min(int(submit[order[nxt]]) if nxt < len(order) else 1 << 60, running[0][0] if running else 1 << 60)
        while running and running[0][0] == now:
            free += int(need[heapq.heappop(running)[1]])
        came = nxt
        while nxt < len(order) and submit[order[nxt]] == now:
            nxt += 1
        queue = np.concatenate((queue, order[came:nxt]))
        if not len(queue):
            continue
        held = np.array([job for _, job in running], np.int64)
        picked = start_now(
            policy,
            now,
            np.array([free]),
            starts[held] + estimate[held],
            need[held, None],
            need[queue, None],
            estimate[queue],
        )
        for job in queue[picked]:
            starts[job] = now
            free -= int(need[job])
            heapq.heappush(running, (now + int(run[job]), int(job)))
        queue = np.delete(queue, picked)
    return starts

"""What this machine is worth, printed beside every benchmark: figures of two machines compare only through it."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np


def calibrate() -> dict[str, Any]:
    """python_mops: loop additions a second in millions; numpy_gbps: bytes read and written by `a += b` outside the caches;
    numpy_small_us: one operation on 1,000 float64; best of several, about half a second in all."""
    return {
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "cpus": len(os.sched_getaffinity(0)),
        "python_mops": round(max(_loop() for _ in range(5)), 1),
        "numpy_gbps": round(max(_stream() for _ in range(5)), 1),
        "numpy_small_us": round(min(_small() for _ in range(5)), 2),
    }


def _loop(n: int = 500_000) -> float:
    start, total = time.perf_counter(), 0
    for i in range(n):
        total += i
    return n / (time.perf_counter() - start) / 1e6


def _stream(n: int = 4_000_000) -> float:
    a, b = np.zeros(n), np.ones(n)
    start = time.perf_counter()
    a += b
    return 3 * a.nbytes / (time.perf_counter() - start) / 1e9


def _small(n: int = 5_000) -> float:
    a, b = np.zeros(1000), np.ones(1000)
    start = time.perf_counter()
    for _ in range(n):
        np.add(a, b, out=a)
    return (time.perf_counter() - start) / n * 1e6


if __name__ == "__main__":
    print(json.dumps({"calibration": calibrate()}))

"""Reading a log, from the packed file to arrays under convention K, beside numpy's own readers of text; and generating logs.

The log is HPC2N's where TIDEGRID_TRACES names the logs' directory, else a generated one of as many jobs. Median of several, CPU seconds of this process beside
wall time, as reading is done by one core. The network of ten million jobs is streamed in a process of its own, whose memory is told.

    python -m benchmarks.traces [--jobs N]
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.calibration import calibrate

from tidegrid.simulation.traces import convention_k, lublin, read_swf, write_swf
from tidegrid.simulation.traces.worldwide import network


def log_bytes() -> tuple[str, bytes]:
    where = os.environ.get("TIDEGRID_TRACES")
    if where:
        return "HPC2N-2002-2.2-cln", (Path(where) / "swf" / "HPC2N-2002-2.2-cln.swf.gz").read_bytes()
    return "generated", gzip.compress(write_swf(lublin.generate(np.random.default_rng(1), 202_871, 240, 0.6)))


def loadtxt(data: bytes) -> int:
    """numpy.loadtxt, the plain way to read a table of numbers."""
    return len(np.loadtxt(io.BytesIO(gzip.decompress(data)), comments=";"))


def fromstring(data: bytes) -> int:
    """numpy.fromstring over the text without its comments: numpy's fastest, which says nothing of lines."""
    text = b"\n".join(line for line in gzip.decompress(data).split(b"\n") if not line.startswith(b";"))
    return np.fromstring(text, sep=" ").size // 18


def ours(data: bytes) -> int:
    return len(convention_k(read_swf(data), 240))


def timed(work: Callable[[bytes], int], data: bytes, times: int) -> dict[str, float]:
    wall, cpu, jobs = [], [], work(data)
    for _ in range(times):
        w, c = time.perf_counter(), time.process_time()
        work(data)
        wall.append(time.perf_counter() - w)
        cpu.append(time.process_time() - c)
    return {"jobs": jobs, "wall_s": round(statistics.median(wall), 3), "cpu_s": round(statistics.median(cpu), 3), "jobs_a_cpu_second": round(jobs / statistics.median(cpu))}


def stream(jobs: int) -> dict[str, Any]:
    """Ten million jobs over 1,000 partitions, a chunk at a time, in this process."""
    began, cpu = time.perf_counter(), time.process_time()
    plan, chunks = network(1, jobs, 1024 * 1000, 0.7, partitions=1000)
    count = sum(len(c) for c in chunks)
    return {"jobs": count, "partitions": len(plan.groups), "wall_s": round(time.perf_counter() - began, 2), "cpu_s": round(time.process_time() - cpu, 2),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000_000, help="of the streamed network")
    parser.add_argument("--stream", action="store_true", help="only that, in this process")
    args = parser.parse_args()
    if args.stream:
        print(json.dumps(stream(args.jobs)))
        return
    name, data = log_bytes()
    read = timed(ours, data, 7)
    peers = {"numpy_loadtxt": timed(loadtxt, data, 3), "numpy_fromstring": timed(fromstring, data, 3)}
    began = time.process_time()
    made = lublin.generate(np.random.default_rng(1), 400_000, 8192, 0.9)
    generated = {"jobs": len(made), "processors": 8192, "cpu_s": round(time.process_time() - began, 2)}
    done = subprocess.run([sys.executable, "-m", "benchmarks.traces", "--stream", "--jobs", str(args.jobs)], stdout=subprocess.PIPE, text=True, check=True)
    print(json.dumps({
        "calibration": calibrate(), "log": name, "read": read, "peers": peers,
        "times_faster_than": {peer: round(found["cpu_s"] / read["cpu_s"], 1) for peer, found in peers.items()},
        "generated_lublin": generated, "streamed_network": json.loads(done.stdout),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()

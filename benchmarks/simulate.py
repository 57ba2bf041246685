"""The queue kernel: jobs a second compiled, as plain Python, and beside a plain backfill scan through numba; a log from file to figures.

The scan and the kernel run the same jobs in turn; the best of some rounds counts, in CPU seconds of the process. `--large` replays ten million
generated jobs over 1,000 partitions and tells the peak of memory. `--accasim PYTHON`, or TIDEGRID_ACCASIM, names the Python of an
environment in which AccaSim 1.1.3 is installed (`pip install accasim==1.1.3`): it then simulates the first 10,000 jobs of SDSC-SP2 under EASY, from the file on, and
so does `tide simulate`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from benchmarks import plain_easy
from benchmarks.calibration import calibrate

from tidegrid.lab import replaying, simulating
from tidegrid.scheduling.kernel import build, replay
from tidegrid.scheduling.kernel.policy import POLICIES, Policy
from tidegrid.simulation.traces import lublin
from tidegrid.simulation.traces.trace import Header, Trace, convention_k
from tidegrid.simulation.traces.trace import build as make_trace

HPC2N = ("HPC2N-2002-2.2-cln.swf.gz", 240)
JOBS, PROCESSORS, LOAD = 400_000, 8_192, 0.9
BAGS = 400_000
PLAIN_JOBS = 20_000
PARTITIONS, LARGE = 1_000, 10_000_000
SDSC, ACCASIM_JOBS = ("SDSC-SP2-1998-4.2-cln.swf.gz", 128), 10_000


def best(rounds: int, make: Callable[[], Any], run: Callable[[Any], Any]) -> tuple[float, Any]:
    """(CPU seconds of the fastest round, what it gave); what `make` gives is not timed."""
    fastest, out = float("inf"), None
    for _ in range(rounds):
        made = make()
        began = time.process_time()
        out = run(made)
        fastest = min(fastest, time.process_time() - began)
    return fastest, out


def against_scan(jobs: Trace, processors: int, rounds: int) -> dict[str, Any]:
    """EASY of both on the same jobs, whose starts must be equal."""
    kernel, scan = replaying.compiled(), numba.njit(plain_easy.easy, error_model="numpy")
    columns = [np.ascontiguousarray(c) for c in (jobs.submit, jobs.run, jobs.processors, jobs.estimate)]
    scan(*[c[:100] for c in columns], processors)
    table = build.table(jobs.submit, jobs.estimate, jobs.run, jobs.processors)

    def make(policy: Policy = POLICIES["easy"]) -> Any:
        return build.build(table.copy(), np.array([[processors]]), [policy], compiled=True)

    def through(state: Any) -> Any:
        kernel.replay(state, 0, 0, len(jobs))
        return build.starts(state)

    kernel_s, ours = best(rounds, make, through)
    scan_s, theirs = best(max(1, rounds // 2), lambda: None, lambda _: scan(*columns, processors))
    differ = int((ours != theirs).sum())
    return {
        "jobs": len(jobs), "kernel_jobs_per_s": round(len(jobs) / kernel_s), "scan_jobs_per_s": round(len(jobs) / scan_s),
        "kernel_over_scan": round(scan_s / kernel_s, 2), "starts_that_differ": differ,
    }  # fmt: skip


def bags(rng: np.random.Generator, jobs: int, processors: int, load: float) -> Trace:
    """Jobs that come in bags of alike ones, most of them small, as on machines that are used for parameter studies: long queues."""
    size = np.minimum(rng.geometric(1 / 150, jobs // 50), 2_000)
    bag = np.repeat(np.arange(len(size)), size)[:jobs]
    need = (2 ** rng.integers(0, 8, len(size)))[bag]
    estimate = (rng.choice([1, 2, 4, 8, 12, 24, 48, 72], len(size)) * 3600)[bag]
    run = np.maximum(1, estimate * rng.beta(0.8, 2.5, jobs)).astype(np.int64)
    come = np.cumsum(rng.exponential(1.0, len(size)))[bag]
    span = float((run * need).sum()) / (processors * load)
    return make_trace((come / come[-1] * span).astype(np.int64), run, requested=need, estimate=estimate, header=Header(processors=processors))


def plain_path(jobs: Trace, processors: int) -> dict[str, Any]:
    """The same source as it is, over lists."""
    some = jobs.take(slice(0, PLAIN_JOBS))
    table = build.table(some.submit, some.estimate, some.run, some.processors)
    seconds, _ = best(1, lambda: build.build(table, np.array([[processors]]), [POLICIES["easy"]]), lambda s: replay.replay(s, 0, 0, len(some)))
    return {"jobs": len(some), "jobs_per_s": round(len(some) / seconds)}


def against_accasim(python: str, folder: Path) -> dict[str, Any]:
    """Both from a file with the same rows to each job's start."""
    name, processors = SDSC
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log.swf")
        with gzip.open(folder / name, "rt") as rows, log.open("w") as out:
            kept = 0
            for row in rows:
                kept += not row.startswith(";")
                if kept <= ACCASIM_JOBS:
                    out.write(row)
        script = shutil.copy(Path(__file__).with_name("accasim_peer.py"), directory)  # AccaSim writes beside it
        done = subprocess.run([python, script, str(log), str(processors)], cwd=directory, capture_output=True, text=True)
        if done.returncode:
            return {"failed": done.stderr.strip().splitlines()[-1:]}
        theirs = json.loads(done.stdout.splitlines()[-1])["seconds"]
        ours, _ = best(3, lambda: None, lambda _: simulating.simulate(log, POLICIES["easy"], processors=processors))
    return {"jobs": ACCASIM_JOBS, "accasim_jobs_per_s": round(ACCASIM_JOBS / theirs), "jobs_per_s": round(ACCASIM_JOBS / ours),
            "over_accasim": round(theirs / ours)}  # fmt: skip


def large() -> dict[str, Any]:
    """Ten million jobs, a partition after the other: their machines do not meet."""
    kernel, each, took, waits = replaying.compiled(), LARGE // PARTITIONS, 0.0, 0.0
    for p in range(PARTITIONS):
        rng = np.random.default_rng(p)
        n = int(rng.integers(128, 2048))
        jobs = lublin.generate(rng, each, n, LOAD)
        table = build.table(jobs.submit, jobs.estimate, jobs.run, jobs.processors)
        state = build.build(table, np.array([[n]]), [POLICIES["easy"]], compiled=True)
        began = time.process_time()
        kernel.replay(state, 0, 0, each)
        took += time.process_time() - began
        waits += float((build.starts(state) - jobs.submit).sum())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"jobs": each * PARTITIONS, "partitions": PARTITIONS, "jobs_per_s": round(LARGE / took), "mean_wait_s": round(waits / LARGE), "peak_rss_mib": round(peak)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="ten million jobs over 1,000 partitions too")
    parser.add_argument("--accasim", metavar="PYTHON", default=os.environ.get("TIDEGRID_ACCASIM", ""), help="of an environment with AccaSim 1.1.3 [TIDEGRID_ACCASIM]")
    args = parser.parse_args()
    found: dict[str, Any] = {"clock": "CPU seconds of this process"}
    root = os.environ.get("TIDEGRID_TRACES")
    log = Path(root or "", "swf", HPC2N[0])
    if replaying.compiled() is None:
        sys.exit("numba is not installed: nothing to measure")
    if root and log.exists():
        from tidegrid.lab import logs

        jobs = convention_k(logs.load(log), HPC2N[1])
        found["hpc2n"] = against_scan(jobs, HPC2N[1], 6)
        found["hpc2n_plain_python"] = plain_path(jobs, HPC2N[1])
        seconds, _ = best(3, lambda: None, lambda _: simulating.simulate(log, POLICIES["easy"], processors=HPC2N[1]))
        found["hpc2n_file_to_figures_s"] = round(seconds, 3)
    else:
        print("bench: HPC2N left out: TIDEGRID_TRACES names no folder that has it", file=sys.stderr)
    made = convention_k(lublin.generate(np.random.default_rng(1), JOBS, PROCESSORS, LOAD), PROCESSORS)
    found["generated_lublin"] = {"processors": PROCESSORS, "load": LOAD, **against_scan(made, PROCESSORS, 2)}
    made = convention_k(bags(np.random.default_rng(1), BAGS, PROCESSORS, LOAD), PROCESSORS)
    found["generated_bags"] = {"processors": PROCESSORS, "load": LOAD, **against_scan(made, PROCESSORS, 2)}
    if root and args.accasim:
        found["accasim"] = against_accasim(args.accasim, log.parent)
    else:
        print("bench: no --accasim (or no TIDEGRID_TRACES): no figure of AccaSim", file=sys.stderr)
    if args.large:
        found["large"] = large()
    found["calibration"] = calibrate()
    print(json.dumps(found))


if __name__ == "__main__":
    main()

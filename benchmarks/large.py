"""Ten million generated jobs on a network of a thousand partitions: seconds from arrays to starts, and the process's peak memory.

Sites of one partition each, as in `benchmarks.network`, load 0.9, EASY at the sites; each job is sent at submission by the named policy
of the broker. Ratio: peak memory over what the jobs' own columns take, which any simulator has to hold.

    python -m benchmarks.large [--jobs 10000000] [--partitions 1000] [--policy two-choices]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

from benchmarks.calibration import calibrate
from benchmarks.network import generated

from tidegrid.scheduling.network import POLICIES
from tidegrid.simulation.network import NetworkJobs, simulate

MIB = 1 << 20


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000_000)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--policy", choices=sorted(POLICIES), default="two-choices")
    args = parser.parse_args()
    machine = calibrate()
    began = time.perf_counter()
    jobs, sites = generated(args.partitions, args.jobs, 0.9)
    columns = (jobs.submit, jobs.estimate, jobs.run, jobs.need, jobs.home)
    own = sum(c.nbytes for c in columns) / MIB
    print(f"large: {args.jobs:,} jobs made in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    simulate(NetworkJobs(*(c[:1000] for c in columns)), sites, POLICIES[args.policy])  # compiled, or taken from the cache
    made, t = peak_mib(), time.perf_counter()
    run = simulate(jobs, sites, POLICIES[args.policy])
    seconds = time.perf_counter() - t
    wait = run.start - jobs.submit
    assert (wait >= 0).all() and (run.site >= 0).all()
    print(json.dumps({
        "calibration": machine, "jobs": args.jobs, "partitions": args.partitions, "policy": args.policy, "seconds": round(seconds, 1),
        "jobs_per_s": round(args.jobs / seconds), "mean_wait_s": round(float(wait.mean())), "columns_mib": round(own),
        "peak_making_mib": round(made), "peak_mib": round(peak_mib()), "peak_ratio": round(peak_mib() / own, 2),
    }))  # fmt: skip


if __name__ == "__main__":
    main()

"""Runs jobs of two applications on four partitions, one job at a time, and records what each took.

    python -m benchmarks.runs.record FILE.csv [--jobs 520] [--seed 4] [--from 0] [--until 520] [--append]

The partitions are of this machine, and really differ: `native` has one core and all its instructions; `sse` the same core with
the kernels that OpenBLAS and numpy have for machines without AVX; `half` the core for half of the time, by a CPU quota; `duo` two
cores. Where it may (root, cgroup v1 of Linux) the jobs run in a control group that goes before all others, so that a run takes as
long as it would on a node of its own; elsewhere the machine has to be quiet, and `half` is left out where there is no quota.

Wall times are asked for as people ask (Mu'alem and Feitelson, IEEE TPDS 12, 2001): a guess 2 to 10 times too long, rounded up to
one of a few values.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid import apps

MD = Path(apps.__file__).with_name("md_lj.py")
SOLVE = Path(__file__).with_name("dense_solve.py")
GROUP = Path("/sys/fs/cgroup/cpu")
COLUMNS = (
    "seq", "app", "partition", "cores", "cells", "steps", "density", "temperature", "n", "repeats", "precision", "seed",
    "wall_s", "run_s", "cpu_s", "queued_s", "peak_mib",
)  # fmt: skip
ASKED = (5, 10, 20, 30, 60, 120, 300, 600)
NO_AVX = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"}


@dataclass(frozen=True)
class Place:
    cores: int = 1
    env: Mapping[str, str] | None = None
    quota: float = 0.0  # of a core; 0: no limit


PLACES = {"native": Place(), "sse": Place(env=NO_AVX), "half": Place(quota=0.5), "duo": Place(cores=2)}


def jobs(n: int, seed: int, places: list[str]) -> Iterator[dict[str, Any]]:
    """The stream: the same for the same arguments."""
    rng = np.random.default_rng(seed)
    for seq in range(n):
        row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
        where = places[int(rng.integers(len(places)))]
        row |= {"seq": seq, "partition": where, "cores": PLACES[where].cores, "seed": int(rng.integers(1, 1000))}
        if rng.random() < 0.5:
            cells = int(rng.integers(4, 9))
            atoms = 4 * cells**3
            steps = max(10, int(np.exp(rng.uniform(np.log(3e4), np.log(1e6))) / atoms))
            row |= {"app": "md-lj", "cells": cells, "steps": steps, "density": round(float(rng.uniform(0.5, 0.9)), 3),
                    "temperature": round(float(rng.uniform(0.5, 1.5)), 3)}  # fmt: skip
            guess = 0.3 + 5e-6 * atoms * steps
        else:
            n_ = int(np.exp(rng.uniform(np.log(400), np.log(2000))))
            repeats = 1 + int(np.exp(rng.uniform(np.log(2e9), np.log(6e10))) / n_**3)
            row |= {"app": "dense-solve", "n": n_, "repeats": repeats, "precision": ("double", "single")[int(rng.integers(2))]}
            guess = 0.3 + 5e-11 * n_**3 * repeats
        wanted = guess * float(rng.uniform(2, 10))
        row["wall_s"] = next((a for a in ASKED if a >= wanted), ASKED[-1])
        yield row


def command(row: Mapping[str, Any]) -> list[str]:
    if row["app"] == "md-lj":
        names = ("cells", "steps", "density", "temperature", "seed")
        words = [w for k in names for w in (f"--{k}", str(row[k]))]
        return [sys.executable, str(MD), *words, "--workers", str(row["cores"]), "--max-drift", "1", "--out", "result.json"]
    words = [w for k in ("n", "repeats", "precision", "seed") for w in (f"--{k}", str(row[k]))]
    return [sys.executable, str(SOLVE), *words]


class Machine:
    """Starts jobs; `groups`: its control groups by partition, empty where there are none."""

    def __init__(self, groups: Mapping[str, Path]) -> None:
        self.groups = groups

    def run(self, row: Mapping[str, Any], directory: str) -> dict[str, Any]:
        """Seconds of wall clock and of CPU, seconds the job's first process waited for a core, peak MiB. RuntimeError where it failed."""
        place = PLACES[row["partition"]]
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1" if row["app"] == "md-lj" else str(place.cores))
        enter = f"echo $$ > {self.groups[row['partition']]}/tasks && " if self.groups else ""
        cpus = set(sorted(os.sched_getaffinity(0))[-place.cores :])
        with open(f"{directory}/log", "wb") as log:
            began = time.perf_counter()
            child = subprocess.Popen(
                ["/bin/sh", "-c", enter + 'exec "$@"', "job", *command(row)], cwd=directory, stdout=log, stderr=log,
                env={"PATH": os.environ["PATH"], **threads, **(place.env or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, cpus),
            )  # fmt: skip
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            took = time.perf_counter() - began
            waited = int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[1]) / 1e9
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"{' '.join(command(row))}: {Path(directory, 'log').read_text()[-2000:]}")
        return {"run_s": round(took, 4), "cpu_s": round(used.ru_utime + used.ru_stime, 4), "queued_s": round(waited, 4),
                "peak_mib": round(used.ru_maxrss / 1024, 1)}  # fmt: skip


@contextmanager
def machine() -> Iterator[Machine]:
    groups: dict[str, Path] = {}
    top = GROUP / f"runs-{os.getpid()}"
    try:
        try:
            top.mkdir()
            (top / "cpu.shares").write_text("262144")
            for name, place in PLACES.items():
                groups[name] = top / name
                groups[name].mkdir()
                if place.quota:
                    (groups[name] / "cpu.cfs_period_us").write_text("20000")
                    (groups[name] / "cpu.cfs_quota_us").write_text(str(int(20000 * place.quota)))
        except OSError as e:
            print(f"no control groups ({e}): the partition `half` is left out", file=sys.stderr)
            groups = {}
        yield Machine(groups)
    finally:
        for directory in (*(top / p for p in PLACES), top):
            if directory.exists():
                directory.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--jobs", type=int, default=520)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--until", type=int, default=None)
    a = parser.parse_args()
    a.file.parent.mkdir(parents=True, exist_ok=True)
    with machine() as m, tempfile.TemporaryDirectory() as work, open(a.file, "a" if a.first else "w", newline="") as out:
        places = [p for p, v in PLACES.items() if m.groups or not v.quota]
        if not a.first:
            cpu = next((x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), "?")
            out.write(f"# {a.jobs} runs of md-lj and dense-solve, seed {a.seed}, by benchmarks/runs/record.py, {time.strftime('%Y-%m-%d')}\n")
            out.write(f"# on {cpu}, {os.cpu_count()} cores shared with other work, Python {platform.python_version()}, "
                      f"numpy {np.__version__}; control groups: {'yes' if m.groups else 'no'}\n")  # fmt: skip
        writer = csv.DictWriter(out, COLUMNS)
        if not a.first:
            writer.writeheader()
        for row in jobs(a.jobs, a.seed, places):
            if a.first <= row["seq"] < (a.until or a.jobs):
                writer.writerow(row | m.run(row, work))
                out.flush()
                if row["seq"] % 20 == 0:
                    print(f"{row['seq']} of {a.jobs}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

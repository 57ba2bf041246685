"""Benchmarks in one run: `python -m benchmarks [NAME…] [--real] [--report FILE]`; by default those that need no
system package and no logs.

Prints a line a figure as they come, and writes everything, with a calibration of the machine, as one JSON report.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.calibration import calibrate

NAMES = ("placement", "store", "reconcile", "traces", "simulate", "network", "waits")
REAL = ("slurm", "failover", "steering")  # on the test-bed
LONG = ("prediction", "streams", "large")  # minutes, or much memory: asked for by name
LOGS = ("quality", "gpus")  # on the logs in TIDEGRID_TRACES; by name only, they take minutes
ALL = (*NAMES, *REAL, *LONG, *LOGS)


def run(name: str) -> dict[str, Any]:
    """What one benchmark printed, from a process of its own: what one warmed up is no help to the next."""
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench: {name} failed, with status {done.returncode}; what it said stands above")
    found = json.loads(done.stdout)
    found.pop("calibration", None)
    return {"benchmark": name, **found}


def figures(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every number with its path, nested mappings opened."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from figures(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, int | float):
        yield path, f"{value:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}")
    parser.add_argument("--real", action="store_true", help="those on real Slurm clusters")
    parser.add_argument("--report", type=Path, default=Path("reports/bench.json"))
    args = parser.parse_args()
    names = args.names or (REAL if args.real else NAMES)
    if unknown := sorted(set(names) - {*ALL}):
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(ALL)}")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    report: dict[str, Any] = {"at": at, "calibration": calibrate(), "results": []}
    for path, number in figures(report["calibration"], "calibration"):
        print(f"{path:<60} {number:>16}", flush=True)
    for i, name in enumerate(names, 1):
        print(f"bench: {i} of {len(names)}: {name}", file=sys.stderr, flush=True)
        found = run(name)
        report["results"].append(found)
        for path, number in figures({name: {k: v for k, v in found.items() if k != "benchmark"}}):
            print(f"{path:<60} {number:>16}", flush=True)
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(json.dumps(report, indent=1) + "\n")
    print(f"bench: report in {args.report}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Failover on real Slurm clusters with default settings: how quick it is when a cluster dies, and how calm while none does.

Three clusters of the test-bed, reached over ssh by a `tide up` of its own, settings as they come.

- calm: a load of short jobs, half of them movable, for so many minutes. Counted: clusters called silent, jobs moved, incidents; and
  how long the page that `tide ps` asks for takes.
- frozen, destroyed: `--jobs` jobs wait at alpha behind jobs that fill it, every second one restartable; then alpha's controller and sshd
  stop answering, or all of it is killed. Measured: from that moment until each job runs elsewhere, by the sites' clocks; and the
  page again, while alpha hangs. The ratio is p95 then over p95 just before, with the same number of jobs.

    python -m benchmarks.failover [--jobs 60] [--calm-minutes 10]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.calibration import calibrate

from tidegrid.client import Tide
from tidegrid.launch import testbed
from tidegrid.launch.testbed.network import describe, install_keys

VICTIM, FIRST = "alpha", "alpha/cpu"
ELSEWHERE = ["beta/short", "gamma/cpu"]
WATCHED = ("cluster.silent", "attempt.moved", "incident.opened", "cluster.health")


@contextmanager
def server(home: Path, network: str) -> Iterator[Tide]:
    log = (home / "up.log").open("wb")
    command = [sys.executable, "-m", "tidegrid.cli.main", "up", "--home", str(home), "--port", "0", "--quiet"]
    environment = {k: v for k, v in os.environ.items() if k != "TIDE_HOME"}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _until(lambda: (home / "server.json").exists() or process.poll() is not None, 60)
        url = json.loads((home / "server.json").read_text())["url"]
        with Tide(url, (home / "admin.token").read_text().strip()) as tide:
            tide.apply_network(network)
            _until(lambda: all(c["health"] == "up" for c in tide.clusters()), 60)
            yield tide
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _until(ask: Callable[[], Any], seconds: float, what: str = "it did not happen") -> None:
    end = time.monotonic() + seconds
    while not ask():
        if time.monotonic() > end:
            raise RuntimeError(what)
        time.sleep(0.1)


class Pages:
    """The page that `tide ps` asks for, again and again in a thread: seconds of each."""

    def __init__(self, url: str, token: str) -> None:
        self.seconds: list[float] = []
        self._tide, self._stop = Tide(url, token), threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        while not self._stop.wait(0.2):
            began = time.perf_counter()
            self._tide.jobs_page(limit=50)
            self.seconds.append(time.perf_counter() - began)

    def __enter__(self) -> Pages:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        self._tide.close()


def spread(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    if len(seconds) == 1:
        return {"p50_s": round(seconds[0], 4), "p95_s": round(seconds[0], 4), "most_s": round(seconds[0], 4)}
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return {"p50_s": round(cuts[9], 4), "p95_s": round(cuts[18], 4), "most_s": round(max(seconds), 4)}


def job(script: str, wall_s: int, cores: int = 1, **more: Any) -> dict[str, Any]:
    resources = {"cores": cores, "memory_mib": 64, "wall_s": wall_s}
    return {"app": "script", "params": {"script": script}, "resources": resources, **more}


def newest(tide: Tide) -> int:
    seq = 0
    while page := tide.events_page(after=seq, limit=500):
        seq = page[-1].seq
    return seq


def happened(tide: Tide, after: int) -> Counter[str]:
    found: Counter[str] = Counter()
    while page := tide.events_page(after=after, kinds=WATCHED, limit=500):
        found.update(e.kind for e in page)
        after = page[-1].seq
    return found


def calm(tide: Tide, watch: Callable[[], Pages], minutes: float) -> dict[str, Any]:
    """Load and no faults: nothing may be called silent, nothing may move."""
    after, sent, end = newest(tide), 0, time.monotonic() + minutes * 60
    with watch() as pages:
        while time.monotonic() < end:
            began = time.monotonic()
            bodies = [job("sleep 1", 300 if i % 2 else 30, movable=bool(i % 2)) for i in range(20)]
            tide.submit_many(bodies)
            sent += len(bodies)
            time.sleep(max(0.0, 8.0 - (time.monotonic() - began)))
    _until(lambda: not _open(tide), 300, "the load did not end")
    events = happened(tide, after)
    failed = sum(1 for _ in tide.jobs(state="failed"))
    return {
        "minutes": minutes, "jobs": sent, "failed": failed, "false_silences": events["cluster.silent"],
        "false_moves": events["attempt.moved"], "incidents": events["incident.opened"], "page": spread(pages.seconds),
    }  # fmt: skip


def _open(tide: Tide) -> bool:
    return any(True for s in ("pending", "queued", "running", "finishing") for _ in tide.jobs_page(state=s, limit=1))


def death(tide: Tide, watch: Callable[[], Pages], jobs: int, kill: Callable[[], None]) -> dict[str, Any]:
    """Fill alpha, queue jobs behind, kill it: seconds from its death until each of them runs elsewhere."""
    fill = [job("sleep 900", 1000, 32, constraints={"any_of": [FIRST]}, movable=False) for _ in range(4)]
    held = [j.id for j in tide.submit_many(fill)]
    _until(lambda: all(tide.job(j).state == "running" for j in held), 120, "alpha was not filled")
    time.sleep(25)  # until the picture shows it: loads are read every 20 s
    bodies = [
        job("sleep 20", 600, constraints={"ordered": [FIRST, *ELSEWHERE]}, restartable=bool(i % 2)) for i in range(jobs)
    ]
    waiting = [j.id for j in tide.submit_many(bodies)]
    _until(lambda: all(tide.job(j).state == "queued" for j in waiting), 120, "the jobs do not wait")
    there = [tide.job(j).attempts[-1].cluster for j in waiting]
    assert set(there) == {VICTIM}, Counter(there)
    with watch() as before:
        time.sleep(15)
    with watch() as hung:
        at = time.time()
        kill()
        took: dict[str, float] = {}
        end = time.monotonic() + 300
        while len(took) < jobs and time.monotonic() < end:
            for j in waiting:
                if j not in took:
                    last = tide.job(j).attempts[-1]
                    if last.cluster != VICTIM and last.started_at is not None:
                        took[j] = last.started_at.timestamp() - at
            time.sleep(0.5)
    plain = [took[j] for i, j in enumerate(waiting) if j in took and not i % 2]
    again = [took[j] for i, j in enumerate(waiting) if j in took and i % 2]
    return {
        "jobs": jobs, "running_elsewhere": len(took), **spread(list(took.values())), "restartable": spread(again),
        "others": spread(plain), "page_before": spread(before.seconds), "page_hung": spread(hung.seconds),
        "page_ratio_p95": round(spread(hung.seconds)["p95_s"] / spread(before.seconds)["p95_s"], 2),
    }  # fmt: skip


def measure(jobs: int, minutes: float) -> dict[str, Any]:
    directory = Path(tempfile.mkdtemp(prefix="tide-failover-"))
    bed = testbed.up(directory / "bed", 3, False, bound=True)
    try:
        home = directory / "home"
        home.mkdir(mode=0o700)
        install_keys(bed, home)
        out: dict[str, Any] = {}
        with server(home, describe(bed, roots=directory / "roots")) as tide:
            url = json.loads((home / "server.json").read_text())["url"]
            token = (home / "admin.token").read_text().strip()

            def watch() -> Pages:
                return Pages(url, token)

            def freeze() -> None:
                for program in ("slurmctld", "sshd"):
                    bed.freeze(VICTIM, program)

            if minutes > 0:
                out["calm"] = calm(tide, watch, minutes)
                _say("calm", out["calm"])
            out["frozen"] = death(tide, watch, jobs, freeze)
            _say("frozen", out["frozen"])
            for program in ("sshd", "slurmctld"):
                bed.thaw(VICTIM, program)
            _until(lambda: all(c["health"] in ("up", "suspect") for c in tide.clusters()), 120, "alpha does not come back")
            for j in tide.jobs(state="running"):
                tide.cancel(j.id)
            _until(lambda: not _open(tide), 180, "jobs do not end")
            out["destroyed"] = death(tide, watch, jobs, lambda: bed.destroy(VICTIM))
            _say("destroyed", out["destroyed"])
        return out
    finally:
        bed.down()
        shutil.rmtree(directory, ignore_errors=True)


def _say(what: str, found: dict[str, Any]) -> None:
    print(f"{what}: {json.dumps(found)}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--calm-minutes", type=float, default=10.0)
    args = parser.parse_args()
    print(json.dumps({"calibration": calibrate(), "failover": measure(args.jobs, args.calm_minutes)}, indent=1))


if __name__ == "__main__":
    main()

"""Short jobs through the network against a plain `sbatch` loop on the same real Slurm cluster, in the same run.

One cluster of the test-bed (Debian's Slurm; alpha with 128 cores, whose launches keep two real cores busy for seconds, or beta with 48),
reached over ssh by a `tide up` of its own on the same machine. Each round runs all ways, in turn:

- plain: one `sbatch` after another in one shell loop (`--parsable`, output to a file each), then `squeue` until none is left.
- network: one bulk submission by the SDK to the same partition, then the jobs' page until all have ended, their logs fetched, metered and billed.
- unasked: the same with `movable: false`: the jobs wait for no permit of the server, and are lost where their cluster is.

Ratios are over plain: bulk_ratio of the seconds until all were accepted (the platform's word is durable then), end_to_end_ratio
until all had ended, unasked_ratio the same of the unasked. Also a reconcile tick with `--queue` jobs of the network's in the queue: seconds, and how often the controller was asked.

    python -m benchmarks.slurm [--jobs 500] [--rounds 3] [--queue 5000] [--script "sleep 5"] [--cluster alpha]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.calibration import calibrate
from benchmarks.reconcile import fill

from tidegrid.client import Tide
from tidegrid.connectors.slurm.connector import SlurmConnector, SlurmSettings
from tidegrid.connectors.slurm.sftp_files import SftpFiles
from tidegrid.connectors.slurm.ssh import SshLink, SshShell, SshTarget
from tidegrid.control.contact import Contact, native_name
from tidegrid.control.context import Context, Settings
from tidegrid.control.reconcile import Reconciler
from tidegrid.domain.ids import Ids
from tidegrid.launch import testbed
from tidegrid.launch.effects import SteadyClock
from tidegrid.launch.testbed.network import describe, install_keys
from tidegrid.store.engine import Store

PARTITIONS = {"alpha": "cpu", "beta": "short"}  # 4 nodes with 128 cores; 12 nodes with 48
LOOK_S = 0.25  # between two looks whether all has ended, either way
LOOP = "i=0; while [ $i -lt {jobs} ]; do sbatch --parsable -p {partition} -n 1 --mem=64 -t 5 -o {out}/$i.out {script} || exit 1; i=$((i+1)); done"


@contextmanager
def server(home: Path, network: str, cluster: str = "alpha") -> Iterator[Tide]:
    (home / "network.yaml").write_text(network)
    log = (home / "up.log").open("wb")
    command = [sys.executable, "-m", "tidegrid.cli.main", "up", "--home", str(home), "--port", "0", "--quiet"]
    environment = {k: v for k, v in os.environ.items() if k != "TIDE_HOME"}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        end = time.monotonic() + 60
        while not (home / "server.json").exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((home / "up.log").read_text())
            time.sleep(0.05)
        url = json.loads((home / "server.json").read_text())["url"]
        with Tide(url, (home / "admin.token").read_text().strip()) as tide:
            tide.apply_network(network)
            while not any(c["name"] == cluster and c["health"] == "up" for c in tide.clusters()):
                time.sleep(0.05)
            yield tide
    finally:
        process.terminate()
        process.wait(40)
        log.close()


def plain(bed: testbed.Testbed, jobs: int, out: Path, script_text: str, cluster: str = "alpha") -> dict[str, float]:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    script = out / "job.sh"
    script.write_text(f"#!/bin/sh\n{script_text}\n")
    began = time.perf_counter()
    text = LOOP.format(jobs=jobs, partition=PARTITIONS[cluster], out=shlex.quote(str(out)), script=shlex.quote(str(script)))
    done = bed.run(cluster, "sh", "-c", text, seconds=600)
    accepted = time.perf_counter() - began
    assert done.returncode == 0 and len(done.stdout.split()) == jobs, done.stderr[-500:]
    while bed.run(cluster, "squeue", "-h", "-o", "%i").stdout.strip():
        time.sleep(LOOK_S)
    return {"accepted_s": accepted, "ended_s": time.perf_counter() - began}


def network(tide: Tide, jobs: int, script: str, *, movable: bool = True, cluster: str = "alpha") -> dict[str, float]:
    body = {"app": "script", "params": {"script": script}, "resources": {"cores": 1, "memory_mib": 64, "wall_s": 300},
            "movable": movable, "constraints": {"any_of": [f"{cluster}/{PARTITIONS[cluster]}"]}}  # where the plain loop sends its own
    began = time.perf_counter()
    made = tide.submit_many([body] * jobs)
    accepted = time.perf_counter() - began
    last, ran = made[-1].id, 0.0
    states = ["pending", "queued", "running", "finishing"]
    while states:  # no job goes back, so that one question at a time is enough, as squeue's is
        if any(True for _ in tide.jobs(state=states[0], page=1)):
            time.sleep(LOOK_S)
            continue
        del states[0]
        if states == ["finishing"]:
            ran = time.perf_counter() - began
    seconds = time.perf_counter() - began
    assert tide.job(last).state == "succeeded"
    assert not any(True for s in ("pending", "queued", "running", "finishing", "failed") for _ in tide.jobs(state=s, page=1))
    return {"accepted_s": accepted, "ran_s": ran, "ended_s": seconds}


class Counted:
    """A shell that remembers what it was asked."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.commands = inner, []

    async def run(self, command: str, stdin: str = "", **more: Any) -> Any:
        self.commands.append(command)
        return await self.inner.run(command, stdin, **more)

    async def close(self) -> None:
        await self.inner.close()


async def tick(bed: testbed.Testbed, directory: Path, jobs: int, cluster: str, times: int = 7) -> dict[str, Any]:
    """Seconds of a reconcile tick, over ssh, while `jobs` jobs of the network's wait in a real queue, and what it asked the site."""
    way = bed.cluster(cluster).ssh
    link = SshLink(SshTarget(way.host, way.user, str(way.key), str(way.known_hosts), way.port))
    shell = Counted(SshShell(link))
    connector = SlurmConnector(
        cluster, shell, SftpFiles(link, shell, str(directory / "tick-root")), SlurmSettings(load_every=3600)
    )
    clock = SteadyClock()
    store = Store.open(f"sqlite:///{directory / 'tick.db'}", now_us=clock.now)
    ctx = Context(store, clock, Ids(clock.now, random.Random(1).getrandbits), directory, Settings())
    ids = await store.write(lambda c: fill(c, ctx, jobs, cluster))
    names = "\n".join(native_name(i) for i in ids)
    loop = f"xargs -P 8 -I[] sbatch --parsable --hold -p {PARTITIONS[cluster]} -n 1 --mem=64 -t 5 -J [] --output=/dev/null --wrap true"
    began = time.perf_counter()
    done = await asyncio.to_thread(bed.run, cluster, "sh", "-c", loop, stdin=names, seconds=900)
    assert done.returncode == 0, done.stderr[-500:]
    filled = time.perf_counter() - began
    reconciler = Reconciler(ctx, connector, {cluster: Contact()})
    for _ in range(2):
        assert await reconciler.tick()
    shell.commands.clear()
    seconds = []
    for _ in range(times):
        at = time.perf_counter()
        assert await reconciler.tick()
        seconds.append(time.perf_counter() - at)
    asked = Counter(
        word
        for c in shell.commands
        for word in ("squeue", "sacct", "scontrol", "sinfo")
        if re.search(rf"\b{word}\b", c)
    )
    await connector.close()
    store.close()
    return {
        "queued_jobs": jobs, "filled_s": round(filled, 1), "median_s": round(statistics.median(seconds), 3), "most_s": round(max(seconds), 3),
        "controller_queries_a_tick": {k: n / times for k, n in asked.items()}, "commands_a_tick": len(shell.commands) / times,
    }  # fmt: skip


def measure(jobs: int, rounds: int, queue: int, script: str, cluster: str) -> dict[str, Any]:
    directory = Path(tempfile.mkdtemp(prefix="tide-bench-"))
    bed = testbed.up(directory / "bed", 1 + list(PARTITIONS).index(cluster), False, bound=True)
    try:
        home = directory / "home"
        home.mkdir(mode=0o700)
        install_keys(bed, home)
        ways: dict[str, list[dict[str, float]]] = {"plain": [], "network": [], "unasked": []}
        with server(home, describe(bed, roots=directory / "roots"), cluster) as tide:
            network(tide, 20, "true", cluster=cluster)  # connections made, nothing cold
            for _ in range(rounds):
                ways["plain"].append(plain(bed, jobs, directory / "plain", script, cluster))
                ways["network"].append(network(tide, jobs, script, cluster=cluster))
                ways["unasked"].append(network(tide, jobs, script, movable=False, cluster=cluster))
            assert tide.journal_check()["balanced"]
        ticks = asyncio.run(tick(bed, directory, queue, cluster)) if queue else {}
    finally:
        bed.down()
        shutil.rmtree(directory, ignore_errors=True)
    return {"cluster": cluster, "jobs": jobs, "script": script, "rounds": rounds, **summary(ways), "tick": ticks}


def summary(ways: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    out: dict[str, Any] = {name: {k: [round(r[k], 3) for r in runs] for k in runs[0]} for name, runs in ways.items()}
    for way, what, ratio in (("network", "accepted_s", "bulk_ratio"), ("network", "ended_s", "end_to_end_ratio"),
                             ("unasked", "ended_s", "unasked_ratio")):  # fmt: skip
        pairs = [n[what] / p[what] for p, n in zip(ways["plain"], ways[way], strict=True)]
        out[ratio] = {
            "median": round(statistics.median(pairs), 3),
            "least": round(min(pairs), 3),
            "most": round(max(pairs), 3),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queue", type=int, default=5000)
    parser.add_argument("--script", default="sleep 5")
    parser.add_argument("--cluster", choices=sorted(PARTITIONS), default="alpha")
    args = parser.parse_args()
    print(json.dumps({"calibration": calibrate(), **measure(args.jobs, args.rounds, args.queue, args.script, args.cluster)}))


if __name__ == "__main__":
    main()

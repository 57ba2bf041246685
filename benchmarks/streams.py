"""A mixed stream of real jobs on a network of embedded clusters, placed in four ways: turnaround, cost to the user, cost to the operator.

The same 300 jobs of two applications, at the same times, once for every way of placing them and every repeat, in another order of the
ways each time. The network has three clusters whose cores really differ:

    own     3 cores, co-built: cheap to run; its OpenSSL may not use the instructions for SHA-256
    bought  2 cores, purchased: dear; all instructions
    spot    2 cores, purchased: the cheapest by the core-hour; all instructions, half of a core's time

A core is a quarter of one of this machine's (an eighth at spot), by CPU quotas (cgroup v1, root). `digest` is 2 to 3 times faster where it
may use the instructions, `primes` is as fast at own as at bought. Arrivals ebb and flow. Before the stream every application runs
a few times on every cluster, as `tide apps verify` has it; that is learnt by all, and counts for none.

    chosen    what the platform does: every partition's run time as predicted from history, the objective `balanced`
    cores     the same objective, but a core is a core: run times from the wall time asked for
    cheapest  the lowest price of a core-hour that has free cores now; with none free the lowest
    random    any that can take it

Nobody waits for an owned core longer than the preset allows: what a job saves at `own` against `bought`, divided by what its time is
worth. That is held against every job of `primes` that waited at `own` during an ebb, whether it ran there or was moved, beyond what
jobs wait as a rule for being placed and started. Jobs move by the platform's own rules, in which a second stands for ten minutes.

    python -m benchmarks.streams [--jobs 300] [--repeats 3] [--ways chosen,cores] [--stretch 1.0] [--scale 6] [--passes FILE.jsonl] [--most N]

With --passes every pass is kept as a line of the file, and those that are there are not run again; --most: so many in this call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is loaded, as in a server

import numpy as np
import structlog
from benchmarks.calibration import calibrate

from tidegrid.connectors.embedded import launch as embedded
from tidegrid.control.picture import Policy, as_asked
from tidegrid.domain.actor import Actor
from tidegrid.domain.job import FINAL
from tidegrid.domain.money import MICRO
from tidegrid.launch import home as homes
from tidegrid.launch.serve import Options, network_of
from tidegrid.scheduling import placement
from tidegrid.scheduling.moving import Rules
from tidegrid.scheduling.objective import PRESETS
from tidegrid.scheduling.placement import Request
from tidegrid.scheduling.snapshot import Snapshot
from tidegrid.store import orgs, usage
from tidegrid.store.scope import Scope

GROUP = Path("/sys/fs/cgroup/cpu")
PERIOD_US = 20_000
SEED = 100
SCALE = 6.0  # of the work of a job, and of the time between two
# The platform's rules for moving what waits, where a second stands for ten minutes.
MOVING = {"every": 0.1, **{name: getattr(Rules(), name) / 600 for name in ("settle", "late_floor", "better_floor", "gain")}}
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # Student's t for the interval of so many repeats
NO_SHA = "OPENSSL_ia32cap=:~0x20000000"


@dataclass(frozen=True)
class Site:
    cores: int
    share: float  # of a core of this machine, each
    supply: str
    sell: float
    cost: float
    env: str = ""


SITES = {
    "own": Site(3, 0.25, "kind: co_built, marginal_core_hour: 0.2", 1.2, 0.2, NO_SHA),
    "bought": Site(2, 0.25, "kind: purchased, core_hour: 1.8", 2.4, 1.8),
    "spot": Site(2, 0.125, "kind: purchased, core_hour: 0.6", 0.8, 0.6),
}
DOCUMENT = """
id: {id}
title: {{en: {id}}}
params:
  type: object
  properties:
    size: {{type: integer, minimum: 1, maximum: 100000000}}
  required: [size]
  additionalProperties: false
resources: {{cores: 1, memory: 64 MiB, wall: {wall}s}}
software: {{embedded: python}}
files: [{{path: {id}.py, package: {id}.py}}]
script: |
  exec {{{{ python }}}} {id}.py {{{{ size }}}}
"""
# The interpreter of a cluster: on one of its cores, which is its own until it ends.
WRAPPER = """#!/bin/sh
{env}
while :; do
  for core in {cores}; do
    exec 9> "{locks}/$core"
    if flock -n 9; then echo $$ > "{group}/$core/tasks"; exec {python} -I -S "$@"; fi
  done
  sleep 0.005
done
"""


SIZES = {"digest": (80, 150, 260, 420), "primes": (50_000, 80_000, 120_000, 180_000)}


# The stream ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    at: float  # s after the beginning
    app: str
    size: int
    tide: str  # ebb | flow


def stream(n: int, seed: int, stretch: float = 1.0, scale: float = SCALE) -> list[Job]:
    """Two ebbs with a quarter of the jobs, two floods with the rest, each of them as long."""
    rng = np.random.default_rng(seed)
    span = 40.0 * stretch * scale * n / 300
    parts = [("ebb", 0.13), ("flow", 0.37), ("ebb", 0.13), ("flow", 0.37)]
    out = []
    for i, (tide, share) in enumerate(parts):
        for at in np.sort(rng.uniform(i * span / 4, (i + 1) * span / 4, round(n * share))):
            app = ("digest", "primes")[int(rng.integers(2))]
            low, high = SIZES[app][0], SIZES[app][-1]
            out.append(Job(float(at), app, int(scale * np.exp(rng.uniform(np.log(low), np.log(high)))), tide))
    return out


# Ways of placing --------------------------------------------------------------------------------------------------------


def cores(requests: Sequence[Request], snapshot: Snapshot) -> Sequence[Request]:
    return [replace(r, runs=None) for r in requests]


def cheapest(requests: Sequence[Request], snapshot: Snapshot) -> Sequence[Request]:
    price = snapshot.sell[:, 0]
    free = snapshot.free[:, 0].copy()
    out = []
    for r in requests:
        open_ = [c.index for c in placement.offers(replace(r, runs=None), snapshot)]
        here = [p for p in open_ if free[p] >= r.need[0]] or open_
        best = min(here, key=lambda p: (price[p], p)) if here else None
        if best is not None:
            free[best] -= r.need[0]
        out.append(_there(r, snapshot, best))
    return out


def at_random(seed: int) -> Policy:
    rng = np.random.default_rng(seed)

    def policy(requests: Sequence[Request], snapshot: Snapshot) -> Sequence[Request]:
        out = []
        for r in requests:
            open_ = [c.index for c in placement.offers(replace(r, runs=None), snapshot)]
            out.append(_there(r, snapshot, int(rng.choice(open_)) if open_ else None))
        return out

    return policy


def _there(r: Request, snapshot: Snapshot, p: int | None) -> Request:
    if p is None:
        return r
    return replace(r, runs=None, constraints=replace(r.constraints, any_of=(snapshot.partitions[p],)))


WAYS = ("chosen", "cores", "cheapest", "random")


def policy_of(way: str, seed: int) -> Policy:
    return {"chosen": as_asked, "cores": cores, "cheapest": cheapest, "random": at_random(seed)}[way]


# The network -----------------------------------------------------------------------------------------------------------


@contextmanager
def machine() -> Iterator[Path]:
    """Control groups: `server` for all but the jobs, and one for each core; before all else on this machine."""
    top = GROUP / f"streams-{os.getpid()}"
    groups = [top / "server", *(top / name / str(i) for name, s in SITES.items() for i in range(s.cores))]
    try:
        top.mkdir()
        (top / "cpu.shares").write_text("262144")
        for group in groups:
            group.mkdir(parents=True)
        for name, site in SITES.items():
            for i in range(site.cores):
                (top / name / str(i) / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (top / name / str(i) / "cpu.cfs_quota_us").write_text(str(int(PERIOD_US * site.share)))
        (top / "server" / "tasks").write_text(str(os.getpid()))
        yield top
    except OSError as e:
        raise SystemExit(f"streams: cores of a quarter need root and the cpu controller of cgroup v1: {e}") from None
    finally:
        (GROUP / "tasks").write_text(str(os.getpid()))
        for group in [*groups[::-1], *(top / n for n in SITES), top]:
            for _ in range(100):
                try:
                    group.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.05)  # its last process is on its way out


def network_file(home: Path, groups: Path) -> str:
    out = ["network: streams", "providers: {p: {title: P}}",
           "sites: {s: {provider: p, region: cn, time_zone: Asia/Shanghai}}", "clusters:"]  # fmt: skip
    for name, site in SITES.items():
        locks, wrapper = home / "locks" / name, home / f"python-{name}"
        locks.mkdir(parents=True)
        env = f"export {site.env}" if site.env else ""
        numbers = " ".join(map(str, range(site.cores)))
        wrapper.write_text(WRAPPER.format(env=env, cores=numbers, locks=locks, group=groups / name, python=sys.executable))
        wrapper.chmod(0o755)
        out += [
            f"  {name}:", "    site: s", "    connector: {kind: embedded, kill_grace_s: 1}", f"    supply: {{{site.supply}}}",
            f"    prices: {{core_hour: {site.sell}}}", f"    software: {{python: '{wrapper}'}}", "    partitions:",
            f"      cpu: {{arch: x86_64, nodes: 1, cores: {site.cores}, memory: 2 GiB, max_wall: 1h}}",
        ]  # fmt: skip
    return "\n".join([*out, "accounts: {operator: {opening_balance: 1000}, acme: {opening_balance: 100000}}", ""])


async def _actor(platform: Any, org: str, user: str, role: str) -> Actor:
    def find(conn: Any) -> Actor:
        row = orgs.get_org(conn, org)
        if orgs.get_user(conn, row["id"], user) is None:
            orgs.create_user(conn, id=platform.ids.new(), org_id=row["id"], name=user, role=role, at=platform.now())
        return Actor(row["id"], orgs.get_user(conn, row["id"], user)["id"], org, user, role)

    return await platform.store.write(find)


async def run(way: str, jobs: Sequence[Job], seed: int, home: Path, groups: Path, scale: float = SCALE) -> dict[str, Any]:
    """One pass of the stream."""
    homes.prepare(home)
    options = Options(home=home, network=network_file(home, groups), settings={"tick": 0.1, "moving": MOVING}, policy=policy_of(way, seed))
    try:
        async with network_of(options) as (platform, _):
            operator = await _actor(platform, "operator", "admin", "operator")
            ada = await _actor(platform, "acme", "ada", "user")
            for app in ("digest", "primes"):
                code = Path(__file__).with_name("runs").joinpath(f"{app}.py").read_bytes()
                await platform.app_publish(operator, DOCUMENT.format(id=app, wall=round(15 * scale)), {f"{app}.py": code}, False)
            await _verify(platform, operator, scale)
            began = time.monotonic()
            ids = []
            for job in jobs:
                await asyncio.sleep(max(0.0, job.at - (time.monotonic() - began)))
                made = await platform.submit(ada, _body(job.app, job.size), None)
                ids.append(made["id"])
            views = await _ended(platform, ada, ids)
            sums = await platform.store.read(lambda c: usage.sums(c, Scope(ada.org_id), "partition"))
            accuracy = await platform.accuracy(ada, None, 10_000)
    finally:
        for directory in (home / "clusters").iterdir():
            await asyncio.to_thread(embedded.stop_supervisor, directory)
    if wrong := [v for v in views if v["state"] != "succeeded"]:
        raise RuntimeError(f"{len(wrong)} of {len(views)} jobs did not succeed; the first: {wrong[0]['reason']}")
    return {"way": way, **_measured(jobs, views, sums), "accuracy": {a["app"]: a["predicted"] for a in accuracy}}


def _body(app: str, size: int, *, on: str = "") -> dict[str, Any]:
    return {"app": app, "params": {"size": size}, **({"constraints": {"any_of": [on]}} if on else {})}


async def _verify(platform: Any, operator: Actor, scale: float) -> None:
    """Four runs of each application on each cluster."""
    while any(c["health"] != "up" for c in await platform.clusters(operator)):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    ids = [
        (await platform.submit(operator, _body(app, int(size * scale), on=name), None))["id"]
        for app in SIZES for name in SITES for size in SIZES[app]
    ]  # fmt: skip
    await _ended(platform, operator, ids)
    await asyncio.sleep(1.1)  # so that they are learnt


async def _ended(platform: Any, actor: Actor, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Their views, when all have ended; looked at one after the other, so that looking costs little."""
    found = []
    for i in ids:
        while (view := await platform.job(actor, i))["state"] not in FINAL:  # noqa: ASYNC110
            await asyncio.sleep(0.3)
        found.append(view)
    return found


def _s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _measured(jobs: Sequence[Job], views: Sequence[dict[str, Any]], sums: Sequence[Any]) -> dict[str, Any]:
    last = [v["attempts"][-1] for v in views]
    turnaround = [_s(a["ended_at"]) - _s(v["created_at"]) for v, a in zip(views, last, strict=True)]
    waits = [_s(a["started_at"]) - _s(v["created_at"]) for v, a in zip(views, last, strict=True)]
    ran = [_s(a["ended_at"]) - _s(a["started_at"]) for a in last]
    where = [a["cluster"] for a in last]
    ebb = [j.tide == "ebb" for j in jobs]

    def owned(app: str) -> float:
        here = [w == "own" for w, j, e in zip(where, jobs, ebb, strict=True) if e and j.app == app]
        return round(sum(here) / len(here), 4)

    at_own = sorted(w for w, place, e in zip(waits, where, ebb, strict=True) if e and place == "own")
    patience = _patience(jobs, views, ran, where, statistics.median(waits))
    elsewhere = sorted(w for w, place, e in zip(waits, where, ebb, strict=True) if e and place != "own")
    return {
        "jobs": len(jobs),
        "mean_turnaround_s": statistics.fmean(turnaround),
        "p95_turnaround_s": float(np.quantile(turnaround, 0.95)),
        "mean_run_s": statistics.fmean(ran),
        "user_yuan": sum(s["sell"] for s in sums) / MICRO,
        "operator_yuan": sum(s["cost"] for s in sums) / MICRO,
        "ebb_share_at_own_primes": owned("primes"),
        "ebb_share_at_own_digest": owned("digest"),
        "ebb_median_wait_at_own_s": statistics.median(at_own) if at_own else None,
        "ebb_longest_wait_at_own_s": at_own[-1] if at_own else None,
        "ebb_median_wait_elsewhere_s": statistics.median(elsewhere) if elsewhere else None,
        "ebb_share_waiting_longer_at_own_than_the_preset_allows": sum(w > m for w, m in patience) / len(patience) if patience else None,
        "ebb_longest_wait_at_own_over_what_the_preset_allows": max((w / m for w, m in patience), default=None),
        "ebb_jobs_that_waited_at_own": len(patience),
        "moved": sum(len(v["attempts"]) - 1 for v in views),
        "placed": {name: where.count(name) for name in SITES},
    }


def _patience(
    jobs: Sequence[Job], views: Sequence[dict[str, Any]], ran: Sequence[float], where: Sequence[str], usual: float
) -> list[tuple[float, float]]:
    """Seconds that each job of `primes` of an ebb waited at `own`, whether it ran or was moved from there, beyond `usual`; and what
    the preset allows it."""
    saves = SITES["bought"].sell + SITES["bought"].cost - SITES["own"].sell - SITES["own"].cost
    out = []
    for job, view, run, place in zip(jobs, views, ran, where, strict=True):
        since = _s(view["created_at"])
        for a in view["attempts"]:
            if job.tide == "ebb" and job.app == "primes" and a["cluster"] == "own":
                there = run * SITES[place].share / SITES["own"].share
                waited = _s(a["started_at"] or a["ended_at"]) - since - usual
                out.append((waited, saves / PRESETS["balanced"].time * there))
            since = _s(a["ended_at"])
    return out


# The report ------------------------------------------------------------------------------------------------------------

FIGURES = ("mean_turnaround_s", "p95_turnaround_s", "mean_run_s", "user_yuan", "operator_yuan", "ebb_share_at_own_primes",
           "ebb_share_at_own_digest", "ebb_median_wait_at_own_s", "ebb_longest_wait_at_own_s", "ebb_median_wait_elsewhere_s",
           "ebb_share_waiting_longer_at_own_than_the_preset_allows", "ebb_longest_wait_at_own_over_what_the_preset_allows",
           "ebb_jobs_that_waited_at_own", "moved")  # fmt: skip


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and half of the 95 % interval of each figure and way; and the ratio of each way to the chosen one, of the same repeat."""
    out: dict[str, Any] = {}
    for way in dict.fromkeys(r["way"] for r in runs):
        mine = [r for r in runs if r["way"] == way]
        out[way] = {f: _interval([r[f] for r in mine]) for f in FIGURES}
        chosen = {r["repeat"]: r for r in runs if r["way"] == "chosen"}
        if way != "chosen" and chosen:
            out[way]["over_chosen"] = {
                f: _interval([r[f] / chosen[r["repeat"]][f] for r in mine if r["repeat"] in chosen]) for f in ("mean_turnaround_s", "user_yuan", "operator_yuan")
            }
    return out


def _interval(values: Sequence[float | None]) -> dict[str, Any]:
    """Of the passes in which there is such a figure."""
    known = [v for v in values if v is not None]
    if len(known) < 2:
        return {"mean": round(known[0], 5) if known else None, "half_width_95": None, "n": len(known)}
    half = T_95.get(len(known), 2.0) * statistics.stdev(known) / math.sqrt(len(known))
    return {"mean": round(statistics.fmean(known), 5), "half_width_95": round(half, 5), "n": len(known)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stretch", type=float, default=1.0, help="of the time between two arrivals")
    parser.add_argument("--scale", type=float, default=SCALE, help="of the work of a job, and of the time between two arrivals")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--passes", type=Path, default=None, metavar="FILE.jsonl")
    parser.add_argument("--most", type=int, default=1 << 30, metavar="N")
    a = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr),
                        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # fmt: skip
    runs = [json.loads(line) for line in a.passes.read_text().splitlines()] if a.passes and a.passes.exists() else []
    known = {(r["repeat"], r["way"]) for r in runs}
    left, jobs = a.most, stream(a.jobs, SEED, a.stretch, a.scale)
    with machine() as groups:
        for repeat in range(a.repeats):
            ways = a.ways.split(",")
            ways = ways[repeat % len(ways) :] + ways[: repeat % len(ways)]
            for way in ways:
                if (repeat, way) in known or not left:
                    continue
                left -= 1
                began = time.monotonic()
                with tempfile.TemporaryDirectory(prefix="streams-") as directory:
                    found = asyncio.run(run(way, jobs, repeat, Path(directory) / "home", groups, a.scale))
                runs.append(found | {"repeat": repeat})
                if a.passes:
                    with a.passes.open("a") as kept:
                        kept.write(json.dumps(runs[-1]) + "\n")
                print(f"streams: repeat {repeat + 1} of {a.repeats}, {way}: {found['mean_turnaround_s']:.2f} s, "
                      f"user {found['user_yuan']:.4f}, operator {found['operator_yuan']:.4f} yuan, {found['placed']}, "
                      f"took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
    print(json.dumps({"calibration": calibrate(), "summary": summary(runs), "runs": runs}))


if __name__ == "__main__":
    main()

"""One run of a sweep over a network: what the report shows of it, whole and by site."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tidegrid.scheduling.kernel.policy import Policy
from tidegrid.scheduling.network import POLICIES, NetworkPolicy
from tidegrid.simulation import digest
from tidegrid.simulation.network import NetworkJobs, NetworkRun, Site, load, simulate
from tidegrid.simulation.scorecard import compared, scorecard
from tidegrid.simulation.traces.trace import Trace


def perform(parts: Sequence[Trace], names: Sequence[str], queue: Policy, broker: NetworkPolicy, seed: int) -> dict[str, Any]:
    """Logs under convention K as the sites of one network, the second 0 of each its first submission; also each site alone."""
    jobs, sites = network_of(parts, names, queue)
    fast = _compiled()
    began = time.perf_counter()
    run = simulate(jobs, sites, broker, seed=seed + 1, fast=fast)
    took = time.perf_counter() - began
    home = run if broker.rule == "home" else simulate(jobs, sites, POLICIES["home"], fast=fast)
    sides = compared(*(scorecard(jobs, sites, r, resamples=1) for r in (run, home)))
    total = sum(int(s.capacity[0]) for s in sites)
    whole = digest.Schedule(jobs.submit, run.start, jobs.run, jobs.need, total)
    asked = digest.Schedule(jobs.submit, jobs.submit, jobs.run, jobs.need, total)
    window = digest.busiest(asked)
    span = float(jobs.submit.max() - jobs.submit.min())
    return {
        "start": None, "offered": float((jobs.run * jobs.need).sum(dtype=np.float64)) / (total * span) if span else 0.0, "seconds": took,
        "figures": {**digest.figures(whole), "moved": float((run.site != jobs.home).mean())}, "quantiles": digest.distributions(whole),
        "time": digest.over_time(whole), "gantt": _gantt(jobs, sites, run, window), "window": list(window),
        "sites": [{"name": r["site"], "alone": r["alone"], "network": r["network"]} for r in sides["sites"]],
    }  # fmt: skip


def network_of(parts: Sequence[Trace], names: Sequence[str], queue: Policy) -> tuple[NetworkJobs, list[Site]]:
    columns: list[tuple[Any, ...]] = []
    users = 0
    for i, k in enumerate(parts):
        known, user = np.unique(k.user, return_inverse=True)
        user = np.where(k.user < 0, -1, user + users)
        users += len(known)
        columns.append((k.submit, k.estimate, k.run, k.processors, np.full(len(k), i), user))
    sites = [Site(name, [int(k.header.processors or 1)], queue) for name, k in zip(names, parts, strict=True)]
    return NetworkJobs(*(np.concatenate(column) for column in zip(*columns, strict=True))), sites


def _gantt(jobs: NetworkJobs, sites: Sequence[Site], run: NetworkRun, window: tuple[int, int]) -> dict[str, Any]:
    """Each site's processors above those of the one before."""
    pieces: list[list[int]] = []
    drawn, below = 0, 0
    for i, site in enumerate(sites):
        there = np.flatnonzero(run.site == i)
        part = digest.gantt(digest.Schedule(jobs.submit[there], run.start[there], jobs.run[there], jobs.need[there], int(site.capacity[0])), window)
        pieces += [[int(there[j]), begin, end, at + below, n, wait] for j, begin, end, at, n, wait in part["pieces"]]
        drawn, below = drawn + part["jobs"], below + int(site.capacity[0])
    return {"begin": window[0], "end": window[1], "processors": below, "pieces": pieces, "jobs": drawn}


def _compiled() -> bool:
    try:
        load()
    except ImportError:
        return False
    return True

"""Several logs as the sites of one network, from the files to the figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid.domain.errors import InvalidInput
from tidegrid.lab import logs, machine_code
from tidegrid.lab.terms import Terms
from tidegrid.scheduling import network as policies
from tidegrid.scheduling.kernel.policy import Policy, clairvoyant
from tidegrid.simulation import digest, network, scorecard
from tidegrid.simulation.network import NetworkJobs, NetworkRun, Site
from tidegrid.simulation.traces.trace import Trace, convention_k

DAY = 86_400


def policy(name: str) -> policies.NetworkPolicy:
    """A network policy by name. Raises InvalidInput `network_policy.unknown`."""
    if name not in policies.POLICIES:
        raise InvalidInput("network_policy.unknown", f"there is no network policy {name!r}", hint=f"it is one of {', '.join(policies.POLICIES)}")
    return policies.POLICIES[name]


def read(paths: Sequence[Path], queue: Policy, *, processors: Sequence[int] = (), kill: bool = True, repair: bool = False,
         days: int | None = None, terms: Terms = Terms()) -> tuple[NetworkJobs, list[Site]]:  # fmt: skip
    """The logs' jobs under convention K, each log a site; the second 0 of every log is its own first submission. days: of each
    log, from then on. Raises as the readers do, and InvalidInput `simulate.empty`, `simulate.terms`."""
    terms.check(len(paths))
    parts: list[tuple[Any, ...]] = []
    sites: list[Site] = []
    users = 0
    for i, path in enumerate(paths):
        n = processors[i] if i < len(processors) else None
        k = convention_k(logs.load(path, repair=repair, processors=n), n, cut=kill)
        if days is not None:
            k = k.take(k.submit < days * DAY)
        if not len(k):
            raise InvalidInput("simulate.empty", f"{path}: none of its jobs has a known run time and fits its machine", hint="see `tide trace info`, or give --processors")
        user = _numbered(k, users)
        users = int(user.max()) + 1
        parts.append((k.submit, k.estimate, k.run, k.processors, np.full(len(k), i), user))
        sites.append(Site(_name(path, [s.name for s in sites]), [int(k.header.processors or k.processors.max())], queue, *terms.of_site(i, len(paths))))
    return terms.of_jobs(NetworkJobs(*(np.concatenate(column) for column in zip(*parts, strict=True)))), sites


def simulate(paths: Sequence[Path], queue: Policy, broker: policies.NetworkPolicy, *, processors: Sequence[int] = (), kill: bool = True,
             repair: bool = False, days: int | None = None, terms: Terms = Terms(), seed: int = 1) -> dict[str, Any]:  # fmt: skip
    """One object for the network: its scorecard, those of one pooled machine and of the same network that knows run times beforehand, how
    much of the way to the pooled machine is closed, and a list of sites, each with its own jobs' figures alone and in the network."""
    began = time.perf_counter()
    jobs, sites = read(paths, queue, processors=processors, kill=kill, repair=repair, days=days, terms=terms)
    fast, links = load(), terms.links(sites)
    mark = time.perf_counter()
    run = network.simulate(jobs, sites, broker, links=links, seed=seed, fast=fast)
    kernel = time.perf_counter() - mark
    home = run if broker.rule == "home" else network.simulate(jobs, sites, policies.POLICIES["home"], fast=fast)
    one = network.pooled(jobs, sites, fast=fast)
    foresees = clairvoyant(queue)
    seer = run if foresees == queue else network.simulate(jobs, [replace(s, policy=foresees) for s in sites], broker, links=links, seed=seed, fast=fast)
    card, alone, pooled, foreseen = (scorecard.scorecard(jobs, sites, r, seed=seed) for r in (run, home, one, seer))
    both = scorecard.compared(card, alone)
    whole = digest.figures(digest.Schedule(jobs.submit, run.start, jobs.run, jobs.need, sum(int(s.capacity[0]) for s in sites)))
    return {
        "processors": sum(int(s.capacity[0]) for s in sites), **whole, "scorecard": {k: v for k, v in card.items() if k != "sites"},
        "alone": _few(alone), "pooled": _few(pooled, money=False), "foreseen": _few(foreseen), "gap_closed": scorecard.gap_closed(jobs, home, run, one, seed=seed),
        "worse_than_alone": both["worse_than_alone"],
        "sites": [
            {"log": str(path), "site": s.name, "processors": int(s.capacity[0]), "jobs": here["jobs"], "guests": here["guests"],
             "alone": _of(jobs, home, i, s) | {"utilisation": _use(jobs, home, i, s)}, "network": _of(jobs, run, i, s) | {"utilisation": _use(jobs, run, i, s)}}
            for i, (path, s, here) in enumerate(zip(paths, sites, card["sites"], strict=True))
        ],
        "seconds": round(time.perf_counter() - began, 6), "kernel_seconds": round(kernel, 6), "compiled": fast,
    }  # fmt: skip


def _of(jobs: NetworkJobs, run: NetworkRun, i: int, site: Site) -> dict[str, float]:
    """The figures of the site's own jobs, wherever they ran."""
    own = jobs.home == i
    part = digest.figures(digest.Schedule(jobs.submit[own], run.start[own], jobs.run[own], jobs.need[own], int(site.capacity[0])))
    return {name: value for name, value in part.items() if name != "utilisation"}


def _use(jobs: NetworkJobs, run: NetworkRun, i: int, site: Site) -> float:
    """Of the site, by whoever ran there, from the network's first submission to its last end."""
    there = run.site == i
    span = float((run.start + jobs.run).max() - jobs.submit.min())
    return float((jobs.run * jobs.need)[there].sum(dtype=np.float64)) / (int(site.capacity[0]) * span) if span else 0.0


def _few(card: dict[str, Any], money: bool = True) -> dict[str, float]:
    """money: not for the pooled machine, which is nobody's."""
    means = {name: card[name]["value"] for name in ("mean_wait", "mean_bounded_slowdown")}
    rest = ("p95_wait", "p95_bounded_slowdown", "max_wait", "deadlines", "restarts", *(("cost", "operator_cost") if money else ()))
    return {**means, **{name: card[name] for name in rest if name in card}}


def _numbered(k: Trace, first: int) -> Any:
    return np.where(k.user < 0, -1, np.unique(k.user, return_inverse=True)[1] + first)


def _name(path: Path, taken: Sequence[str]) -> str:
    name = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    return name if name not in taken else f"{name}#{len(taken) + 1}"


def load() -> bool:
    """The kernel of networks, compiled; False where numba is not installed: then the same source runs as it is."""
    try:
        machine_code.tidy()
        network.load()
    except ImportError:
        return False
    return True

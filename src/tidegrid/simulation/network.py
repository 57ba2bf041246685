"""Logs of several sites replayed as one network: each site keeps its own queue, a broker says where jobs go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegrid.domain.errors import InvalidInput
from tidegrid.scheduling import network
from tidegrid.scheduling.kernel import ahead, broker, chances, compiled, ledger, net, outlook, relocate, worth
from tidegrid.scheduling.kernel.build import build, rows, table
from tidegrid.scheduling.kernel.compiled import Compiled
from tidegrid.scheduling.kernel.layout import FOREVER, RUN, START
from tidegrid.scheduling.kernel.policy import POLICIES, Policy
from tidegrid.simulation import network_replay

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NetworkJobs:
    """submit, estimate, run (s), home (index of a site), user int64[n]; need int64[n,K] (or [n]), bytes float64[n] of input data;
    in any order. Users are numbered over all sites. deadline int64[n] (s): by when each should have ended, FOREVER for any time."""

    submit: Ints
    estimate: Ints
    run: Ints
    need: Ints
    home: Ints
    user: Ints | None = None
    bytes: Floats | None = None
    deadline: Ints | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """capacity: units of each kind, processors first; policy: of its queue; price, cost: of a processor-hour there in yuan, the customer's
    and the operator's, 0 for capacity that is owned and free at the margin; outages: (down, up again) in seconds, in order and apart."""

    name: str
    capacity: Sequence[int]
    policy: Policy = POLICIES["easy"]
    price: float = 0.0
    cost: float = 0.0
    outages: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """delay_s: before a transfer from the site of the row to that of the column float64[S,S]; bandwidth: bytes/s float64[S,S]."""

    delay_s: Floats
    bandwidth: Floats


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """start (s; of the last try), site, restarts int64[n] in the order of the jobs given; moves: of jobs that waited; instants: looked
    at; carried: bytes brought from site to site; said int64[n], where asked for: the wait (s) that a forward run gave where the job first went."""

    start: Ints
    site: Ints
    restarts: Ints
    moves: int
    instants: int
    carried: float = 0.0
    said: Ints | None = None


def load() -> Compiled:
    """The kernel, the broker and the loop compiled. ImportError where numba is not installed."""
    return compiled.load((worth, chances, net, outlook, ahead, ledger, broker, relocate, network_replay))


def simulate(
    jobs: NetworkJobs,
    sites: Sequence[Site],
    policy: network.NetworkPolicy,
    *,
    links: Links | None = None,
    seed: int = 1,
    forecasts: bool = False,
    fast: bool = True,
) -> NetworkRun:
    """Run all jobs. InvalidInput simulation.too_large where one does not fit its home."""
    count, names = len(jobs.submit), [s.name for s in sites]
    need = np.asarray(jobs.need, np.int64).reshape(count, -1)
    capacity = np.array([s.capacity for s in sites], np.int64).reshape(len(sites), -1)
    if need.shape[1] != capacity.shape[1]:
        raise InvalidInput("simulation.kinds", f"jobs ask for {need.shape[1]} kinds of resources, sites have {capacity.shape[1]}")
    over = np.flatnonzero((need > capacity[jobs.home]).any(axis=1))
    if len(over):
        j = int(over[0])
        raise InvalidInput(
            "simulation.too_large", f"job {j} asks for {need[j].tolist()}, its home {names[jobs.home[j]]} has {capacity[jobs.home[j]].tolist()}",
            hint="drop jobs larger than their machine first (convention K does)",
        )  # fmt: skip
    order = np.argsort(jobs.submit, kind="stable")
    fair = policy.fair != "none"
    user = np.zeros(count, np.int64) if jobs.user is None else jobs.user
    first = table(jobs.submit[order], jobs.estimate[order], jobs.run[order], need[order], user[order])
    if fair:
        alone = first.copy()
        alone[:, RUN] = jobs.estimate[order]  # until it has ended in truth
        first = np.concatenate((first, alone))
    places = [*sites, *sites] if fair else [*sites]
    st = build(
        first, np.concatenate((capacity, capacity)) if fair else capacity, [s.policy for s in places],
        users=int(user.max(initial=0)) + 1, compiled=fast,
    )  # fmt: skip
    per_byte = None if links is None else 1.0 / links.bandwidth
    nt = network.broker(
        policy, jobs.home[order], capacity[:, 0].tolist(), kinds=capacity.shape[1], price=np.array([s.price for s in sites]) / 3600, cost=np.array([s.cost for s in sites]) / 3600,
        delay_s=None if links is None else links.delay_s, s_per_byte=per_byte, bytes_=None if jobs.bytes is None else jobs.bytes[order],
        deadline=None if jobs.deadline is None else jobs.deadline[order].astype(np.float64), seed=seed, compiled=fast,
    )  # fmt: skip
    away = sorted((t, i, up) for i, s in enumerate(sites) for a, b in s.outages for t, up in ((a, 1), (b, 0)))
    outages = np.array([*away, (FOREVER, 0, 0)], np.int64).reshape(-1)
    restarts, said = np.zeros(count, np.int64), np.zeros(count if forecasts else 0, np.int64)
    if fast:
        instants = load().replay_network(st, nt, count, outages, capacity.reshape(-1), restarts, said, forecasts)
    else:
        counted, told = restarts.tolist(), said.tolist()
        instants = network_replay.replay_network(st, nt, count, outages.tolist(), capacity.reshape(-1).tolist(), counted, told, forecasts)
        restarts, said = np.array(counted, np.int64), np.array(told, np.int64)
    start, site = np.empty(count, np.int64), np.empty(count, np.int64)
    word = np.asarray(nt.word, np.int64)
    start[order] = rows(st)[:count, START]
    site[order] = word[int(word[net.PLACE]) :][:count]
    again, ahead_s = np.empty(count, np.int64), np.empty(len(said), np.int64)
    again[order] = restarts
    if forecasts:
        ahead_s[order] = said
    return NetworkRun(start, site, again, int(word[net.MOVES]), int(instants), float(nt.num[net.CARRIED]), ahead_s if forecasts else None)


def pooled(jobs: NetworkJobs, sites: Sequence[Site], *, fast: bool = True) -> NetworkRun:
    """The same jobs on one machine that has all the sites' capacity and the first one's queue: what no network can promise."""
    capacity = np.array([s.capacity for s in sites], np.int64).reshape(len(sites), -1).sum(axis=0)
    one = Site("pooled", capacity.tolist(), sites[0].policy)
    there = NetworkJobs(jobs.submit, jobs.estimate, jobs.run, jobs.need, np.zeros_like(jobs.home), jobs.user)
    return simulate(there, [one], network.POLICIES["home"], fast=fast)


__all__ = ["Links", "NetworkJobs", "NetworkRun", "Site", "load", "pooled", "simulate"]

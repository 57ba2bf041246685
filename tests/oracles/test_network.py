"""The network of four logs: earliest start against the broker, no site worse than alone, and compiled as plain."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from tests.oracles.replay import PROCESSORS, trace

from tidegrid.lab import networking
from tidegrid.scheduling.kernel.policy import POLICIES as QUEUES
from tidegrid.scheduling.network import POLICIES
from tidegrid.simulation.network import NetworkJobs, NetworkRun, Site, pooled, simulate
from tidegrid.simulation.scorecard import compared, gap_closed, scorecard

pytest.importorskip("numba", reason="numba is not installed: whole logs take too long as plain Python")


@cache
def four() -> tuple[NetworkJobs, list[Site]]:
    paths = [trace(f"swf/{name}.swf.gz") for name in PROCESSORS]
    return networking.read(paths, QUEUES["easy"], processors=list(PROCESSORS.values()), days=330)


@cache
def ran(name: str) -> NetworkRun:
    jobs, sites = four()
    return pooled(jobs, sites) if name == "pooled" else simulate(jobs, sites, POLICIES[name])


@pytest.mark.timeout(600)
def test_the_broker_closes_more_of_the_gap_than_earliest_start() -> None:
    jobs, _ = four()
    closed = {name: gap_closed(jobs, ran("home"), ran(name), ran("pooled"))["value"] for name in ("earliest", "tide")}
    assert closed["tide"] > closed["earliest"] > 0.81
    assert closed["tide"] > 0.88


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "measures"), [("tide-fair", ["mean_wait"]), ("tide-fair-slowdown", ["mean_wait", "mean_bounded_slowdown"])])
def test_no_site_is_worse_than_alone_at_a_loss_of_at_most_ten_points(name: str, measures: list[str]) -> None:
    jobs, sites = four()
    side = compared(scorecard(jobs, sites, ran(name)), scorecard(jobs, sites, ran("home")))
    for measure in measures:
        assert side["worse_than_alone"][measure] == []
    free, fair = (gap_closed(jobs, ran("home"), ran(n), ran("pooled"))["value"] for n in ("tide", name))
    assert free - fair <= 0.10


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", POLICIES)
def test_compiled_and_plain_give_the_same_starts(name: str) -> None:
    jobs, sites = four()
    rows = np.flatnonzero(jobs.submit < np.sort(jobs.submit)[1500])
    few = NetworkJobs(jobs.submit[rows], jobs.estimate[rows], jobs.run[rows], jobs.need[rows], jobs.home[rows])
    plain, compiled = (simulate(few, sites, POLICIES[name], fast=fast) for fast in (False, True))
    assert (plain.start == compiled.start).all()
    assert (plain.site == compiled.site).all()
    assert plain.moves == compiled.moves

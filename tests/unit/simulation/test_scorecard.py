"""The scorecard: its figures by hand, its intervals hold and are the same every time."""

from __future__ import annotations

import numpy as np

from tidegrid.simulation.network import NetworkJobs, NetworkRun, Site
from tidegrid.simulation.scorecard import compared, gap_closed, scorecard

JOBS = NetworkJobs(
    np.array([0, 0, 100]), np.array([3600, 3600, 10]), np.array([3600, 1800, 5]), np.array([2, 1, 1]), np.array([0, 1, 1]), np.array([0, 1, 1])
)
SITES = [Site("a", [4]), Site("b", [4], price=2.0)]


def ran(start: list[int], site: list[int], moves: int = 0) -> NetworkRun:
    return NetworkRun(np.array(start), np.array(site), np.zeros(len(start), np.int64), moves, 0)


def test_its_figures_are_those_of_the_definitions() -> None:
    card = scorecard(JOBS, SITES, ran([0, 1800, 115], [1, 1, 0], moves=1))
    assert card["mean_wait"]["value"] == (0 + 1800 + 15) / 3
    assert card["mean_bounded_slowdown"]["value"] == (1 + 2 + 2) / 3
    assert card["mean_turnaround"]["value"] == (3600 + 3600 + 20) / 3
    assert card["max_wait"] == 1800 and card["started_at_once"] == 1 / 3
    assert card["cost"] == 2.0 * (2 * 1 + 1 * 0.5)
    assert card["moved"] == 2 / 3 and card["moves"] == 1
    assert card["sites"][1] == {"site": "b", "jobs": 2, "mean_wait": 907.5, "mean_bounded_slowdown": 2.0, "p95_wait": 1710.75, "max_wait": 1800, "guests": 1}
    assert card["users"]["users"] == 2 and card["users"]["jain"] == 9 / 10


def test_it_names_the_sites_whose_users_were_better_off_alone() -> None:
    alone, here = scorecard(JOBS, SITES, ran([0, 0, 100], [0, 1, 1])), scorecard(JOBS, SITES, ran([5, 0, 100], [0, 1, 1]))
    assert compared(here, alone)["worse_than_alone"] == {"mean_wait": ["a"], "mean_bounded_slowdown": ["a"]}


def test_an_interval_holds_the_mean_and_is_the_same_again() -> None:
    rng = np.random.default_rng(3)
    submit = np.sort(rng.integers(0, 60 * 86_400, 3000))
    jobs = NetworkJobs(submit, np.full(3000, 60), np.full(3000, 60), np.ones(3000, np.int64), np.zeros(3000, np.int64))
    run = ran((submit + rng.exponential(500, 3000).astype(np.int64)).tolist(), [0] * 3000)
    first, second = (scorecard(jobs, SITES[:1], run)["mean_wait"] for _ in range(2))
    assert first == second
    assert first["low"] < first["value"] < first["high"]
    assert first["high"] - first["low"] < 100


def test_the_gap_is_closed_half_way_and_all_the_way() -> None:
    home, half, best = (ran([0, 100 - k, 200 - k], [0, 1, 1]) for k in (0, 50, 100))
    assert gap_closed(JOBS, home, half, best)["value"] == 0.5
    assert gap_closed(JOBS, home, best, best)["value"] == 1.0
    assert gap_closed(JOBS, home, half, home) == {"value": 1.0, "low": 1.0, "high": 1.0}, "no gap, and no NaN"

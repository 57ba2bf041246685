"""Forecasts of waits: the cold start, what is learned, and that nothing is known before its time."""

from __future__ import annotations

import numpy as np

from tidegrid.scheduling import forecasts
from tidegrid.scheduling.kernel.chances import P50, P90
from tidegrid.simulation.forecasting import judged, told


def test_with_nothing_seen_it_says_half_the_forward_run_and_all_of_it() -> None:
    soon, p50, p90 = forecasts.look_up(forecasts.cold(4), np.array([0.0, 240.0, 3840.0, np.inf]))
    assert np.allclose(soon, [1.0, 0.2, 60 / 3900, 0.0])
    assert np.allclose(p50, [0.0, 120.0, 1920.0, np.inf])
    assert np.allclose(p90, [0.0, 240.0, 3840.0, np.inf])


def test_it_learns_the_quantiles_and_the_chance_of_a_queue_that_is_unlike_others() -> None:
    rng = np.random.default_rng(1)
    n = 6000
    submit = np.cumsum(rng.integers(1, 600, n))
    forward = rng.integers(300, 40_000, n)
    wait = np.where(rng.random(n) < 0.3, 10, (forward * rng.lognormal(-1.5, 0.8, n)).astype(np.int64))
    soon, p50, p90, version = told(submit, wait, forward)
    half = slice(n // 2, n)
    scores = judged(wait[half], forward[half], soon[half], p50[half], p90[half])
    assert abs(scores["coverage_p50"] - 0.5) < 0.05 and abs(scores["coverage_p90"] - 0.9) < 0.04
    assert scores["median_error_s"] < 0.5 * scores["median_error_forward_s"]
    assert scores["brier"] < 0.8 * scores["brier_forward"]
    assert version == told(submit, wait, forward)[3] != forecasts.version(forecasts.cold(1)[0])


def test_what_is_said_of_a_job_does_not_depend_on_what_happens_later() -> None:
    rng = np.random.default_rng(2)
    submit, forward = np.cumsum(rng.integers(1, 300, 400)), rng.integers(60, 9000, 400)
    wait = rng.integers(0, 5000, 400)
    other = np.where(submit + wait > submit[200], wait + 1000, wait)  # known only after job 200 has come, if then
    first, second = told(submit, wait, forward), told(submit, other, forward)
    assert (first[1][:200] == second[1][:200]).all()
    assert (first[1] != second[1]).any()


def test_a_wait_that_outlives_what_was_said_is_learned_while_it_lasts() -> None:
    n = 50
    submit, forward, wait = np.arange(n) * 4000, np.full(n, 3600), np.full(n, 10**9)  # nobody ever starts
    p50 = told(submit, wait, forward)[1]
    assert p50[-1] > 2 * p50[0]


def test_p90_is_never_below_p50() -> None:
    table = forecasts.cold(1)[0]
    for k in range(300):
        table = forecasts.learn(table, P50, 700.0, False)
        table = forecasts.learn(table, P90, 700.0, k % 7 > 0)
    _, p50, p90 = forecasts.look_up(table[None], np.array([700.0]))
    assert p90[0] >= p50[0]

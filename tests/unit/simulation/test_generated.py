"""Generated logs: the marginals are the published ones, loads are met, the seed decides everything."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tidegrid.domain.errors import InvalidInput
from tidegrid.simulation.traces import convention_k, lublin, read_swf, write_swf
from tidegrid.simulation.traces.seasons import REGIONS, Region, hours
from tidegrid.simulation.traces.trace import COLUMNS, concatenate
from tidegrid.simulation.traces.worldwide import network

N = 40_000
KS = 1.95 / math.sqrt(N)  # a sample of N differs more from its own distribution once in a thousand


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def gamma_cdf(a: float, b: float, high: float, steps: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """The gamma distribution function on a grid, integrated here from its density."""
    x = (np.arange(steps) + 0.5) * high / steps
    density = np.exp((a - 1) * np.log(x) - x / b - math.lgamma(a) - a * math.log(b))
    return np.concatenate(([0], (np.arange(steps) + 1) * high / steps)), np.concatenate(([0], np.cumsum(density) * high / steps))


def distance(sample: np.ndarray, grid: np.ndarray, cdf: np.ndarray) -> float:
    """Kolmogorov and Smirnov's."""
    expected = np.interp(np.sort(sample), grid, cdf)
    at = np.arange(len(sample) + 1) / len(sample)
    return float(max(np.abs(expected - at[1:]).max(), np.abs(expected - at[:-1]).max()))


@pytest.mark.parametrize("processors", [1, 64, 128])
def test_run_times_are_the_published_hyper_gamma_of_their_size(processors):
    run = np.log(lublin.runs(rng(), np.full(N, processors)) + 0.5)  # a whole second stands for the second it was cut from
    grid, one = gamma_cdf(4.2, 0.94, 12)
    _, two = gamma_cdf(312, 0.03, 12)
    p = 0.78 - 0.0054 * processors
    cdf = p * one + (1 - p) * two
    long = run > math.log(30)  # below, seconds are too coarse to compare
    cut = np.interp(math.log(30), grid, cdf)
    assert distance(run[long], grid, (cdf - cut).clip(0) / (cdf[-1] - cut)) < KS * math.sqrt(N / long.sum())
    assert abs((~long).mean() - cut / cdf[-1]) < 0.01


def test_sizes_are_the_published_two_stage_uniform():
    n = lublin.sizes(rng(), N, 7.0)
    assert abs((n == 1).mean() - 0.244) < 0.0065 + 0.01  # a parallel job near log2 0.8 cannot fall to 1, so nothing is added
    parallel = n[n > 1]
    power = (parallel & (parallel - 1)) == 0
    assert power.mean() > 0.576 / (1 - 0.244)
    odd = np.log2(parallel[~power])  # those are the plain draws, where rounding did not make a power of two
    assert 2 ** odd.min() == 3 and n.max() == 128
    below = (np.log2(parallel) <= 4.5 + 0.5).mean()  # powers of two round up to half a step across the changing point
    assert 0.86 - 0.02 < below < 0.86 + 0.05


def test_times_between_arrivals_are_the_published_log_gamma():
    grid, cdf = gamma_cdf(10.2303 * 1.0225, 0.4871, 13)
    assert distance(np.log(lublin.gaps(rng(), N)), grid, cdf / cdf[-1]) < KS


def test_the_daily_cycle_is_the_published_gamma():
    weights = lublin.cycle()
    grid, cdf = gamma_cdf(8.1737, 3.9631, 60, 60_000)
    expected = [np.interp(i + 0.5, grid, cdf) - np.interp(i - 0.5, grid, cdf) for i in range(11, 59)]
    np.testing.assert_allclose(np.roll(weights, -10) / 48, np.array(expected) / sum(expected), rtol=2e-3)
    times = lublin.warp(np.sort(rng().random(N)) * 86400 * 50, weights)
    found = np.bincount((times % 86400 // 1800).astype(int), minlength=48) / N
    assert np.abs(found - weights / 48).max() < 4 * math.sqrt(0.04 / N)


@pytest.mark.parametrize(("jobs", "processors", "load"), [(3000, 64, 0.9), (20_000, 8192, 0.6), (200, 10, 1.5)])
def test_a_load_is_met_and_the_log_is_a_good_one(jobs, processors, load):
    trace = lublin.generate(rng(3), jobs, processors, load)
    offered = (trace.run * trace.processors).sum() / processors / (trace.submit[-1] - trace.submit[0])
    assert abs(offered / load - 1) < 0.02
    assert (np.diff(trace.submit) >= 0).all() and trace.processors.max() <= processors and trace.run.min() >= 1
    assert (trace.estimate >= trace.run).all() and len(convention_k(trace)) == jobs
    again = read_swf(write_swf(trace))
    assert all(np.array_equal(getattr(trace, name), getattr(again, name)) for name in COLUMNS)


def test_jobs_may_be_kept_narrower_than_the_machine():
    trace = lublin.generate(rng(4), 3000, 8192, 0.8, widest=100)
    assert trace.processors.max() == 100 and trace.header.processors == 8192


def test_most_estimates_are_times_that_people_ask_for():
    trace = lublin.generate(rng(5), 20_000, 128)
    assert np.isin(trace.estimate, lublin.POPULAR).mean() > 0.9
    part = (trace.run / trace.estimate)[trace.run > 3600]
    assert 0.3 < part.mean() < 0.7


def test_the_seed_decides_everything():
    a, b, c = (lublin.generate(rng(s), 500, 64, 0.8) for s in (1, 1, 2))
    assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in COLUMNS)
    assert not np.array_equal(a.run, c.run)


@pytest.mark.parametrize(("jobs", "processors", "load"), [(0, 8, 0.9), (5, 0, 0.9), (5, 8, 0.0), (5, 8, float("nan")), (5, 8, -1.0)])
def test_what_cannot_be_generated_is_refused(jobs, processors, load):
    with pytest.raises(InvalidInput) as caught:
        lublin.generate(rng(), jobs, processors, load)
    assert caught.value.code == "trace.generate"


def whole(chunk: int, **how):
    machines, parts = network(11, 30_000, 40_000, 0.7, partitions=24, chunk=chunk, **how)
    return machines, concatenate(list(parts))


def test_a_network_fits_its_machines_and_meets_its_load():
    machines, trace = whole(7_000)
    assert len(trace) == 30_000 and (np.diff(trace.submit) >= 0).all()
    assert (trace.processors <= machines.processors[trace.partition]).all() and (trace.gpus <= machines.gpus[trace.partition]).all()
    assert ((trace.gpus > 0) == (machines.gpus[trace.partition] > 0)).all() and len({g.name for g in machines.groups}) == 24
    offered = (trace.run * trace.processors).sum() / machines.processors.sum() / trace.submit[-1]
    assert abs(offered / 0.7 - 1) < 0.1
    assert abs(machines.processors.sum() / 40_000 - 1) < 0.1
    assert (trace.estimate >= trace.run).all()


def test_a_network_is_drawn_from_its_seed_alone():
    _, a = whole(7_000)
    _, b = whole(7_000)
    assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in COLUMNS)


def test_runs_of_one_users_application_lie_close_together():
    _, trace = whole(30_000)
    log = np.log(trace.run)
    mean = np.bincount(trace.application, log) / np.maximum(np.bincount(trace.application), 1)
    assert (log - mean[trace.application]).std() < 0.5 * log.std()


def test_the_week_and_the_festival_show_where_they_are_kept():
    start, days = 1767225600, 90  # 2026-01-01 to the end of March; the festival is on 17 February
    east, europe = (hours(r, start, days).reshape(days, 24).sum(axis=1) for r in (Region("e", 0, 1, True), REGIONS[-1]))
    assert east[47:52].mean() < 0.45 * east[61:66].mean()  # 17 February against the first days of March, a Tuesday to Saturday each
    assert europe[47:52].mean() > 0.9 * europe[61:66].mean()
    monday = np.arange(4, 60, 7)
    assert europe[monday + 5].mean() < 0.7 * europe[monday].mean()


def test_a_region_eight_hours_ahead_has_its_crest_eight_hours_earlier():
    here, there = (hours(Region("r", ahead, 1), 1767225600, 28).reshape(28, 24).mean(axis=0) for ahead in (0, 8))
    assert (int(here.argmax()) - int(there.argmax())) % 24 == 8

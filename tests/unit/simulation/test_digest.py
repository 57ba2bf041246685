"""A schedule's figures, its use over time and its Gantt chart, against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegrid.domain.errors import InvalidInput
from tidegrid.simulation.digest import Schedule, busiest, digest, figures, gantt, over_time
from tidegrid.simulation.traces.trace import Header, build
from tidegrid.simulation.variants import at_load, offered, shaken


def schedule(rows, processors=8):
    """rows: (submit, start, run, width)."""
    a = np.array(rows, np.int64)
    return Schedule(a[:, 0], a[:, 1], a[:, 2], a[:, 3], processors)


def test_figures_are_those_of_the_definitions():
    found = figures(schedule([(0, 0, 100, 4), (10, 20, 5, 8), (20, 100, 100, 2)]))
    assert found["mean_wait"] == pytest.approx(30) and found["max_wait"] == 80 and found["started_at_once"] == pytest.approx(1 / 3)
    assert found["mean_bounded_slowdown"] == pytest.approx((1 + 15 / 10 + 180 / 100) / 3)
    assert found["utilisation"] == pytest.approx((400 + 40 + 200) / (8 * 200))


jobs = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60), st.integers(1, 50), st.integers(1, 4)), min_size=1, max_size=25)


@settings(max_examples=40, deadline=None)
@given(jobs)
def test_use_over_time_is_what_counting_second_by_second_gives(rows):
    s = schedule([(a, a + w, r, n) for a, w, r, n in rows])
    found = over_time(s, 7)
    last = int((s.start + s.run).max())
    seconds = np.arange(found["first"], last)
    busy = np.array([s.width[(s.start <= t) & (t < s.start + s.run)].sum() for t in seconds])
    queued = np.array([s.width[(s.submit <= t) & (t < s.start)].sum() for t in seconds])
    assert sum(found["busy"]) * found["step"] == pytest.approx(busy.sum(), abs=0.1 * found["step"])
    assert sum(found["waiting"]) * found["step"] == pytest.approx(queued.sum(), abs=0.1 * found["step"])
    whole = [b for b in range(7) if (found["step"] * b).is_integer() and found["step"].is_integer()]
    for b in whole:
        part = slice(int(found["step"] * b), int(found["step"] * (b + 1)))
        assert found["busy"][b] == pytest.approx(busy[part].mean(), abs=0.01)


@settings(max_examples=40, deadline=None)
@given(jobs)
def test_no_two_jobs_are_drawn_on_one_processor_and_each_has_its_width(rows):
    processors, busy, placed = 8, [], []
    for submit, _, run, width in sorted(rows):  # first come, first served, by counting
        start = max([submit, *(p[1] for p in placed[-1:])])
        while sum(w for _, b, r, w in placed if b <= start < b + r) + width > processors:
            start += 1
        placed.append((submit, start, run, width))
    s = schedule(placed, processors)
    found = gantt(s, (0, 10_000))
    widths: dict[int, int] = {}
    for job, begin, end, at, n, wait in found["pieces"]:
        assert at >= 0 and at + n <= processors and end - begin == s.run[job] and wait == s.start[job] - s.submit[job]
        widths[job] = widths.get(job, 0) + n
        busy.append((begin, end, at, at + n))
    assert widths == {i: int(w) for i, w in enumerate(s.width)}
    for i, (b1, e1, l1, h1) in enumerate(busy):
        assert not any(b1 < e2 and b2 < e1 and l1 < h2 and l2 < h1 for b2, e2, l2, h2 in busy[i + 1 :])


def test_the_window_lies_where_most_is_asked_for():
    quiet = [(t, t, 60, 1) for t in range(0, 400_000, 2000)]
    rush = [(200_000 + i, 200_000 + 600 * i, 500, 8) for i in range(300)]
    begin, end = busiest(schedule(quiet + rush), most=100)
    assert 190_000 < (begin + end) / 2 < 400_000 and digest(schedule(quiet + rush), (begin, end))["window"] == [begin, end]


def trace(n=2000, seed=1):
    rng = np.random.default_rng(seed)
    submit = np.sort(rng.integers(0, 100_000, n))
    return build(submit - submit[0], rng.integers(1, 500, n), requested=rng.integers(1, 8, n), estimate=np.full(n, 600), header=Header(processors=64))


def test_a_log_at_another_load_has_that_load():
    for load in (0.2, 0.9, 3.0):
        assert offered(at_load(trace(), load)) == pytest.approx(load, rel=1e-3)
    with pytest.raises(InvalidInput) as caught:
        at_load(build([0, 0], [1, 1], requested=[1, 1]), 0.5)
    assert caught.value.code == "sweep.load"


def test_a_shaken_log_has_the_same_jobs_near_their_times():
    k = trace()
    a, b, c = (shaken(k, np.random.default_rng(s), 300) for s in (1, 1, 2))
    assert (np.diff(a.submit) >= 0).all() and a.submit[0] == 0 and sorted(a.job) == sorted(k.job)
    assert np.abs(a.submit[np.argsort(a.job)] - k.submit[np.argsort(k.job)]).max() <= 600
    assert (a.submit == b.submit).all() and (a.submit != c.submit).any()

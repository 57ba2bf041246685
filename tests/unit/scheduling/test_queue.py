"""The queue's step and forecast, against an EASY written plainly here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegrid.scheduling.queue import NEVER, forecast, forward, start_now

I64 = np.int64


def arrays(running, queue, kinds):
    """running: [(end, need)], queue: [(need, wall)] -> the four arrays."""
    return (
        np.array([e for e, _ in running], I64),
        np.array([n for _, n in running], I64).reshape(len(running), kinds),
        np.array([n for n, _ in queue], I64).reshape(len(queue), kinds),
        np.array([w for _, w in queue], I64),
    )


def plain_step(policy, now, free, running, queue):
    """EASY with plain loops: one job at a time."""
    fits = lambda need, room: all(a <= b for a, b in zip(need, room, strict=True))  # noqa: E731
    minus = lambda a, b: [x - y for x, y in zip(a, b, strict=True)]  # noqa: E731
    plus = lambda a, b: [x + y for x, y in zip(a, b, strict=True)]  # noqa: E731
    free, running = list(free), list(running)
    total = free
    for _, need in running:
        total = plus(total, need)
    started, shadow, extra = [], None, None
    for i, (need, wall) in enumerate(queue):
        if not fits(need, total):
            continue
        if shadow is None:
            if fits(need, free):
                started.append(i)
                free = minus(free, need)
                running.append((now + wall, need))
                continue
            if policy == "fcfs":
                break
            room = free
            for t in sorted({max(e, now) for e, _ in running}):
                room = free
                for e, n in running:
                    if max(e, now) <= t:
                        room = plus(room, n)
                if fits(need, room):
                    shadow, extra = t, minus(room, need)
                    break
            continue
        if fits(need, free) and (now + wall <= shadow or fits(need, extra)):
            started.append(i)
            free = minus(free, need)
            if now + wall > shadow:
                extra = minus(extra, need)
    return started


def plain_run(policy, now, free, running, queue):
    """Starts of all jobs of a closed queue whose jobs run as long as estimated."""
    free, running, waiting, starts = list(free), list(running), list(range(len(queue))), {}
    running = [(max(e, now + 1), n) for e, n in running]
    while True:
        picked = plain_step(policy, now, free, running, [queue[i] for i in waiting])
        for i in [waiting[k] for k in picked]:
            need, wall = queue[i]
            starts[i] = now
            running.append((now + wall, need))
            free = [a - b for a, b in zip(free, need, strict=True)]
            waiting.remove(i)
        if not running:
            return starts
        now = min(e for e, _ in running)
        for _, need in [r for r in running if r[0] == now]:
            free = [a + b for a, b in zip(free, need, strict=True)]
        running = [r for r in running if r[0] != now]


@st.composite
def machines(draw):
    kinds = draw(st.integers(1, 3))
    need = st.lists(st.integers(0, 5), min_size=kinds, max_size=kinds)
    running = draw(st.lists(st.tuples(st.integers(0, 12), need), max_size=6))
    queue = draw(st.lists(st.tuples(need, st.integers(1, 12)), max_size=40))
    free = draw(st.lists(st.integers(0, 7), min_size=kinds, max_size=kinds))
    return kinds, free, running, queue


@settings(max_examples=300, deadline=None)
@given(machines(), st.sampled_from(["fcfs", "easy"]), st.integers(0, 5))
def test_a_step_starts_what_the_plain_loop_starts(machine, policy, now):
    kinds, free, running, queue = machine
    got = start_now(policy, now, np.array(free, I64), *arrays(running, queue, kinds))
    assert got.tolist() == plain_step(policy, now, free, running, queue)


@settings(max_examples=150, deadline=None)
@given(machines(), st.sampled_from(["fcfs", "easy"]), st.data())
def test_a_probe_starts_when_the_plain_run_with_it_at_the_tail_starts_it(machine, policy, data):
    kinds, free, running, queue = machine
    need = st.lists(st.integers(0, 8), min_size=kinds, max_size=kinds)
    probes = data.draw(st.lists(st.tuples(need, st.integers(1, 12)), min_size=1, max_size=4))
    _, _, probe_need, probe_wall = arrays([], probes, kinds)
    got = forecast(policy, 3, np.array(free, I64), *arrays(running, queue, kinds), probe_need, probe_wall)
    want = [plain_run(policy, 3, free, running, [*queue, p]).get(len(queue), NEVER) for p in probes]
    assert got.tolist() == want


def test_at_the_shadow_instant_every_release_counts():
    running = [(10, [2]), (10, [3])]
    queue = [([2], 5), ([1], 100)]  # the head waits for one of two jobs that end together; the second leaves 3 over
    started = start_now("easy", 0, np.array([1], I64), *arrays(running, queue, 1))
    assert started.tolist() == [1]


def test_fcfs_lets_nobody_pass_and_easy_does():
    machine = (np.array([2], I64), *arrays([(50, [6])], [([8], 10), ([2], 50), ([1], 51)], 1))
    assert start_now("fcfs", 0, *machine).tolist() == []
    assert start_now("easy", 0, *machine).tolist() == [1]


def test_a_job_that_can_never_fit_blocks_nobody_and_is_forecast_never():
    machine = (np.array([4], I64), *arrays([], [([9], 10), ([4], 10)], 1))
    assert start_now("fcfs", 0, *machine).tolist() == [1]
    probes = np.array([[5], [1]], I64), np.array([1, 1], I64)
    assert forecast("fcfs", 0, *machine, *probes).tolist() == [NEVER, 10]


def test_an_empty_queue_and_an_empty_machine():
    machine = (np.array([4, 4], I64), *arrays([], [], 2))
    assert start_now("easy", 7, *machine).tolist() == []
    assert forecast("easy", 7, *machine, np.array([[1, 4]], I64), np.array([9], I64)).tolist() == [7]


@pytest.mark.parametrize("policy", ["fcfs", "easy"])
def test_a_cut_forward_run_ends_with_the_empty_machine_no_sooner_than_the_work_allows(policy):
    machine = (np.array([0], I64), *arrays([(10, [4])], [([4], 10)] * 50, 1))
    run = forward(policy, 0, *machine, max_steps=5)
    assert run.cut and run.free[-1].tolist() == [4]
    assert run.starts(np.array([[4]], I64), np.array([1], I64)).tolist() == [510]

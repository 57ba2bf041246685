"""The kernel against a queue simulated in the plainest way, and compiled against plain."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegrid.scheduling.kernel import build, steps
from tidegrid.scheduling.kernel.lines import B
from tidegrid.scheduling.kernel.policy import (
    BACKFILLS,
    FILLS,
    ORDERS,
    POLICIES,
    PREDICTORS,
    PUT_OFFS,
    Policy,
    clairvoyant,
)
from tidegrid.scheduling.kernel.replay import replay

_SPEC = importlib.util.spec_from_file_location("kernel_reference", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)


@st.composite
def policies(draw):
    return Policy(
        order=draw(st.sampled_from(sorted(ORDERS))),
        backfill=draw(st.sampled_from(sorted(BACKFILLS))),
        fill="queue",
        guard_s=draw(st.sampled_from([0.0, 0.0, 40.0, 400.0])),
        predictor=draw(st.sampled_from([p for p in sorted(PREDICTORS) if p != "given"])),
        put_off=draw(st.sampled_from(sorted(PUT_OFFS))),
        by_planned=draw(st.booleans()),
        quantile=draw(st.sampled_from([0.3, 0.5, 0.9])),
        sure=draw(st.booleans()),
    )


@st.composite
def queues(draw, policy=policies()):
    policy = draw(policy)
    if policy.backfill == "easy" and policy.predictor != "alike":  # its plans change while jobs wait: only for lines by arrival
        policy = replace(policy, fill=draw(st.sampled_from(sorted(FILLS))))
    if policy.predictor == "alike" and policy.order in ("sjf", "saf", "f1", "f2", "f3", "f4"):
        policy = replace(policy, order="response")
    if policy.backfill == "conservative":
        policy = replace(policy, guard_s=0.0)
    capacity = draw(st.lists(st.integers(3, 9), min_size=1, max_size=2))
    scale = draw(st.sampled_from([1, 60]))
    job = st.tuples(
        st.integers(0, 9), st.integers(0, 20), st.integers(0, 25), st.integers(-1, 2), st.lists(st.integers(1, 7), min_size=2, max_size=2)
    )
    rows = draw(st.lists(job, min_size=1, max_size=50))
    submit = np.cumsum([r[0] * scale for r in rows])
    jobs = [
        {"submit": int(at), "estimate": r[1] * scale, "run": r[2] * scale, "user": r[3], "need": r[4][: len(capacity)]}
        for at, r in zip(submit, rows, strict=True)
    ]
    return policy, capacity, jobs


def table_of(jobs):
    columns = {name: np.array([job[name] for job in jobs]) for name in ("submit", "estimate", "run", "need", "user")}
    return build.table(**columns)


def plain(policy, capacity, jobs):
    state = build.build(table_of(jobs), np.array([capacity]), [policy], users=20)
    replay(state, 0, 0, len(jobs))
    return build.starts(state).tolist()


@settings(max_examples=120, deadline=None)
@given(queues())
def test_every_job_starts_when_the_plain_queue_starts_it(case):
    policy, capacity, jobs = case
    got = plain(policy, capacity, jobs)
    assert got == reference.simulate(jobs, capacity, policy)


def random_log(seed: int, n: int, capacity: list[int]):
    rng = np.random.default_rng(seed)
    estimate = rng.integers(1, 60, n) * 60
    return build.table(
        submit=np.cumsum(rng.integers(0, 240, n)),
        estimate=estimate,
        run=(estimate * rng.random(n) ** 2).astype(np.int64),
        need=np.stack([rng.integers(1, c + 1, n) ** 2 // c + 1 for c in capacity], axis=1).clip(1, capacity),
        user=rng.integers(-1, 20, n),
    )


@pytest.mark.parametrize("capacity", [[64], [64, 40, 8]])
def test_compiled_and_plain_give_the_same_starts(capacity: list[int]):
    pytest.importorskip("numba")
    from tidegrid.scheduling.kernel.compiled import load

    kernel, jobs = load(), random_log(7, 300, capacity)
    for policy in [*POLICIES.values(), clairvoyant(POLICIES["default"])]:
        some = jobs[:100] if policy.backfill == "conservative" else jobs
        with_arrays = build.build(some.copy(), np.array([capacity]), [policy], users=20, compiled=True)
        kernel.replay(with_arrays, 0, 0, len(some))
        with_lists = build.build(some, np.array([capacity]), [policy], users=20)
        replay(with_lists, 0, 0, len(some))
        assert (build.starts(with_arrays) == build.starts(with_lists)).all(), policy


def test_a_long_queue_in_blocks_is_the_same_queue():
    capacity, jobs = [8], random_log(3, 250, [8])
    jobs[:, 0] //= 10  # many wait
    rows = [
        {"submit": int(r[0]), "estimate": int(r[1]), "run": int(r[2]), "user": int(r[3]), "need": [int(r[-1])]} for r in jobs
    ]
    for name in ("easy", "easy++", "sjf", "default"):
        assert plain(POLICIES[name], capacity, rows) == reference.simulate([dict(r) for r in rows], capacity, POLICIES[name]), name


@pytest.mark.parametrize("behind", [1, 4, 8, 12, B + 1])
@pytest.mark.parametrize("name", ["easy", "easy++", "default"])
def test_blocks_that_join_and_empty_while_jobs_pass_the_head(name: str, behind: int):
    """A block of small jobs takes in what is left of the next one, and then is all started: what comes after it is still the line."""
    small = [(1, 100, 10, 1)] * (B + behind)
    rows = [
        {"submit": at, "estimate": estimate, "run": run, "user": -1, "need": [need]}
        for at, estimate, run, need in [(0, 1000, 1000, 90), (1, 1000, 10, 150), *[(1, 2000, 10, 60)] * (B - 1), *small, *[(1, 2000, 10, 60)] * 9, *small]
    ]  # fmt: skip
    assert plain(POLICIES[name], [200], rows) == reference.simulate([dict(r) for r in rows], [200], POLICIES[name])


def test_sites_of_one_state_do_not_meet():
    jobs = random_log(5, 300, [16])
    alone = build.build(jobs, np.array([[16]]), [POLICIES["easy"]])
    replay(alone, 0, 0, 300)
    both = build.build(np.concatenate([jobs, jobs]), np.array([[16], [16]]), [POLICIES["easy"], POLICIES["easy"]])
    queue = sorted([(int(jobs[j, 0]), j, 0) for j in range(300)] + [(int(jobs[j, 0]), j + 300, 1) for j in range(300)])
    while True:
        now = min(steps.next_event(both, 0), steps.next_event(both, 1), queue[0][0] if queue else steps.FOREVER)
        if now >= steps.FOREVER:
            break
        for s in (0, 1):
            steps.finish(both, s, now)
        while queue and queue[0][0] == now:
            _, j, s = queue.pop(0)
            steps.enter(both, s, j)
        for s in (0, 1):
            steps.schedule(both, s, now)
    want = build.starts(alone)
    assert (build.starts(both) == np.concatenate([want, want])).all()


def test_a_job_that_is_withdrawn_or_released_leaves_its_room():
    jobs = build.table(np.zeros(3, int), np.full(3, 100), None, np.array([4, 4, 2]))
    state = build.build(jobs, np.array([[4]]), [POLICIES["fcfs"]])
    for j in range(3):
        steps.enter(state, 0, j)
    assert steps.schedule(state, 0, 0) == 1 and steps.started(state, 0) == 0
    assert steps.withdraw(state, 0, 1) and not steps.withdraw(state, 0, 1)
    steps.release(state, 0, 0, 50)
    assert steps.schedule(state, 0, 50) == 1 and steps.started(state, 0) == 2


def test_more_jobs_at_one_time_than_the_state_was_made_for_are_refused():
    jobs = build.table(np.zeros(4000, int), np.ones(4000, int), None, np.ones(4000, int))
    state = build.build(jobs, np.array([[1]]), [POLICIES["fcfs"]], at_once=8)
    with pytest.raises(MemoryError, match="more jobs wait or run"):
        for j in range(4000):
            steps.enter(state, 0, j)

"""Nice values bring another scheduler's queue into a policy's order, within bounds, and without touching who waits elsewhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidegrid.scheduling.kernel import build, steps
from tidegrid.scheduling.kernel.policy import DAY, POLICIES
from tidegrid.scheduling.steering import Ended, Waiting, order, plan

DEFAULT = POLICIES["default"]


def job(i: int, **how: int | str) -> Waiting:
    values = {"id": str(i), "user": "ada", "since": 1000 + i, "limit_s": 600, "cores": 4, "priority": 5000 - i}
    return Waiting(**{**values, **how})  # type: ignore[arg-type]


def after(waiting: list[Waiting], changes: list) -> list[str]:
    """Ids in the order that the other scheduler has once the changes are made."""
    to = {c.id: c.nice for c in changes}
    eff = {w.id: w.priority + w.nice - to.get(w.id, w.nice) for w in waiting}
    return [w.id for w in sorted(waiting, key=lambda w: -eff[w.id])]


waiting_jobs = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(60, 9000), st.integers(1, 64), st.integers(100, 200), st.integers(-50, 50)), max_size=12
).map(lambda rows: [job(i, since=s, limit_s=t, cores=c, priority=p, nice=n, own_nice=0) for i, (s, t, c, p, n) in enumerate(rows)])


@given(waiting_jobs, st.sampled_from(["default", "fcfs", "sjf", "wfp3", "saf"]))
def test_the_changes_bring_about_the_order(waiting: list[Waiting], policy: str):
    wanted = order(POLICIES[policy], 6000, 64, waiting, [])
    assert sorted(wanted) == list(range(len(waiting)))
    changes = plan(wanted, waiting, bound=10_000)
    assert after(waiting, changes) == [waiting[i].id for i in wanted]
    steered = {c.id: c.nice for c in changes}
    now = [Waiting(w.id, w.user, w.since, w.limit_s, w.cores, w.priority + w.nice - steered.get(w.id, w.nice), steered.get(w.id, w.nice), 0)
           for w in waiting]  # fmt: skip
    assert plan(wanted, now, bound=10_000) == [], "once it is so, nothing is left to change"
    assert [w.base for w in now] == [w.base for w in waiting]


@given(waiting_jobs, st.integers(1, 5))
def test_no_nice_leaves_its_bound(waiting: list[Waiting], bound: int):
    changes = plan(order(DEFAULT, 6000, 64, waiting, []), waiting, bound)
    assert all(abs(c.nice - c.own_nice) <= bound for c in changes)


def test_the_jobs_trade_their_own_priorities():
    waiting = [job(1, limit_s=90_000, cores=64), job(2, limit_s=60, cores=1)]
    (a, b) = plan(order(DEFAULT, 2000, 64, waiting, []), waiting, bound=100)
    assert {a.id: a.nice, b.id: b.nice} == {"1": 1, "2": -1}


def test_who_has_waited_too_long_comes_first():
    now = int(9 * DAY)
    old, young = job(1, since=now - int(5.5 * DAY), limit_s=200_000, cores=64), job(2, since=now - 60, limit_s=60, cores=1)
    assert order(DEFAULT, now, 64, [young, old], []) == [1, 0]
    assert order(DEFAULT, now, 64, [young, job(1, since=now - 600, limit_s=200_000, cores=64)], []) == [0, 1]


def test_run_times_of_the_same_user_are_learnt():
    a, b = job(1, user="ada", since=1000), job(2, user="bob", since=1000)
    past = [Ended("ada", 600, 590)] * 8 + [Ended("bob", 600, 5)] * 8
    assert order(DEFAULT, 2000, 64, [a, b], past) == [1, 0]
    assert order(DEFAULT, 2000, 64, [a, b], []) == [0, 1]


def test_the_first_is_who_the_kernel_itself_would_start():
    rng = np.random.default_rng(5)
    for _ in range(30):
        n = int(rng.integers(2, 12))
        waiting = [job(i, since=int(rng.integers(0, 5000)), limit_s=int(rng.integers(60, 9000)), cores=8) for i in range(n)]
        table = build.table(
            np.array([w.since for w in waiting]), np.array([w.limit_s for w in waiting]), None, np.full(n, 8), np.zeros(n, np.int64)
        )
        state = build.build(table, np.array([[8]]), [DEFAULT])  # one at a time
        for j in range(n):
            steps.enter(state, 0, j)
        assert steps.schedule(state, 0, 6000) == 1
        assert steps.started(state, 0) == order(DEFAULT, 6000, 8, waiting, [])[0]

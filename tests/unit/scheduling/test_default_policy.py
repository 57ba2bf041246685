"""The default policy of a queue, on a small log made here: some days of a machine that is nearly full."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from tests.unit.scheduling import reference

from tidegrid.scheduling.kernel import build, replay
from tidegrid.scheduling.kernel.policy import POLICIES, Policy

DEFAULT = POLICIES["default"]
PROCESSORS, USERS, HOUR = 32, 6, 3600
SHORT_GUARD = replace(DEFAULT, guard_s=8.0 * HOUR)
"""The default with a guard that a log of few days meets."""


def made(seed: int, jobs: int = 200, load: float = 0.95) -> list[dict]:
    """Users who have habits: each of their jobs runs about as long as the last, and asks for far more."""
    rng = np.random.default_rng(seed)
    user = rng.integers(-1, USERS, jobs)
    run = np.maximum((600 * 3.0 ** (user + 1) ** 0.7 * rng.lognormal(0, 0.6, jobs)).astype(int), 1)
    estimate = np.ceil(run * rng.uniform(1, 10, jobs) / 1800).astype(int) * 1800
    need = 2 ** rng.integers(0, 6, jobs)
    span = (run * need).sum() / (load * PROCESSORS)
    submit = np.sort(rng.integers(0, int(span), jobs))
    columns = {"submit": submit, "estimate": estimate, "run": run, "user": user}
    return [{**{k: int(v[i]) for k, v in columns.items()}, "need": [int(need[i])]} for i in range(jobs)]


def table(jobs: list[dict]):
    column = lambda k: np.array([j[k] for j in jobs], np.int64)  # noqa: E731
    return build.table(column("submit"), column("estimate"), column("run"), column("need"), column("user"))


def starts(jobs: list[dict], policy: Policy, code=replay, compiled: bool = False) -> list[int]:
    state = build.build(table(jobs), np.array([[PROCESSORS]]), [policy], users=USERS, compiled=compiled)
    code.replay(state, 0, 0, len(jobs))
    return build.starts(state).tolist()


def longest_wait(jobs: list[dict], begun: list[int]) -> int:
    return max(b - j["submit"] for b, j in zip(begun, jobs, strict=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("policy", [DEFAULT, SHORT_GUARD], ids=["default", "short guard"])
def test_the_kernel_decides_as_the_plain_simulation_does(seed, policy):
    jobs = made(seed)
    assert starts(jobs, policy) == reference.simulate(copy.deepcopy(jobs), [PROCESSORS], policy)


@pytest.mark.timeout(600)  # compiling takes what the machine has left
@pytest.mark.parametrize("policy", [DEFAULT, SHORT_GUARD], ids=["default", "short guard"])
def test_compiled_and_plain_give_the_same_schedule(policy):
    load = pytest.importorskip("tidegrid.scheduling.kernel.compiled").load
    jobs = made(7, 400)
    assert starts(jobs, policy, load(), compiled=True) == starts(jobs, policy)


def test_every_job_starts_after_its_submission_and_nothing_is_oversubscribed():
    jobs = made(3)
    begun = starts(jobs, DEFAULT)
    assert all(b >= j["submit"] for b, j in zip(begun, jobs, strict=True))
    for now in begun:
        busy = sum(j["need"][0] for b, j in zip(begun, jobs, strict=True) if b <= now < b + j["run"])
        assert busy <= PROCESSORS


def test_the_same_log_gives_the_same_schedule():
    assert starts(made(1), DEFAULT) == starts(made(1), DEFAULT)


@pytest.mark.parametrize("seed", range(3))
def test_the_guard_bounds_the_longest_wait(seed):
    """Beyond the guard a job waits for those before it in line and for what runs, by estimates: without it, for longer."""
    jobs = made(seed)
    unguarded = longest_wait(jobs, starts(jobs, replace(DEFAULT, guard_s=0.0)))
    guarded = longest_wait(jobs, starts(jobs, SHORT_GUARD))
    easy = longest_wait(jobs, starts(jobs, POLICIES["easy"]))
    assert guarded < unguarded
    assert guarded <= 2 * easy + 2 * 24 * HOUR


def test_a_guarded_job_is_not_delayed_by_a_job_that_outlives_its_prediction():
    """User 0's jobs have always been short; the last one asks for 10 h and runs that long. It fits beside what runs, but only its
    prediction ends before the reserved job could start."""
    history = [{"submit": i * 10, "estimate": 10 * HOUR, "run": 5, "user": 0, "need": [1]} for i in range(20)]
    holds = {"submit": 1000, "estimate": 9 * HOUR, "run": 9 * HOUR, "user": 1, "need": [16]}
    whole = {"submit": 1001, "estimate": HOUR, "run": HOUR, "user": 1, "need": [PROCESSORS]}
    tempting = {"submit": 1001 + int(8.5 * HOUR), "estimate": 10 * HOUR, "run": 10 * HOUR, "user": 0, "need": [1]}
    jobs = [*history, holds, whole, tempting]
    begun = starts(jobs, SHORT_GUARD)
    assert begun[-2] == 1000 + 9 * HOUR
    assert starts(jobs, replace(SHORT_GUARD, guard_s=0.0))[-2] > begun[-2], "unguarded, the prediction is believed"


def test_a_users_waiting_jobs_are_planned_anew_when_one_of_them_ends():
    """One of six like jobs ends after 10 s: the others are now taken to be short and pass the job of 20 minutes."""
    block = {"submit": 0, "estimate": 1000, "run": 1000, "user": 1, "need": [PROCESSORS]}
    probe = {"submit": 1, "estimate": 100, "run": 10, "user": 0, "need": [PROCESSORS]}
    like = [{"submit": 2, "estimate": 7200, "run": 10, "user": 0, "need": [PROCESSORS]} for _ in range(2)]
    rival = {"submit": 2, "estimate": 1200, "run": 1200, "user": 2, "need": [PROCESSORS]}
    jobs = [block, probe, *like, rival]
    begun = starts(jobs, replace(DEFAULT, own_word=0.1))
    assert begun[2] < begun[4]
    assert starts(jobs, replace(DEFAULT, predictor="estimate"))[4] < begun[4]


def test_a_job_of_nobody_known_is_planned_with_its_estimate():
    jobs = made(5)
    nobody = [{**j, "user": -1} for j in jobs]
    assert starts(nobody, DEFAULT) == starts(nobody, replace(DEFAULT, predictor="estimate"))

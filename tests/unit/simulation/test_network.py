"""A network of queues: what holds whatever the policy, what each policy promises, and the compiled source gives the same."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tidegrid.domain.errors import InvalidInput
from tidegrid.scheduling import network
from tidegrid.scheduling.kernel import ahead, outlook
from tidegrid.scheduling.kernel.build import build, starts, table
from tidegrid.scheduling.kernel.policy import POLICIES as QUEUES
from tidegrid.scheduling.kernel.replay import replay
from tidegrid.scheduling.kernel.steps import enter, finish, next_event, schedule
from tidegrid.simulation.network import Links, NetworkJobs, NetworkRun, Site, simulate

SIZES = (64, 40, 24)


def make(seed: int, jobs: int = 250, loads: tuple[float, ...] = (1.0, 0.7, 0.9), sizes: tuple[int, ...] = SIZES) -> NetworkJobs:
    """Jobs of three sites at these loads, by their run times; estimates up to four times too long, a fifth of them exact."""
    rng = np.random.default_rng(seed)
    home = rng.integers(0, len(sizes), jobs)
    need = np.minimum(2 ** rng.integers(0, 6, jobs), np.array(sizes)[home])
    run = np.maximum(1, rng.lognormal(6.5, 1.5, jobs)).astype(np.int64)
    estimate = np.where(rng.random(jobs) < 0.2, run, run * rng.integers(1, 5, jobs) + rng.integers(0, 60, jobs))
    submit = np.zeros(jobs, np.int64)
    for s, (size, load) in enumerate(zip(sizes, loads, strict=True)):
        own = home == s
        span = (need[own] * run[own]).sum() / (size * load)
        submit[own] = np.sort(rng.uniform(0, span, own.sum())).astype(np.int64)
    return NetworkJobs(submit, estimate, run, need, home)


def sites(sizes: tuple[int, ...] = SIZES, **kw: object) -> list[Site]:
    return [Site(f"s{i}", [n], **kw) for i, n in enumerate(sizes)]  # type: ignore[arg-type]


def most_used(jobs: NetworkJobs, run: NetworkRun, s: int) -> int:
    at = run.site == s
    times = np.concatenate((run.start[at], (run.start + jobs.run)[at]))
    change = np.concatenate((jobs.need[at], -jobs.need[at]))
    return int(change[np.lexsort((change, times))].cumsum().max(initial=0))


def waits(jobs: NetworkJobs, run: NetworkRun) -> list[float]:
    return [float((run.start - jobs.submit)[jobs.home == s].mean()) for s in range(int(jobs.home.max()) + 1)]


@pytest.mark.parametrize("name", network.POLICIES)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_job_starts_once_after_it_came_and_no_site_has_more_than_it_has(name: str, seed: int) -> None:
    jobs = make(seed)
    run = simulate(jobs, sites(), network.POLICIES[name], fast=False)
    assert (run.start >= jobs.submit).all()
    assert (jobs.need <= np.array(SIZES)[run.site]).all()
    for s, size in enumerate(SIZES):
        assert most_used(jobs, run, s) <= size


def test_at_home_each_site_runs_as_if_it_were_alone() -> None:
    jobs = make(3)
    run = simulate(jobs, sites(), network.POLICIES["home"], fast=False)
    for s, size in enumerate(SIZES):
        own = np.flatnonzero(jobs.home == s)
        own = own[np.argsort(jobs.submit[own], kind="stable")]
        st = build(table(jobs.submit[own], jobs.estimate[own], jobs.run[own], jobs.need[own]), np.array([[size]]), [QUEUES["easy"]])
        replay(st, 0, 0, len(own))
        assert (run.start[own] == starts(st)).all()
    assert run.moves == 0


@pytest.mark.parametrize("policy", ["easy", "fcfs"])
def test_a_look_ahead_is_what_happens_if_estimates_are_true_and_nobody_else_comes(policy: str) -> None:
    jobs = make(4, 80, (1.3,), (32,))
    order = np.argsort(jobs.submit, kind="stable")
    late = 0
    for last in range(5, 80, 7):
        rows = order[: last + 1]
        told = table(jobs.submit[rows], jobs.estimate[rows], jobs.estimate[rows], jobs.need[rows])
        st = build(told, np.array([[32]]), [QUEUES[policy]])
        for j in range(last):
            at = int(jobs.submit[rows[j]])
            while next_event(st, 0) <= at:
                t = next_event(st, 0)
                finish(st, 0, t)
                schedule(st, 0, t)
            enter(st, 0, j)
            schedule(st, 0, at)
        at, mine = int(jobs.submit[rows[last]]), int(jobs.estimate[rows[last]])
        while next_event(st, 0) <= at:
            t = next_event(st, 0)
            finish(st, 0, t)
            schedule(st, 0, t)
        seen = ahead.begins(st, 0, at, last, mine, 1 << 60, [0] * outlook.scratch(90, 1))
        now = ahead.begins_now(st, 0, at, last, mine)
        full = build(told, np.array([[32]]), [QUEUES[policy]])
        replay(full, 0, 0, last + 1)
        assert seen == int(starts(full)[last])
        assert now == (seen == at)
        late += seen > at
    assert late > 2


@pytest.mark.parametrize("name", ["earliest", "tide"])
@pytest.mark.parametrize("queue", ["easy", "fcfs", "default"])
def test_an_outlook_that_is_kept_says_what_a_new_one_says(name: str, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, runs = make(18, 300, (1.2, 1.1, 1.3)), []
    places = [Site("a", [64], QUEUES[queue], outages=[(20_000, 30_000)]), *sites(SIZES[1:], policy=QUEUES[queue])]
    for kept in (0, 8, 1024):  # none; of short queues; of all
        monkeypatch.setattr(network, "KEPT_JOBS", kept)
        runs.append(simulate(jobs, places, network.POLICIES[name], forecasts=True, fast=False))
    for run in runs[1:]:
        for column in ("start", "site", "said"):
            assert (getattr(run, column) == getattr(runs[0], column)).all()
    assert (runs[0].said > 0).sum() > 50  # else there was nothing to look ahead for


def test_compiled_and_plain_give_the_same_network() -> None:
    pytest.importorskip("numba")
    jobs = make(12, 120)
    span = int(jobs.submit[-1])
    places = [replace(s, outages=((span // (3 + i), span // 2 + i),)) for i, s in enumerate(sites())]
    for name in sorted(network.POLICIES):
        fair = network.POLICIES[name].fair != "none"  # the ledger's sites alone have no outages
        runs = [simulate(jobs, sites() if fair else places, network.POLICIES[name], forecasts=True, fast=f) for f in (False, True)]
        for column in ("start", "site", "said", "restarts"):
            assert (getattr(runs[0], column) == getattr(runs[1], column)).all(), (name, column)
        assert fair or runs[0].restarts.sum() > 0


def test_a_network_waits_less_than_its_sites_alone_and_moves_help() -> None:
    pytest.importorskip("numba")  # one log more or less may be the other way round
    mean = dict.fromkeys(("home", "earliest", "tide"), 0.0)
    for seed in range(5, 25):
        jobs = make(seed, 1000)
        for name in mean:
            run = simulate(jobs, sites(), network.POLICIES[name])
            mean[name] += math.log((run.start - jobs.submit).mean())
    assert mean["tide"] < mean["earliest"] < mean["home"]


def test_a_fair_network_spares_the_users_of_a_quiet_site() -> None:
    lost = 0
    for seed in range(10, 14):
        jobs = make(seed, 400, (1.2, 0.25, 1.2))
        alone = waits(jobs, simulate(jobs, sites(), network.POLICIES["home"], fast=False))
        free = waits(jobs, simulate(jobs, sites(), network.POLICIES["tide"], fast=False))
        policy = network.NetworkPolicy(fair="wait", loan_s=5.0)
        fair = waits(jobs, simulate(jobs, sites(), policy, fast=False))
        lost += free[1] > alone[1]
        loan = policy.loan_s * SIZES[1] / (jobs.home == 1).sum()
        assert fair[1] - alone[1] < max(0.5 * (free[1] - alone[1]), loan)
        assert fair[0] < alone[0] and fair[2] < alone[2]
    assert lost  # else the network has no losers to spare


def test_a_machine_that_asks_a_price_is_used_only_where_time_is_worth_it() -> None:
    jobs = make(15, 200, (1.4, 0.3), (64, 64))
    bought = [Site("own", [64]), Site("bought", [64], price=1.0)]
    jobs = NetworkJobs(jobs.submit, jobs.estimate, jobs.run, jobs.need, np.zeros_like(jobs.home))
    cheap = simulate(jobs, bought, network.POLICIES["cheapest"], fast=False)
    dear = simulate(jobs, bought, network.POLICIES["fastest"], fast=False)
    assert (cheap.site == 0).all()
    assert 0 < (dear.site == 1).sum() < len(jobs.submit)
    assert (dear.start - jobs.submit).mean() < (cheap.start - jobs.submit).mean()


def test_of_two_equal_machines_the_owned_one_is_taken_first() -> None:
    jobs = NetworkJobs(np.array([0, 0]), np.array([60, 60]), np.array([60, 60]), np.array([4, 4]), np.array([1, 1]))
    run = simulate(jobs, [Site("own", [8]), Site("bought", [8], price=1.0)], network.NetworkPolicy(), fast=False)
    assert run.site.tolist() == [0, 0]


def test_data_that_takes_longer_than_the_wait_stays_and_what_travels_arrives_late() -> None:
    jobs = NetworkJobs(np.array([0, 1, 2]), np.array([100, 900, 900]), np.array([100, 900, 900]), np.array([8, 8, 8]), np.array([0, 0, 0]),
                       bytes=np.array([0.0, 1e12, 1e6]))  # fmt: skip
    links = Links(np.full((2, 2), 5.0), np.full((2, 2), 1e6))
    run = simulate(jobs, sites((8, 8)), network.NetworkPolicy(), links=links, fast=False)
    assert run.site.tolist() == [0, 0, 1]
    assert run.start.tolist() == [0, 100, 2 + 6]


@pytest.mark.parametrize("rule", ["tide", "earliest"])
def test_who_is_on_the_way_to_a_site_is_counted_there(rule: str) -> None:
    n = 5
    jobs = NetworkJobs(np.arange(n), np.array([9000] + [900] * 4), np.array([9000] + [900] * 4), np.array([8] + [4] * 4), np.zeros(n, np.int64),
                       bytes=np.array([0.0] + [1e8] * 4))  # fmt: skip
    links = Links(np.zeros((3, 3)), np.full((3, 3), 1e6))
    run = simulate(jobs, sites((8, 8, 8)), network.POLICIES[rule], links=links, fast=False)
    assert run.site.tolist() == [0, 1, 1, 2, 2]
    assert run.start.tolist() == [0, 101, 102, 103, 104]


def test_a_site_that_goes_down_loses_its_jobs_to_the_others_and_works_again_when_it_is_back() -> None:
    jobs = make(16, 150, (0.6, 0.6), (64, 64))
    end = int(jobs.submit.max())
    down = [Site("a", [64], outages=[(end // 4, end // 2)]), Site("b", [64])]
    for name in ("tide", "tide-fair", "earliest", "home"):
        run = simulate(jobs, down, network.POLICIES[name], fast=False)
        inside = (run.site == 0) & (run.start + jobs.run > end // 4) & (run.start < end // 2)
        assert not inside.any()
        assert run.restarts.sum() > 0
        assert ((run.site == 0) & (run.start >= end // 2)).any()


def test_a_job_of_the_whole_machine_starts_within_its_reservation_while_small_ones_pass() -> None:
    small = make(17, 200, (0.9,), (64,))
    submit = np.append(small.submit, 2000)
    jobs = NetworkJobs(submit, np.append(small.estimate, 3600), np.append(small.run, 3600), np.append(small.need, 64), np.zeros(201, np.int64))
    run = simulate(jobs, [Site("a", [64]), Site("b", [16])], network.POLICIES["tide"], fast=False)
    started, came = int(run.start[200]), 2000
    before = (submit < came) & (run.site == 0)
    promised = int((run.start + jobs.estimate)[before & (run.start <= came)].max(initial=came))
    promised += int(jobs.estimate[before & (run.start > came)].sum())  # those ahead of it, one after the other
    assert came < started <= promised
    passed = (submit > came) & (run.start < started) & (run.site == 0)
    assert passed.any()


def test_a_job_larger_than_its_home_is_refused_by_name() -> None:
    jobs = NetworkJobs(np.array([0]), np.array([5]), np.array([5]), np.array([9]), np.array([0]))
    with pytest.raises(InvalidInput, match="asks for"):
        simulate(jobs, sites((8,)), network.POLICIES["home"], fast=False)

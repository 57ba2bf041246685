"""The account of what a site's own users gained: by hand, and as the simulator's ledger keeps it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.simulation.test_network import SIZES, make, sites

from tidegrid.scheduling import fairness, network
from tidegrid.scheduling.fairness import LOAN_S, Own, standing
from tidegrid.scheduling.kernel import net
from tidegrid.simulation import network as simulated
from tidegrid.simulation.network import NetworkJobs, simulate


def own(*rows: tuple[int, int, int, int, int]) -> Own:
    """(submit, start, end, estimate, need) rows."""
    columns = np.array(rows, np.int64).reshape(-1, 5).T
    return Own(*columns[:4], columns[4].reshape(-1, 1))


def test_what_is_gained_and_lost_by_hand() -> None:
    """Two jobs of the whole site. Alone the second waits for the first; here it ran elsewhere at once, while the first was kept out."""
    jobs = own((0, 50, 150, 100, 8), (10, 10, 110, 200, 8))
    s = standing(jobs, [8], 200, processors=8.0, by="slowdown")
    assert (s.jobs, s.waited_s, s.alone_s) == (2, 50.0, 90.0)
    assert s.slowdown == 1.5 + 1.0 and s.alone_slowdown == 1.0 + 1.9
    assert s.takes_guests
    early = standing(jobs, [8], 60, processors=8.0, by="wait")
    assert early.waited_s == 50 and early.alone_s == 50, "the second would still wait, until the first has ended by its estimate"


def test_one_that_waits_counts_and_what_does_not_fit_or_is_to_come_does_not() -> None:
    jobs = own((0, -1, -1, 100, 8), (0, 0, 10, 10, 9), (500, -1, -1, 10, 1))
    s = standing(jobs, [8], 100, processors=8.0, by="wait")
    assert (s.jobs, s.waited_s, s.alone_s) == (1, 100.0, 0.0)
    assert s.takes_guests, "within the loan"
    late = standing(jobs, [8], int(LOAN_S * 8) + 1, processors=8.0, by="wait")
    assert not late.takes_guests
    assert standing(jobs, [8], 10**6, processors=8.0).takes_guests, "where nothing is promised"
    assert standing(own(), [8], 10, processors=8.0, by="wait").takes_guests


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("by", ["wait", "slowdown"])
def test_it_is_the_account_that_the_simulators_ledger_keeps(seed: int, by: fairness_by, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where estimates are exact, so that nothing is known late; the brokers' memory is looked at when all is over."""
    made, kept = make(seed, 300, (1.2, 0.4, 1.1)), []
    jobs = NetworkJobs(made.submit, made.run, made.run, made.need, made.home)
    monkeypatch.setattr(simulated.network, "broker", lambda *a, **kw: kept.append(original(*a, **kw)) or kept[-1])
    run = simulate(jobs, sites(), network.NetworkPolicy(fair=by), fast=False)
    end = int((run.start + jobs.run).max()) + 10**7
    for s, size in enumerate(SIZES):
        mine = jobs.home == s
        found = standing(Own(jobs.submit[mine], run.start[mine], (run.start + jobs.run)[mine], jobs.estimate[mine], jobs.need[mine].reshape(-1, 1)), [size], end, processors=size, by=by)
        at = net.ledger_at(kept[0], s)
        num = kept[0].num
        assert found.jobs == mine.sum()
        assert found.alone_s - found.waited_s == pytest.approx(num[at + net.CREDIT])
        assert found.alone_s == pytest.approx(num[at + net.ALONE])
        assert found.alone_slowdown - found.slowdown == pytest.approx(num[at + net.CREDIT_SLOW])


original = network.broker
fairness_by = network.Fairness
assert network.NetworkPolicy().margin == fairness.MARGIN

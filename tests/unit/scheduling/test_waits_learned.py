"""Placement forecasts waits by what forward runs were worth at each partition: in the score, the candidate and its explanation."""

from __future__ import annotations

import numpy as np
import pytest

from tidegrid.domain.errors import Broken
from tidegrid.rating.rates import Rates
from tidegrid.scheduling import forecasts
from tidegrid.scheduling.kernel.chances import P50, P90, SOON
from tidegrid.scheduling.placement import Request, decide
from tidegrid.scheduling.snapshot import PartitionRow, Snapshot

PRICE = Rates(5_000_000, 0, 0)


def row(cluster: str, left_s: int) -> PartitionRow:
    """A full partition that has one job, which ends in `left_s` by its estimate."""
    return PartitionRow(cluster, "p", "east", "x86_64", (8000, 8192, 0), (0, 0, 0), (8000, 8192, 0), PRICE, PRICE, running=[(left_s, (8000, 8192, 0))])


def taught(partition_s: float, share: float, n: int = 400) -> forecasts.Floats:
    """The table of a partition where jobs with this forward run waited that share of it, give or take a half."""
    table = forecasts.cold(1)[0]
    for k in range(n):
        waited = partition_s * share * (0.5 + (k * 7 % 11) / 10)
        soon, p50, p90 = forecasts.look_up(table[None], np.array([partition_s]))
        table = forecasts.learn(table, SOON, partition_s, waited <= 60, float(soon[0]))
        table = forecasts.learn(table, P50, partition_s, waited <= p50[0])
        table = forecasts.learn(table, P90, partition_s, waited <= p90[0])
    return table


REQUEST = Request(1, "app", (8000, 1024, 0), 3600)


def test_with_nothing_learned_a_wait_is_half_of_the_forward_run_and_at_most_all_of_it() -> None:
    best = decide([REQUEST], Snapshot.build(0, [row("a", 3000)]))[0].best
    assert best is not None
    assert (best.wait_ahead, best.wait_p50, best.wait_p90) == (3000.0, 1500.0, 3000.0)
    assert best.start_now == 60 / 3060


def test_a_partition_that_is_faster_than_it_says_is_preferred_once_that_is_known() -> None:
    rows = [row("slow", 3000), row("fast", 3600)]
    first = decide([REQUEST], Snapshot.build(0, rows))[0]
    snapshot = Snapshot.build(0, rows, wait_tables={"fast/p": taught(3600, 0.1), "slow/p": taught(3000, 0.9)})
    second = decide([REQUEST], snapshot)[0]
    assert first.best is not None and second.best is not None
    assert (first.best.name, second.best.name) == ("slow/p", "fast/p")
    assert 200 < second.best.wait_p50 < 700
    assert second.best.wait_p50 < second.best.wait_p90 < 2000
    text = "\n".join(second.text)
    assert "corrected by 400 waits seen there (table " + forecasts.version(snapshot.wait_table[1]) in text
    assert "corrected" not in "\n".join(first.text)


def test_what_was_learned_travels_with_the_snapshot_and_decides_the_same_again() -> None:
    snapshot = Snapshot.build(0, [row("a", 3000), row("b", 3100)], wait_tables={"b/p": taught(3100, 0.2)})
    again = Snapshot.from_bytes(snapshot.to_bytes())
    assert again.revision == snapshot.revision != Snapshot.build(0, [row("a", 3000), row("b", 3100)]).revision
    assert decide([REQUEST], again)[0].to_json() == decide([REQUEST], snapshot)[0].to_json()


def test_a_table_of_the_wrong_shape_is_refused() -> None:
    good = Snapshot.build(0, [row("a", 3000)])
    data = Snapshot.build(0, [row("a", 3000), row("b", 1)]).to_bytes()
    assert len(Snapshot.from_bytes(data).wait_table) == 2
    with pytest.raises(Broken):
        Snapshot.from_bytes(good.to_bytes()[:-10])


@pytest.mark.parametrize("objective", ["balanced", "fastest", "deadline"])
def test_a_job_that_fits_nowhere_has_no_candidate_whatever_was_learned(objective: str) -> None:
    snapshot = Snapshot.build(0, [row("a", 3000)], wait_tables={"a/p": taught(3000, 0.2)})
    big = Request(1, "app", (9000, 1024, 0), 3600, objective=objective)
    assert decide([big], snapshot)[0].chosen is None

"""A snapshot is frozen, says when it cannot be trusted, and comes back byte for byte."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np
import pytest
from tests.unit.scheduling.network import NODE, network, row

from tidegrid.domain.errors import Broken, InvalidInput
from tidegrid.rating.book import Supply
from tidegrid.rating.rates import Rates
from tidegrid.scheduling import software
from tidegrid.scheduling.snapshot import Health, PartitionRow, Snapshot, with_sent
from tidegrid.scheduling.software import Standing


def busy() -> Snapshot:
    return network(
        row("east/cpu", running=[(100, (8000, 1, 0))], free=(0, 16383, 0), waiting=[(60, (1, 1, 0)), (70, (2, 2, 0))]),
        row("west/gpu", gpu_type="a100", supply=Supply.PURCHASED, health=Health.DRAINED, speed=1.25, policy="fcfs"),
        row("西/cpu", sell=None, cost=None),
        lammps=["east", "west/gpu"],
    )


def test_bytes_carry_everything_and_equal_content_gives_equal_bytes():
    one, other = busy(), busy()
    assert one.to_bytes() == other.to_bytes() and one.revision == other.revision
    again = Snapshot.from_bytes(one.to_bytes())
    assert again.revision == one.revision and again.to_bytes() == one.to_bytes()
    assert again.partitions == ("east/cpu", "west/gpu", "西/cpu") and again.speed.tolist() == [1.0, 1.25, 1.0]
    assert again.has_app("lammps").tolist() == [True, True, False] and again.has_app("other").all()
    assert again.sell_rates(0) == Rates(6_000_000) and again.sell[2].tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    "change", [{"speed": 2.0}, {"free": (0, 0, 0)}, {"waiting": [(1, NODE)]}, {"health": Health.UNHEALTHY}]
)
def test_any_change_changes_the_revision(change):
    assert network(row(**change)).revision != network(row()).revision


def test_arrays_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        busy().free[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        Snapshot.from_bytes(busy().to_bytes()).free[0, 0] = 1


def test_deriving_something_from_a_snapshot_leaves_its_bytes_alone():
    one = busy()
    before = one.to_bytes()
    one.memo["x"] = np.zeros(3)
    assert one.to_bytes() == before


def test_damaged_bytes_are_told_from_another_schema():
    good = busy().to_bytes()
    body = zlib.decompress(good[8:])
    newer = good[:8] + zlib.compress(body.replace(b'"schema":3', b'"schema":9'))
    with pytest.raises(Broken) as error:
        Snapshot.from_bytes(newer)
    assert error.value.code == "snapshot.schema"
    for bad in (b"", b"x" * 40, good[:-9], good[:8] + zlib.compress(body[:-1]), good[:8] + zlib.compress(body + b"1")):
        with pytest.raises(Broken) as error:
            Snapshot.from_bytes(bad)
        assert error.value.code == "snapshot.corrupt"


def test_rows_of_the_wrong_width_and_double_names_are_refused():
    for rows in ([row(free=(1, 2))], [row(), row()]):
        with pytest.raises(InvalidInput) as error:
            network(*rows)
        assert error.value.code == "snapshot.shape"


def test_an_empty_network_is_a_snapshot():
    assert Snapshot.from_bytes(network().to_bytes()).partitions == ()


def test_software_travels_with_the_snapshot_and_one_without_it_is_still_read():
    known = software.table(
        ("east/cpu", "west/cpu"),
        {"lmp": software.AppRow({"east/cpu": Standing.VERIFIED}, {"east/cpu": (1.25, 3, 0.02)}, tested=True)},
        {"west/cpu": (58.2, np.nan, 400, 28.4, 90, 156, 3.6, 8)},
        [software.Pool("ansys", "ansys", 10, 4, ["east/cpu"])],
        [True, False],
    )
    one = Snapshot.build(0, [row("east/cpu"), row("west/cpu")], {"lmp": ["east"]}, lambda names: known)
    again = Snapshot.from_bytes(one.to_bytes())
    assert again.revision == one.revision
    assert again.software.standing.tolist() == [[1, 0]] and again.software.speed[0].tolist()[0] == 1.25
    assert np.isnan(again.software.card[0]).all() and again.software.card[1, 3] == 28.4
    assert again.software.pool_free.tolist() == [6] and again.software.pool_at.tolist() == [[True, False]]
    old = dataclasses.replace(network(row()), schema=1)
    read = Snapshot.from_bytes(old.to_bytes())
    assert read.revision == old.revision and read.software.apps == ()


def test_one_more_verification_changes_the_revision():
    def of(standing: Standing) -> Snapshot:
        apps = {"lmp": software.AppRow({"east/cpu": standing})}
        return Snapshot.build(0, [row("east/cpu")], {}, lambda names: software.table(names, apps))

    assert of(Standing.VERIFIED).revision != of(Standing.INSTALLED).revision


def test_what_was_sent_and_is_not_shown_yet_holds_what_is_free_and_then_waits() -> None:
    row = PartitionRow("a", "p", "r", "x86_64", capacity=(8000, 100, 0), free=(6000, 100, 0), largest=(8000, 100, 0), sell=None, cost=None)
    seen = with_sent(row, [(60, (4000, 10, 0), 1), (90, (4000, 10, 0), 1), (30, (1000, 10, 0), 1)])
    assert list(seen.free) == [2000, 90, 0]
    assert list(seen.running) == [(60, (4000, 10, 0))]
    assert list(seen.waiting) == [(90, (4000, 10, 0)), (30, (1000, 10, 0))]  # the small one came later: it may pass, which is for the queue to say


def test_behind_a_queue_what_was_sent_waits_though_it_would_fit() -> None:
    row = PartitionRow("a", "p", "r", "x86_64", capacity=(8000, 100, 0), free=(6000, 100, 0), largest=(8000, 100, 0), sell=None, cost=None,
                       waiting=[(60, (8000, 10, 0))])  # fmt: skip
    seen = with_sent(row, [(30, (1000, 10, 0), 1)])
    assert list(seen.free) == [6000, 100, 0] and list(seen.waiting) == [(60, (8000, 10, 0)), (30, (1000, 10, 0))]

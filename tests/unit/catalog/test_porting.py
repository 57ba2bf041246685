"""The porting board ranks by demand, gain and effort, and says where each number comes from."""

from __future__ import annotations

import math

import pytest

from tidegrid.catalog import porting
from tidegrid.catalog.porting import Offer, Refused, Stage, Use
from tidegrid.domain.errors import Conflict

X86 = Offer("east/cpu", "x86_64", sell=0.10, cost=0.02, peak=60, bandwidth=20)
ARM = Offer("west/arm", "aarch64", sell=0.04, cost=0.01, peak=30, bandwidth=20)
USE = Use("acme", "east/cpu", core_hours=1000, paid=100.0)


def test_worth_is_what_the_use_would_have_saved_and_score_divides_it_by_the_effort() -> None:
    r = porting.rank("lmp", "aarch64", [USE], [], [X86, ARM], effort_days=4)
    assert r.speed == pytest.approx(math.sqrt(30 / 60 * 20 / 20)) and r.speed_tier == "modelled"
    gain = 0.10 - 0.04 / math.sqrt(0.5)
    assert r.gain == pytest.approx(gain) and r.worth == pytest.approx(1000 * gain) and r.score == pytest.approx(250 * gain)
    assert (r.place, r.effort_tier) == ("west/arm", "exact")


def test_what_was_refused_is_worth_what_it_would_have_earned() -> None:
    refused = [Refused("rival", "", 3, 50.0), Refused("rival", "riscv64", 1, 900.0), Refused("acme", "aarch64", 1, 10.0)]
    r = porting.rank("lmp", "aarch64", [], refused, [X86, ARM], effort_days=1)
    assert (r.refused_core_hours, r.refused_jobs) == (60.0, 4)
    assert r.worth == pytest.approx(60 * 0.03) and r.gain is None
    assert r.customers == (("rival", 50.0), ("acme", 10.0))


def test_use_does_not_move_to_where_it_is_dearer() -> None:
    dear = Offer("west/arm", "aarch64", sell=0.2, cost=0.1)
    r = porting.rank("lmp", "aarch64", [USE], [], [X86, dear], effort_days=1)
    assert r.gain == pytest.approx(-0.1) and r.worth == 0


def test_without_cards_the_speed_is_only_taken_to_be_equal_and_without_a_partition_nothing_is_claimed() -> None:
    bare = Offer("west/arm", "aarch64", sell=0.04, cost=0.01)
    r = porting.rank("lmp", "aarch64", [USE], [], [X86, bare])
    assert (r.speed, r.speed_tier) == (1.0, "estimated") and (r.effort_days, r.effort_tier) == (10.0, "estimated")
    nowhere = porting.rank("lmp", "loongarch64", [USE], [], [X86, ARM])
    assert (nowhere.score, nowhere.worth, nowhere.speed, nowhere.speed_tier) == (None, None, None, "unavailable")
    assert nowhere.to_json()["score"] is None and nowhere.used_core_hours == 1000


def test_the_best_partition_of_an_architecture_counts() -> None:
    cheap = Offer("south/arm", "aarch64", sell=0.01, cost=0.005, peak=30, bandwidth=20)
    assert porting.rank("lmp", "aarch64", [USE], [], [X86, ARM, cheap]).place == "south/arm"


def test_the_order_is_by_score_and_what_has_none_comes_last() -> None:
    a = porting.rank("a", "aarch64", [USE], [], [X86, ARM], effort_days=10)
    b = porting.rank("b", "aarch64", [USE], [], [X86, ARM], effort_days=1)
    c = porting.rank("c", "riscv64", [USE], [], [X86, ARM], effort_days=1)
    assert [r.app for r in porting.order([c, a, b])] == ["b", "a", "c"]


def test_nothing_serves_before_it_is_installed() -> None:
    with pytest.raises(Conflict) as e:
        porting.moved("lmp on aarch64", Stage.TESTING, "serving", installed=False)
    assert e.value.code == "porting.not_installed"
    assert porting.moved("lmp on aarch64", Stage.TESTING, "serving", installed=True) is Stage.SERVING
    assert porting.moved("lmp on aarch64", Stage.TESTING, "porting", installed=False) is Stage.PORTING  # a step back

"""What placement was asked is kept as bytes, and gives the same answer again, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.placement import make_requests, make_snapshot
from tests.unit.scheduling.network import network, row
from tests.unit.scheduling.test_placement import ask

from tidegrid.domain.errors import Broken
from tidegrid.domain.job import Constraints
from tidegrid.scheduling.objective import Objective
from tidegrid.scheduling.record import Asked, answer, digest
from tidegrid.scheduling.snapshot import Snapshot


@pytest.mark.parametrize("alone", [False, True])
def test_a_call_is_decided_again_from_bytes(alone: bool):
    rng = np.random.default_rng(11)
    snapshot = make_snapshot(rng, 80)
    asked = Asked(tuple(make_requests(rng, 60, snapshot)), alone=alone, k=3 if alone else 8)
    first = answer(asked.decide(snapshot))
    again = Asked.from_bytes(asked.to_bytes())
    assert again == asked
    assert answer(again.decide(Snapshot.from_bytes(snapshot.to_bytes()))) == first
    assert again.to_bytes() == asked.to_bytes()


def test_every_field_comes_back():
    one = ask(
        7, constraints=Constraints(arch=("x86_64",), any_of=("a/cpu", "b"), exclude=("c",)), excluded=("d/cpu",), closed=("e",),
        balance=5, budget=9, deadline_s=3,
    )  # fmt: skip
    asked = Asked((one,), overrides={"mine": Objective(price=0.1, time=1 / 3, sure=True)})
    again = Asked.from_bytes(asked.to_bytes())
    assert again == asked and isinstance(again.requests[0].constraints.any_of, tuple)


def test_another_picture_or_another_wish_gives_another_digest():
    asked = Asked((ask(1),))
    first = digest(asked.decide(network(row("a/cpu"), row("b/cpu"))))
    assert digest(asked.decide(network(row("a/cpu"), row("c/cpu")))) != first
    assert digest(Asked((ask(1, wall=601),)).decide(network(row("a/cpu"), row("b/cpu")))) != first


def test_damaged_bytes_are_refused():
    data = Asked((ask(1),)).to_bytes()
    for bad in (b"", data[:-3], b"?" + data[1:]):
        with pytest.raises(Broken, match="no record of a decision"):
            Asked.from_bytes(bad)

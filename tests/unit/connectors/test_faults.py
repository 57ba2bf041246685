"""The fault transport does what it counts."""

from __future__ import annotations

import random

import pytest
from tests.parts.faults import FaultyTransport, Rates, Silence

from tidegrid.connectors.contract import SiteUnsure

pytestmark = pytest.mark.anyio


class Recorder:
    def __init__(self) -> None:
        self.arrived: list[bytes] = []

    async def exchange(self, request: bytes, timeout: float) -> bytes:
        self.arrived.append(request)
        return b"answer"

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("kind", "arrived_at_once", "arrived_in_the_end"),
    [("lost_before", 0, 0), ("lost_after", 1, 1), ("late", 0, 1), ("hung", 0, 0)],
)
async def test_each_fault_hides_the_answer_and_has_its_own_effect(
    kind: str, arrived_at_once: int, arrived_in_the_end: int
) -> None:
    inner = Recorder()
    faulty = FaultyTransport(inner, random.Random(1), Rates(**{kind: 1.0}, late_s=(0.01, 0.02)))  # type: ignore[arg-type]
    with pytest.raises(SiteUnsure):
        await faulty.exchange(b"x", 0.01)
    assert len(inner.arrived) == arrived_at_once
    await faulty.settle()
    assert len(inner.arrived) == arrived_in_the_end
    assert faulty.injected == {kind: 1}


async def test_garbage_hides_an_effect() -> None:
    inner = Recorder()
    faulty = FaultyTransport(inner, random.Random(1), Rates(garbage=1.0))
    assert await faulty.exchange(b"x", 1) != b"answer"
    assert inner.arrived == [b"x"]


async def test_rates_hold_and_only_chosen_requests_are_hit() -> None:
    faulty = FaultyTransport(
        Recorder(), random.Random(5), Rates(lost_before=0.1, lost_after=0.1), only=lambda r: r.startswith(b"submit")
    )
    failed = 0
    for n in range(2000):
        try:
            await faulty.exchange(b"submit" if n % 2 else b"observe", 1)
        except SiteUnsure:
            failed += 1
            assert n % 2
    assert failed == sum(faulty.injected.values())
    assert all(70 < faulty.injected[kind] < 130 for kind in ("lost_before", "lost_after"))


async def test_a_silent_site_hears_nothing() -> None:
    now = 0.0
    inner, silence = Recorder(), Silence([(5, 8)], clock=lambda: now)
    faulty = FaultyTransport(inner, random.Random(1), silence=silence, silent_delay_s=0)
    for at, silent in ((0.0, False), (5.0, True), (7.9, True), (8.0, False)):
        now = at
        assert silence.active is silent
        if silent:
            with pytest.raises(SiteUnsure):
                await faulty.exchange(b"x", 1)
        else:
            await faulty.exchange(b"x", 1)
    assert len(inner.arrived) == 2 and faulty.injected == {"silent": 2}

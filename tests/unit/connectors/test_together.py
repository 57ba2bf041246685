"""Calls that come while one is under way are made as one, and nobody pays for another's fault."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tidegrid.connectors.together import Together

pytestmark = pytest.mark.anyio


class Asked:
    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go = asyncio.Event()

    async def many(self, asked: Sequence[int]) -> Sequence[int | BaseException]:
        self.groups.append(list(asked))
        await self.go.wait()
        if 13 in asked:
            raise LookupError("all of them")
        return [ValueError("this one") if n == 7 else 10 * n for n in asked]


async def test_what_comes_meanwhile_goes_together_in_order() -> None:
    asked = Asked()
    together = Together(asked.many, most=4)
    calls = [asyncio.create_task(together(n)) for n in range(10)]
    await asyncio.sleep(0)
    asked.go.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert asked.groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [a for a in answers if not isinstance(a, BaseException)] == [0, 10, 20, 30, 40, 50, 60, 80, 90]
    assert isinstance(answers[7], ValueError)
    assert await together(3) == 30


async def test_one_that_fails_for_all_is_told_to_all_and_the_next_goes_on() -> None:
    asked = Asked()
    asked.go.set()
    together = Together(asked.many, most=8)
    answers = await asyncio.gather(*(together(n) for n in (13, 1, 2)), return_exceptions=True)
    assert all(isinstance(a, LookupError) for a in answers)
    assert await together(5) == 50


async def test_who_gives_up_is_not_asked_for() -> None:
    asked = Asked()
    together = Together(asked.many, most=1)
    first, second, third = (asyncio.create_task(together(n)) for n in (1, 2, 3))
    while not asked.groups:
        await asyncio.sleep(0)
    second.cancel()
    asked.go.set()
    assert await first == 10 and await third == 30
    with pytest.raises(asyncio.CancelledError):
        await second
    assert asked.groups == [[1], [3]]

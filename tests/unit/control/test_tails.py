"""Many who follow one log cost one read of the site an interval."""

from __future__ import annotations

import asyncio

import pytest

from tidegrid.control.tails import WINDOW, Tails


class Site:
    """A log that grows, and how often it was read."""

    def __init__(self) -> None:
        self.text = b""
        self.reads: list[int] = []
        self.broken = False

    async def read(self, offset: int, limit: int) -> bytes:
        self.reads.append(offset)
        await asyncio.sleep(0)
        if self.broken:
            raise OSError("gone")
        return self.text[offset : offset + limit]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_all_who_follow_share_one_read_and_see_all_of_it() -> None:
    async def main() -> None:
        site, clock = Site(), Clock()
        tails = Tails(every_s=0.15, clock=clock)
        seen = [b""] * 20

        async def look(i: int) -> None:
            seen[i] += await tails.read("a", len(seen[i]), 1000, site.read)

        for n in range(10):
            site.text += b"line %d\n" % n
            await asyncio.gather(*(look(i) for i in range(20)))
            clock.now += 0.2
        assert len(site.reads) == 10
        assert set(seen) == {site.text}

    asyncio.run(main())


def test_what_was_looked_for_a_moment_ago_is_not_looked_for_again() -> None:
    async def main() -> None:
        site, clock = Site(), Clock()
        tails = Tails(every_s=0.15, clock=clock)
        assert await tails.read("a", 0, 10, site.read) == b""
        site.text = b"new"
        assert await tails.read("a", 0, 10, site.read) == b"" and len(site.reads) == 1
        clock.now += 0.15
        assert await tails.read("a", 0, 10, site.read) == b"new" and len(site.reads) == 2
        assert await tails.read("a", 0, 2, site.read) == b"ne" and len(site.reads) == 2

    asyncio.run(main())


def test_one_who_begins_at_the_beginning_gets_it_whole_beside_one_who_is_far_ahead() -> None:
    async def main() -> None:
        site, clock = Site(), Clock()
        tails = Tails(clock=clock)
        site.text = bytes(range(256)) * ((WINDOW + 70_000) // 256)
        ahead = b""
        while piece := await tails.read("a", len(ahead), 65_536, site.read):
            ahead += piece
            clock.now += 1
        behind = b""
        while piece := await tails.read("a", len(behind), 65_536, site.read):
            behind += piece
            clock.now += 1
        assert ahead == behind == site.text

    asyncio.run(main())


def test_a_site_that_does_not_answer_is_told_to_each_and_asked_again() -> None:
    async def main() -> None:
        site, clock = Site(), Clock()
        tails = Tails(clock=clock)
        site.broken = True
        with pytest.raises(OSError, match="gone"):
            await tails.read("a", 0, 10, site.read)
        site.broken, site.text = False, b"x"
        assert await tails.read("a", 0, 10, site.read) == b"x"
        site.broken = True
        clock.now += 1
        with pytest.raises(OSError, match="gone"):
            await tails.read("a", 1, 10, site.read)
        site.broken = False
        assert await tails.read("a", 1, 10, site.read) == b""

    asyncio.run(main())

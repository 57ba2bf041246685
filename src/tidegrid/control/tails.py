"""Logs that are looked at while they are written: one read of the site an interval, however many look on.

The end of each log that somebody follows is kept here for a while. Who asks for bytes that are here gets them; who asks for
what comes next waits for the one read that is due, or hears that there was nothing a moment ago.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

EVERY_S = 0.15  # between two reads of one log
KEEP_S = 30.0  # after the last look
WINDOW = 1 << 20  # bytes of each log that are kept
MOST = 1000

Read = Callable[[int, int], Awaitable[bytes]]
"""(offset, limit) -> bytes of the log, as the site has it; empty where it is no longer than that."""


@dataclass
class _Tail:
    start: int
    data: bytes = b""
    read_at: float = -1e9  # when its end was last looked for at the site
    used_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def end(self) -> int:
        return self.start + len(self.data)

    def piece(self, offset: int, limit: int) -> bytes | None:
        """What is here from `offset` on; None where it is not here."""
        if not self.start <= offset < self.end:
            return None
        return self.data[offset - self.start : offset - self.start + limit]

    def grow(self, more: bytes) -> None:
        self.data += more
        if (over := len(self.data) - WINDOW) > 0:
            self.data, self.start = self.data[over:], self.start + over


class Tails:
    """Logs by what the caller names them: the same name, the same file for ever."""

    def __init__(self, *, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.every_s, self._clock = every_s, clock
        self._tails: dict[str, _Tail] = {}

    async def read(self, name: str, offset: int, limit: int, read: Read) -> bytes:
        """Bytes of a log from `offset` on, as of at most `every_s` seconds ago; errors are those of `read`."""
        tail = self._tails.get(name)
        if tail is None or not tail.start <= offset <= tail.end:
            return await self._begin(name, offset, limit, read, follow=tail is None)
        tail.used_at = self._clock()
        if (here := tail.piece(offset, limit)) is not None:
            return here
        async with tail.lock:
            if (here := tail.piece(offset, limit)) is not None:
                return here
            if self._clock() - tail.read_at >= self.every_s:
                more = await read(tail.end, max(limit, 1 << 16))
                tail.read_at = self._clock()
                tail.grow(more)
            return tail.piece(offset, limit) or b""

    async def _begin(self, name: str, offset: int, limit: int, read: Read, *, follow: bool) -> bytes:
        """A look at what is not here; the first one begins to follow."""
        now = self._clock()
        if follow:
            self._forget(now)
            tail = self._tails[name] = _Tail(offset, used_at=now)
            try:
                return await self.read(name, offset, limit, read)
            except BaseException:
                if self._tails.get(name) is tail and not tail.data:
                    del self._tails[name]
                raise
        return await read(offset, limit)

    def _forget(self, now: float) -> None:
        old = [n for n, t in self._tails.items() if now - t.used_at > KEEP_S and not t.lock.locked()]
        for name in old:
            del self._tails[name]
        while len(self._tails) >= MOST:
            del self._tails[min(self._tails, key=lambda n: self._tails[n].used_at)]

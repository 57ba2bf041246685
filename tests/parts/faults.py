"""Faults on the way to a cluster, injected at the transport and at the site's files, and counted.

    lost_before   the request never arrives; the caller sees no answer
    lost_after    it has its effect, its answer is lost
    late          the caller sees no answer; the request arrives `late_s` later
    hung          nothing comes until the caller's time is up; the request never arrives
    garbage       it has its effect, its answer is noise
    silent        the whole site: requests and files, from `Silence.begin` to `Silence.end`, or at planned times

Knows nothing of any cluster: whatever has `exchange` and `close`, and `SiteFiles`, can be wrapped. All chances come from `rng`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tidegrid.connectors.contract import Claim, FileInfo, SiteFiles, SiteUnsure, SpoolEntry


class Inner(Protocol):
    async def exchange(self, request: bytes, timeout: float) -> bytes: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Rates:
    """Chances per request, in order; their sum is at most 1. late_s: the range of the delay, in seconds."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    late: float = 0.0
    hung: float = 0.0
    garbage: float = 0.0
    late_s: tuple[float, float] = (0.5, 2.0)


class Silence:
    """Whether a site answers. planned: (begin, end) in seconds after `start`, on `clock`."""

    def __init__(
        self, planned: Sequence[tuple[float, float]] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._planned, self._clock = tuple(planned), clock
        self._zero = clock()
        self._now = False
        self.episodes = 0

    def start(self) -> None:
        """Planned times count from now."""
        self._zero = self._clock()

    def begin(self) -> None:
        self._now, self.episodes = True, self.episodes + 1

    def end(self) -> None:
        self._now = False

    @property
    def active(self) -> bool:
        since = self._clock() - self._zero
        return self._now or any(a <= since < b for a, b in self._planned)


class FaultyTransport:
    """injected: how many of each kind so far. only: which requests may be hit (by default all); `rates` may be changed
    at any time. `settle` waits for late requests that are still on their way."""

    def __init__(
        self,
        inner: Inner,
        rng: random.Random,
        rates: Rates | None = None,
        *,
        silence: Silence | None = None,
        only: Callable[[bytes], bool] = lambda request: True,
        silent_delay_s: float = 0.05,
    ) -> None:
        self._inner, self._rng, self._only = inner, rng, only
        self.rates = rates or Rates()
        self.silence = silence or Silence()
        self._silent_delay_s = silent_delay_s
        self.injected: Counter[str] = Counter()
        self._late: set[asyncio.Task[None]] = set()

    async def exchange(self, request: bytes, timeout: float) -> bytes:
        if self.silence.active:
            self.injected["silent"] += 1
            await asyncio.sleep(min(timeout, self._silent_delay_s))
            raise SiteUnsure("the site is silent")
        match self._draw() if self._only(request) else "":
            case "lost_before":
                raise SiteUnsure("lost before it arrived")
            case "lost_after":
                await self._inner.exchange(request, timeout)
                raise SiteUnsure("its answer was lost")
            case "late":
                self._later(request, timeout)
                raise SiteUnsure("no answer yet")
            case "hung":
                await asyncio.sleep(timeout)
                raise SiteUnsure(f"no answer within {timeout:g} s")
            case "garbage":
                await self._inner.exchange(request, timeout)
                return self._rng.randbytes(self._rng.randrange(1, 200)).replace(b"\n", b" ")
        return await self._inner.exchange(request, timeout)

    async def settle(self) -> None:
        """Wait until every late request has arrived."""
        while self._late:
            await asyncio.gather(*self._late)

    async def close(self) -> None:
        await self.settle()
        await self._inner.close()

    def _draw(self) -> str:
        at = self._rng.random()
        for kind in ("lost_before", "lost_after", "late", "hung", "garbage"):
            at -= getattr(self.rates, kind)
            if at < 0:
                self.injected[kind] += 1
                return kind
        return ""

    def _later(self, request: bytes, timeout: float) -> None:
        delay_s = self._rng.uniform(*self.rates.late_s)

        async def arrive() -> None:
            await asyncio.sleep(delay_s)
            try:
                await self._inner.exchange(request, timeout)
            except SiteUnsure:
                self.injected["late_failed"] += 1

        task = asyncio.create_task(arrive())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


class FaultyFiles:
    """SiteFiles that are silent with their site, and fail now and then before or after their effect. rates: operation ->
    (chance before, chance after). full: every write fails as on a full disk, with the error made by it."""

    def __init__(
        self,
        inner: SiteFiles,
        rng: random.Random,
        rates: Mapping[str, tuple[float, float]] | None = None,
        *,
        silence: Silence | None = None,
        full: Callable[[], Exception] | None = None,
    ) -> None:
        self._inner, self._rng, self.rates = inner, rng, dict(rates or {})
        self.root = inner.root
        self.silence = silence or Silence()
        self.full = full
        self.injected: Counter[str] = Counter()

    async def prepare(self) -> None:
        await self._do("prepare", self._inner.prepare)

    async def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        await self._do("write", lambda: self._inner.write(path, data, mode=mode))

    async def write_many(
        self, directory: str, files: Mapping[str, bytes], *, mode: int = 0o600, directories: Sequence[str] = ()
    ) -> None:
        await self._do("write", lambda: self._inner.write_many(directory, files, mode=mode, directories=directories))

    async def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        return await self._do("read", lambda: self._inner.read_many(paths))

    async def put(self, local: str, path: str, *, offset: int = 0) -> int:
        return await self._do("put", lambda: self._inner.put(local, path, offset=offset))

    async def get(self, path: str, local: str, *, offset: int = 0) -> int:
        return await self._do("get", lambda: self._inner.get(path, local, offset=offset))

    async def read(self, path: str, *, offset: int = 0, limit: int = 65536) -> bytes:
        return await self._do("read", lambda: self._inner.read(path, offset=offset, limit=limit))

    async def glob(self, directory: str, patterns: Sequence[str], *, limit: int = 10_000) -> list[FileInfo]:
        return await self._do("glob", lambda: self._inner.glob(directory, patterns, limit=limit))

    async def glob_many(self, wanted: Sequence[tuple[str, Sequence[str]]], *, limit: int = 10_000) -> list[list[FileInfo]]:
        return await self._do("glob", lambda: self._inner.glob_many(wanted, limit=limit))

    async def sha256(self, path: str, *, length: int | None = None) -> str:
        return await self._do("sha256", lambda: self._inner.sha256(path, length=length))

    async def claim(self, directory: str, task: int, restart: int, holder: str) -> Claim:
        return await self._do("claim", lambda: self._inner.claim(directory, task, restart, holder))

    async def spool(self) -> list[SpoolEntry]:
        return await self._do("spool", self._inner.spool)

    async def unspool(self, files: Sequence[str]) -> list[str]:
        return await self._do("unspool", lambda: self._inner.unspool(files))

    async def remove(self, directory: str) -> None:
        await self._do("remove", lambda: self._inner.remove(directory))

    async def cached(self, at: str, contents: Mapping[str, int]) -> set[str]:
        return await self._do("cached", lambda: self._inner.cached(at, contents))

    async def cache(self, at: str, files: Sequence[tuple[str, str, int]]) -> set[str]:
        return await self._do("put", lambda: self._inner.cache(at, files))

    async def adopt(self, at: str, path: str, sha256: str) -> None:
        await self._do("adopt", lambda: self._inner.adopt(at, path, sha256))

    async def link(self, at: str, directory: str, files: Sequence[tuple[str, str]]) -> None:
        await self._do("link", lambda: self._inner.link(at, directory, files))

    async def uncache(self, at: str, hashes: Sequence[str]) -> None:
        await self._do("uncache", lambda: self._inner.uncache(at, hashes))

    async def _do(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if self.silence.active:
            self.injected["silent"] += 1
            raise SiteUnsure("the site's files are silent")
        if self.full is not None and name in ("write", "put"):
            self.injected["full"] += 1
            raise self.full()
        before, after = self.rates.get(name, (0.0, 0.0))
        at = self._rng.random()
        if at < before:
            self.injected[f"{name}_before"] += 1
            raise SiteUnsure(f"{name} was lost")
        result = await call()
        if at < before + after:
            self.injected[f"{name}_after"] += 1
            raise SiteUnsure(f"the answer to {name} was lost")
        return result

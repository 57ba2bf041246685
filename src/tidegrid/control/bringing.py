"""Contents to a site: each once an organisation and root, into a cache there, and from it under the names that a job wants.

What is already there does not travel. What is small travels many files a stream; what is large on its own, resumed from what has
arrived. A stream that breaks off loses what was under way of it, no more. Why links, and why this is safe: docs/decisions/0009.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegrid.connectors.contract import SiteFiles
from tidegrid.connectors.rooted import below, split
from tidegrid.control.moving import Mover
from tidegrid.domain.errors import Broken
from tidegrid.domain.ids import b32

LARGE = 16 << 20  # bytes of a file that travels alone
PACK_BYTES = 64 << 20
PACK_FILES = 2000
STREAMS = 2  # one is checked there while the next travels


@dataclass(frozen=True, slots=True)
class Source:
    """A file that a job wants: its path below the job's inputs, where it is here, hash and bytes."""

    path: str
    local: Path
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Brought:
    """Bytes and files that travelled, and those that were there already."""

    sent_files: int = 0
    sent_bytes: int = 0
    known_files: int = 0
    known_bytes: int = 0


def cache_of(directory: str, org_id: int) -> str:
    """The organisation's cache in the root that an attempt's directory lies in."""
    return below(split(directory)[0], f"cache/{b32(org_id)}")


class Bringer:
    def __init__(self, mover: Mover) -> None:
        self.mover = mover
        self._busy: Counter[tuple[int, str]] = Counter()

    def under_way(self, at: str) -> bool:
        """Whether something is on its way into such a cache now."""
        return any(n and key[1] == at for key, n in self._busy.items())

    async def bring(self, files: SiteFiles, at: str, directory: str, sources: Sequence[Source], transfer: int = 0) -> Brought:
        """at: the cache. transfer: the row that keeps the offset of a large file, where there is one file only.

        Broken (staging.corrupt) where a content is not what its hash says; NoSpace; errors of the site.
        """
        key = (id(files), at)
        self._busy[key] += 1
        try:
            return await self._bring(files, at, directory, sources, transfer)
        finally:
            self._busy[key] -= 1
            if not self._busy[key]:
                del self._busy[key]

    async def _bring(
        self, files: SiteFiles, at: str, directory: str, sources: Sequence[Source], transfer: int
    ) -> Brought:
        wanted = {s.sha256: s for s in sources}
        have = await files.cached(at, {sha: s.size for sha, s in wanted.items()})
        todo = [s for sha, s in wanted.items() if sha not in have]
        gate = asyncio.Semaphore(STREAMS)

        async def pack(batch: list[Source]) -> None:
            async with gate:
                await self._pack(files, at, batch)

        try:
            async with asyncio.TaskGroup() as group:
                for batch in packs([s for s in todo if s.size <= LARGE]):
                    group.create_task(pack(batch))
        except* Exception as several:  # noqa: BLE001 - as one, so that its kind is known
            raise several.exceptions[0] from None
        for s in todo:
            if s.size > LARGE:
                part = f"{at}/.part-{s.sha256}"
                await self.mover.send(files, s.local, part, s.sha256, transfer, whole=True)
                await files.adopt(at, part, s.sha256)
        await files.link(at, directory, [(s.path, s.sha256) for s in sources])
        sent = sum(s.size for s in todo)
        return Brought(len(todo), sent, len(wanted) - len(todo), sum(s.size for s in wanted.values()) - sent)

    async def _pack(self, files: SiteFiles, at: str, batch: list[Source]) -> None:
        left = batch
        for _ in range(2):
            arrived = await files.cache(at, [(s.sha256, str(s.local), s.size) for s in left])
            left = [s for s in left if s.sha256 not in arrived]
            if not left:
                return
        raise Broken(
            "staging.corrupt", f"{left[0].local}: its content here is not what its hash says",
            hint="the disk or the file changed; upload it again", details={"path": str(left[0].local)},
        )  # fmt: skip


def packs(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Batches of at most PACK_FILES files and about PACK_BYTES."""
    batch: list[Source] = []
    total = 0
    for s in sources:
        if batch and (len(batch) >= PACK_FILES or total + s.size > PACK_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(s)
        total += s.size
    if batch:
        yield batch

"""The supervisor's journal: what it promised and what happened, one checksummed JSON line a fact.

A fact counts when it is on disk: `append` gives a future that resolves after the fsync, and lines that arrive meanwhile share the
next one. On opening, a torn last line (no newline: it was never acknowledged) is cut off; damage anywhere else is refused, because
guessing at it could run a job twice or lose one.
"""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tidegrid.domain.errors import Broken, NoSpace

Record = dict[str, Any]
RETRY_S = 1.0


class Journal:
    """Open for appending after `read`. apply: called with every durable record, in order."""

    def __init__(self, path: Path, apply: Callable[[Record], None]) -> None:
        self.path = path
        self._apply = apply
        self._fd = -1
        self._size = 0
        self._waiting: list[tuple[bytes, Record, asyncio.Future[None], bool]] = []
        self._flusher: asyncio.Task[None] | None = None

    def read(self) -> list[Record]:
        """All records, oldest first. Broken (supervisor.journal_corrupt) names the file and the line."""
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        records = [self._decode(number, line) for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1)]
        if whole < len(data):
            os.ftruncate(self._fd, whole)
        self._size = whole
        os.fsync(self._fd)
        return records

    def append(self, record: Record, *, keep: bool = False) -> asyncio.Future[None]:
        """Resolves when the record is durable and applied. NoSpace where the disk is full; with `keep` the record is tried
        again until there is room, for facts that happened whether or not they can be written."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((encode(record), record, future, keep))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.get_running_loop().create_task(self._flush())
        return future

    async def drain(self) -> None:
        """Wait until nothing is waiting to be written."""
        while self._flusher is not None and not self._flusher.done():
            await asyncio.wait([self._flusher], timeout=5)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._write, b"".join(line for line, *_ in batch))
            except OSError as e:
                again = [entry for entry in batch if entry[3]]
                error = NoSpace(
                    "supervisor.no_space",
                    f"{self.path}: {e.strerror or e}",
                    hint="free space on this disk and try again",
                )
                for _, _, future, keep in batch:
                    if not keep and not future.done():
                        future.set_exception(error)
                        future.exception()  # the caller may have gone
                self._waiting = again + self._waiting
                await asyncio.sleep(RETRY_S)
                continue
            for _, record, future, _ in batch:
                self._apply(record)
                if not future.done():
                    future.set_result(None)

    def _write(self, data: bytes) -> None:
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], self._size + done)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        try:
            os.fdatasync(self._fd)
        except OSError:
            os._exit(
                70
            )  # after a failed fsync the page cache lies: only a new process that reads again may be believed
        self._size += len(data)

    def _decode(self, number: int, line: bytes) -> Record:
        try:
            checksum, _, body = line.partition(b" ")
            if len(checksum) == 8 and int(checksum, 16) == zlib.crc32(body):
                record = json.loads(body)
                if isinstance(record, dict):
                    return record
        except ValueError:
            pass
        raise Broken(
            "supervisor.journal_corrupt",
            f"{self.path}, line {number}: the checksum does not match",
            hint="restore the journal from a backup, or move this cluster's home away and declare the cluster dead",
        )


def encode(record: Record) -> bytes:
    """`<crc32 of the JSON, 8 hex digits> <JSON>\\n`"""
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)

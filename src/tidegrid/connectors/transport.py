"""How bytes reach a cluster's controller: one request, one answer, or `SiteUnsure`.

The seam at which tests inject faults; ssh and REST transports come beside the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Protocol

from tidegrid.connectors.contract import SiteUnsure

ANSWER_LIMIT = 64 << 20


class Transport(Protocol):
    async def exchange(self, request: bytes, timeout: float) -> bytes:  # noqa: ASYNC109
        """Send a request (no newline in it), return the answer within `timeout` seconds. SiteUnsure otherwise: then the
        request may or may not have had its effect."""
        ...

    async def close(self) -> None: ...


class SocketTransport:
    """Lines over a Unix socket. Connections are kept and reused, at most `connections` at once; one that failed or timed out
    is dropped, so that a late answer is never taken for the next one."""

    def __init__(self, path: Path, *, connections: int = 8) -> None:
        self.path = path
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._free = asyncio.Semaphore(connections)

    async def exchange(self, request: bytes, timeout: float) -> bytes:  # noqa: ASYNC109
        try:
            async with asyncio.timeout(timeout), self._free:
                return await self._exchange(request)
        except TimeoutError:
            raise SiteUnsure(f"{self.path}: no answer within {timeout:g} s") from None
        except (OSError, asyncio.IncompleteReadError) as e:
            raise SiteUnsure(f"{self.path}: {e}") from None
        except asyncio.LimitOverrunError:
            raise SiteUnsure(f"{self.path}: an answer of more than {ANSWER_LIMIT} bytes", silent=False) from None

    async def close(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()

    async def _exchange(self, request: bytes) -> bytes:
        kept = self._usable()
        if kept is not None:
            try:
                return await self._talk(*kept, request)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the other side was restarted meanwhile; requests are idempotent, so a new connection may repeat it
        return await self._talk(*await self._connect(), request)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
        try:
            writer.write(request + b"\n")
            await writer.drain()
            answer = await reader.readuntil(b"\n")
        except BaseException:
            writer.transport.abort()
            raise
        self._idle.append((reader, writer))
        return answer[:-1]

    def _usable(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """An idle connection that the other side has not closed meanwhile (a supervisor that was restarted)."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # through a directory descriptor: a socket's path holds 107 characters only
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, directory)
            return await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/{self.path.name}", limit=ANSWER_LIMIT)

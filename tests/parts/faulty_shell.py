"""A shell whose way to the site loses, delays and garbles: `faults.FaultyTransport`, with commands as its requests."""

from __future__ import annotations

import json
from typing import Any

from tests.parts.faults import FaultyTransport
from tidegrid.connectors.slurm.shell import LIMIT, Output, Shell


class FaultyShell:
    """make: from an inner transport to the faulty one; kept as `faults`."""

    def __init__(self, inner: Shell, make: Any) -> None:
        self._inner = inner
        self.faults: FaultyTransport = make(_Inner(inner))

    async def run(self, command: str, stdin: str = "", *, timeout: float = 20.0, limit: int = LIMIT) -> Output:
        request = json.dumps([command, stdin, timeout, limit]).encode()
        answer = await self.faults.exchange(request, timeout)
        try:
            return Output(*json.loads(answer))
        except (ValueError, TypeError):
            return Output(0, answer.decode("utf-8", "surrogateescape"), "")

    async def close(self) -> None:
        await self.faults.close()


class _Inner:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def exchange(self, request: bytes, timeout: float) -> bytes:
        command, stdin, seconds, limit = json.loads(request)
        answer = await self._shell.run(command, stdin, timeout=seconds, limit=limit)
        return json.dumps([answer.rc, answer.stdout, answer.stderr]).encode()

    async def close(self) -> None:
        await self._shell.close()

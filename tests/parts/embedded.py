"""A real embedded cluster for tests: supervisor, shims, site files, and jobs staged with the real batch script."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.parts.faults import FaultyTransport, Rates
from tests.parts.staged import JOB_TEMPLATE, StagedSite
from tidegrid.connectors.contract import Observation, Record
from tidegrid.connectors.embedded import launch
from tidegrid.connectors.embedded.connector import EmbeddedConnector
from tidegrid.connectors.files import LocalFiles
from tidegrid.connectors.transport import SocketTransport, Transport
from tidegrid.domain.attempt import Ended, Started

__all__ = ["JOB_TEMPLATE", "EmbeddedSite", "Watcher", "eventually", "wait_until"]


class EmbeddedSite(StagedSite):
    """home/: the supervisor's; home/site: the root. Partitions: `cpu`, 2 nodes of 2 cores and 1 GiB; `one`, one core."""

    name = "east"

    def __init__(self, home: Path, **settings: Any) -> None:
        super().__init__()
        self.home = home
        self.root = home / "site"
        self.config: dict[str, Any] = {
            "name": self.name,
            "root": str(self.root),
            "kill_grace_s": 0.5,
            "partitions": [
                {"name": "cpu", "nodes": 2, "cores": 2, "memory_mib": 1024},
                {"name": "one", "nodes": 1, "cores": 1, "memory_mib": 512},
            ],
        } | settings
        self.files = LocalFiles(str(self.root))
        self.files.make_root()

    # Its life ----------------------------------------------------------------------------------------------------------

    def start(self) -> int:
        return launch.start_supervisor(self.home, self.config)

    def stop(self) -> None:
        launch.stop_supervisor(self.home)

    def kill(self) -> None:
        """SIGKILL the supervisor, and wait until it is gone."""
        pid = launch.running(self.home)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: launch.running(self.home) == 0)

    def restart(self) -> None:
        self.kill()
        self.start()

    def end_everything(self) -> None:
        """Kill the supervisor and what runs under it, for the end of a test."""
        if launch.running(self.home):
            self.kill()
        for pid in self.shims():
            _kill(pid)
        runs = {p.name for p in (self.home / "run").glob("*")}
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                environment = path.read_bytes()
            except OSError:
                continue
            if any(b"TIDE_RUN=" + r.encode() + b"\0" in environment for r in runs):
                _kill(int(path.parent.name))

    def shims(self) -> list[int]:
        """Process ids of the shims that claimed a run of this cluster and live."""
        found = []
        for run in (self.home / "run").iterdir():
            try:
                pid = os.readlink(run / "start").split(".")[0]
            except OSError:
                continue
            if pid.isdigit() and str(self.home).encode() in _read(Path(f"/proc/{pid}/cmdline")):
                found.append(int(pid))
        return found

    def transport(self) -> SocketTransport:
        return SocketTransport(self.home / "socket")

    def connector(self, transport: Transport | None = None) -> EmbeddedConnector:
        return EmbeddedConnector(self.name, transport or self.transport(), self.files, timeout_s=5.0)

    def faulty(self, rng: random.Random, rates: Rates) -> tuple[EmbeddedConnector, FaultyTransport]:
        """A connector whose submissions are hit."""
        transport = FaultyTransport(self.transport(), rng, rates, only=lambda request: b'"submit"' in request)
        return self.connector(transport), transport


class Watcher:
    """Follows a connector's accounting with a cursor, as the server does."""

    def __init__(self, connector: Any, patience_s: float = 20) -> None:
        self.connector, self.patience_s = connector, patience_s
        self.cursor = ""
        self.records: list[Record] = []

    async def look(self) -> Observation:
        seen: Observation = await self.connector.observe(self.cursor)
        self.cursor = seen.cursor
        self.records += seen.records
        return seen

    def started(self, name: str, task: int = 0) -> Started | None:
        return next((e for e in self._of(name, task) if isinstance(e, Started)), None)

    def ended(self, name: str, task: int = 0) -> Ended | None:
        return next((e for e in self._of(name, task) if isinstance(e, Ended)), None)

    async def until_started(self, name: str, task: int = 0, timeout_s: float = 0) -> Started:
        found: Started = await self._until(lambda: self.started(name, task), timeout_s, f"{name}.{task} did not start")
        return found

    async def until_ended(self, name: str, task: int = 0, timeout_s: float = 0) -> Ended:
        found: Ended = await self._until(lambda: self.ended(name, task), timeout_s, f"{name}.{task} did not end")
        return found

    def _of(self, name: str, task: int) -> list[Started | Ended]:
        return [r.event for r in self.records if r.name == name and r.event.task == task]

    async def _until(self, ask: Callable[[], Any], timeout_s: float, what: str) -> Any:
        timeout_s = timeout_s or self.patience_s
        deadline = time.monotonic() + timeout_s
        while True:
            seen = await self.look()
            if (answer := ask()) is not None:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} within {timeout_s} s; {seen.jobs}; {self.records}")
            if not seen.more:
                await asyncio.sleep(0.02)


async def eventually(ask: Callable[[], Any], what: str = "", timeout_s: float = 10) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + timeout_s
    while not (answer := ask()):
        assert time.monotonic() < deadline, what or "it did not happen"
        await asyncio.sleep(0.02)
    return answer


def wait_until(ask: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not ask():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass

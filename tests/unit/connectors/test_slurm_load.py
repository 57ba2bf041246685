"""How old the load is that a Slurm cluster's answer holds, on recorded answers of the controller."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.connectors.recorded import recorded

from tidegrid.connectors.slurm.connector import SlurmConnector, SlurmSettings
from tidegrid.connectors.slurm.shell import Output


class Controller:
    """Answers by the command's first known word. hang: its nodes are not told."""

    def __init__(self) -> None:
        self.load, self.hang, self.asked = "load_alpha", False, 0

    async def run(self, command: str, stdin: str = "", *, timeout: float = 20.0, limit: int = 0) -> Output:
        if command.startswith("date "):
            return Output(0, "1700000000000000\n", "")
        if "show config" in command:
            return recorded("config_gamma")  # no accounting: nothing else is asked
        if "sinfo" in command:
            self.asked += 1
            if self.hang:
                await asyncio.sleep(60)
            return recorded("sinfo_alpha")
        return recorded(self.load)

    async def close(self) -> None: ...


class Files:
    root = "/root"

    async def prepare(self) -> None: ...


def _running(seen: Any) -> int:
    return sum(len(load.running) for load in seen.loads)


@pytest.fixture
def site() -> tuple[Controller, SlurmConnector]:
    controller = Controller()
    files: Any = Files()
    return controller, SlurmConnector("alpha", controller, files, SlurmSettings(load_every=3600.0))


@pytest.mark.anyio
async def test_a_load_that_is_wanted_comes_with_the_next_answer(site: tuple[Controller, SlurmConnector]) -> None:
    controller, connector = site
    before = await connector.observe("")
    controller.load = "load_gamma"  # other jobs, which are in none of these partitions
    assert (await connector.observe("")).loads is before.loads and controller.asked == 1
    assert not connector.want_load(60.0)  # it is young enough
    assert (await connector.observe("")).loads is before.loads
    assert connector.want_load(0.0)
    after = await connector.observe("")
    assert controller.asked == 2 and _running(before) == 3 and _running(after) == 0
    assert (await connector.observe("")).loads is after.loads and controller.asked == 2


@pytest.mark.anyio
async def test_who_is_slow_to_tell_keeps_nobody_waiting(
    site: tuple[Controller, SlurmConnector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegrid.connectors.slurm.connector.WANTED_S", 0.05)
    controller, connector = site
    before = await connector.observe("")
    controller.hang = True
    assert connector.want_load(0.0)
    async with asyncio.timeout(5):
        assert (await connector.observe("")).loads is before.loads
    await connector.close()

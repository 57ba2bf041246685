"""What is placed goes by loads that are not old."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tidegrid.connectors.contract import NodeLoad
from tidegrid.control import placing
from tidegrid.control.contact import Contact

LOAD = (NodeLoad("cpu", (8, 8), (1024, 1024), (0, 0), (8, 1024, 0)),)


class Site:
    def __init__(self, old: bool) -> None:
        self.old, self.asked = old, 0

    def want_load(self, older: float) -> bool:
        self.asked += 1
        return self.old


def _placer(sites: dict[str, Any], woken: list[str]) -> tuple[placing.Placer, dict[str, Contact]]:
    contacts = {name: Contact(answered=True) for name in sites}
    made = placing.Placer.__new__(placing.Placer)  # nothing of the rest is touched
    made.ctx = SimpleNamespace(connectors=sites, wake=woken.append)  # type: ignore[assignment]
    made.picture = SimpleNamespace(contacts=contacts)  # type: ignore[assignment]
    return made, contacts


def test_an_old_load_is_asked_for_again_and_waited_for() -> None:
    async def main() -> None:
        woken: list[str] = []
        placer, contacts = _placer({"old": Site(True), "young": Site(False), "embedded": object()}, woken)
        asked = asyncio.create_task(placer._fresh_loads())
        await asyncio.sleep(0.12)
        assert woken == ["old"] and not asked.done()
        contacts["old"].loads = LOAD
        async with asyncio.timeout(5):
            await asked

    asyncio.run(main())


def test_who_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "LOAD_LOOKS", 2)

    async def main() -> None:
        woken: list[str] = []
        sites = {"slow": Site(True), "failing": Site(True), "new": Site(True)}
        placer, contacts = _placer(sites, woken)
        contacts["failing"].failures, contacts["new"].answered = 1, False
        async with asyncio.timeout(5):
            await placer._fresh_loads()
        assert woken == ["slow"] and sites["failing"].asked == sites["new"].asked == 0

    asyncio.run(main())

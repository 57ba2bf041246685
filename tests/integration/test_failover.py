"""Clusters that fall silent, die or lose their memory; servers that are stopped and started. Real embedded clusters."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.parts.faults import FaultyFiles, FaultyTransport, Rates, Silence
from tests.parts.platform import Running, running, shell

from tidegrid.connectors.embedded import launch as embedded
from tidegrid.domain.errors import Broken, Conflict
from tidegrid.launch import effects
from tidegrid.launch.home import locked, prepare


class Faulty:
    """A wrap for every connector: silences by cluster, rates of the transport."""

    def __init__(self, rates: Rates | None = None) -> None:
        self.silence: dict[str, Silence] = {}
        self.transports: dict[str, FaultyTransport] = {}
        self.rates = rates

    def __call__(self, cluster: str, connector: Any) -> Any:
        silence = self.silence.setdefault(cluster, Silence())
        rng = random.Random(f"{cluster}-7")
        only_submits = lambda request: b'"op":"submit"' in request  # noqa: E731
        connector.transport = self.transports[cluster] = FaultyTransport(
            connector.transport, rng, self.rates, silence=silence, only=only_submits
        )
        connector.files = FaultyFiles(connector.files, rng, silence=silence)
        return connector


def witness(path: Path, seconds: float) -> str:
    return f"echo start $TIDE_TASK >> {path}; sleep {seconds}; echo end $TIDE_TASK >> {path}"


async def until(condition: Any, timeout: float = 20.0) -> None:
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.sleep(0.05)


async def attempts_of(net: Running, job: str) -> list[dict[str, Any]]:
    return (await net.platform.job(net.operator, job))["attempts"]


def test_queued_jobs_of_a_silent_cluster_move_and_running_ones_are_adopted(tmp_path: Path) -> None:
    async def main() -> None:
        faults = Faulty()
        async with running(tmp_path / "home", wrap=faults) as net:
            p, w = net.platform, tmp_path / "witness"
            first = {"constraints": {"ordered": ["north", "east"]}, "movable": True}
            runs = shell(witness(w, 6), **first)
            runs["resources"]["cores"] = 4
            running_jobs = [await p.submit(net.acme, runs, None) for _ in range(2)]
            await until(lambda: _all_permitted(net, [j["id"] for j in running_jobs]))
            waits = shell(witness(w, 0.2), movable=True, constraints={"ordered": ["north", "east"]})
            waits["resources"]["cores"] = 4
            queued = [await p.submit(net.acme, waits, None) for _ in range(3)]
            array = await p.submit(net.acme, {**waits, "array": "0-3"}, None)
            await until(lambda: _all_on(net, [*(j["id"] for j in queued), array["id"]], "north"))
            faults.silence["north"].begin()
            ended = await net.wait(*(j["id"] for j in queued), array["id"], timeout=30)
            assert {v["state"] for v in ended} == {"succeeded"}
            assert all(v["moved"] >= 1 and v["attempts"][-1]["cluster"] == "east" for v in ended)
            assert {(await p.job(net.operator, j["id"]))["state"] for j in running_jobs} == {"running"}
            faults.silence["north"].end()
            adopted = await net.wait(*(j["id"] for j in running_jobs), timeout=30)
            assert [(v["state"], len(v["attempts"]), v["moved"]) for v in adopted] == [("succeeded", 1, 0)] * 2
            await until(lambda: _idle(net, "north"))  # what was withdrawn is cancelled there when it is back
            lines = w.read_text().split("\n")
            assert sum(line.startswith("start") for line in lines) == 2 + 3 + 4
            assert (await p.journal_check(net.operator))["balanced"]

    asyncio.run(main())


async def _all_permitted(net: Running, jobs: list[str]) -> bool:
    return all([any(a["executions"] and a["state"] == "RUNNING" for a in await attempts_of(net, j)) for j in jobs])


async def _all_on(net: Running, jobs: list[str], cluster: str) -> bool:
    return all([[a["cluster"] for a in await attempts_of(net, j) if a["state"] == "QUEUED"] == [cluster] for j in jobs])


async def _idle(net: Running, cluster: str) -> bool:
    seen = await net.platform.ctx.connectors[cluster].observe("")
    return not seen.jobs


def test_when_every_cluster_is_silent_nothing_moves(tmp_path: Path) -> None:
    async def main() -> None:
        faults = Faulty()
        async with running(tmp_path / "home", wrap=faults, settings={"silent_after": 0.5}) as net:
            p = net.platform
            fill = shell("sleep 5")  # longer than a busy machine takes to send three jobs
            fill["resources"]["cores"] = 4
            for _ in range(2):
                await p.submit(net.acme, {**fill, "constraints": {"any_of": ["north"]}}, None)
            job = await p.submit(
                net.acme, {**fill, "movable": True, "constraints": {"ordered": ["north", "east"]}}, None
            )
            await until(lambda: _all_on(net, [job["id"]], "north"))
            for s in faults.silence.values():
                s.begin()
            await asyncio.sleep(2.0)
            assert (await p.job(net.operator, job["id"]))["moved"] == 0
            for s in faults.silence.values():
                s.end()
            (view,) = await net.wait(job["id"], timeout=30)
            assert (view["state"], len(view["attempts"])) == ("succeeded", 1)

    asyncio.run(main())


def test_lost_and_late_acknowledgements_run_every_job_once(tmp_path: Path) -> None:
    async def main() -> None:
        faults = Faulty(Rates(lost_before=0.15, lost_after=0.25, late=0.25, garbage=0.1, late_s=(0.3, 1.5)))
        async with running(tmp_path / "home", wrap=faults) as net:
            w = tmp_path / "witness"
            bodies = [shell(witness(w, 0.05), name=str(i), movable=i % 2 == 0) for i in range(40)]
            jobs = await net.platform.submit_many(net.acme, bodies, "all")
            views = await net.wait(*(j["id"] for j in jobs), timeout=60)
            assert {v["state"] for v in views} == {"succeeded"}
            await asyncio.gather(*(t.settle() for t in faults.transports.values()))
            await asyncio.sleep(0.5)
            injected = sum(
                (t.injected for t in faults.transports.values()), start=type(faults.transports["east"].injected)()
            )
            assert min(injected[k] for k in ("lost_before", "lost_after", "late", "garbage")) > 0, injected
            assert w.read_text().count("start") == 40
            assert (await net.platform.journal_check(net.operator))["balanced"]

    asyncio.run(main())


def test_jobs_outlive_the_server_and_the_supervisor(tmp_path: Path) -> None:
    async def main() -> None:
        home, w = tmp_path / "home", tmp_path / "witness"
        async with running(home) as net:
            body = shell(witness(w, 4), constraints={"any_of": ["north"]})
            job = await net.platform.submit(net.acme, body, None)
            await until(lambda: _all_permitted(net, [job["id"]]))
            os.kill(embedded.running(home / "clusters" / "north"), signal.SIGKILL)
            await asyncio.sleep(0.3)
        async with running(home) as net:  # the supervisors were stopped too: the shim goes on alone
            (view,) = await net.wait(job["id"], timeout=30)
            assert (view["state"], len(view["attempts"])) == ("succeeded", 1)
            assert w.read_text() == "start 0\nend 0\n"
            usage, _ = await net.platform.usage(net.acme)
            assert [u["elapsed_ms"] // 1000 for u in usage] == [4]

    asyncio.run(main())


def test_a_cluster_declared_dead_loses_only_what_ran_there(tmp_path: Path) -> None:
    async def main() -> None:
        faults = Faulty()
        async with running(tmp_path / "home", wrap=faults) as net:
            p, w = net.platform, tmp_path / "witness"
            body = shell(witness(w, 8), constraints={"ordered": ["north", "east"]})
            body["resources"]["cores"] = 4
            lost, again = [await p.submit(net.acme, {**body, "restartable": r}, None) for r in (False, True)]
            await until(lambda: _all_permitted(net, [lost["id"], again["id"]]))
            short = {**body, "params": {"script": "true"}}
            waits, stays = [await p.submit(net.acme, short | more, None) for more in ({}, {"movable": False})]
            await until(lambda: _all_on(net, [waits["id"], stays["id"]], "north"))
            faults.silence["north"].begin()
            await asyncio.sleep(1.0)
            await p.cluster_command(net.operator, "north", "dead")
            a, b, c, d = await net.wait(lost["id"], again["id"], waits["id"], stays["id"], timeout=40)
            # the last one waits for no permit: it may have started, for all that anybody knows
            assert [v["state"] for v in (a, b, c, d)] == ["lost", "succeeded", "succeeded", "lost"], (a, b, c, d)
            assert len(d["attempts"]) == 1 and (await p.usage(net.acme, job_id=stays["id"]))[0] == []
            assert b["attempts"][-1]["cluster"] == c["attempts"][-1]["cluster"] == "east"
            usage, _ = await p.usage(net.acme, job_id=lost["id"])
            (row,) = usage
            assert row["estimated"] and 0 < row["elapsed_ms"] < 8_000
            faults.silence["north"].end()  # its own accounting turns up after all: corrected by reversal
            await until(lambda: _corrected(net, lost["id"]), timeout=30)
            usage, _ = await p.usage(net.acme, job_id=lost["id"])
            assert [(u["estimated"], u["revision"]) for u in usage] == [(False, 1)]
            assert (await p.job(net.acme, lost["id"]))["state"] == "lost"
            assert (await p.journal_check(net.operator))["balanced"]

    asyncio.run(main())


async def _corrected(net: Running, job: str) -> bool:
    usage, _ = await net.platform.usage(net.acme, job_id=job)
    return all(not u["estimated"] for u in usage)


def test_a_second_server_on_the_same_home_is_refused(tmp_path: Path) -> None:
    prepare(tmp_path)
    with locked(tmp_path), pytest.raises(Conflict) as e, locked(tmp_path):
        pass
    assert e.value.code == "server.locked" and str(os.getpid()) in e.value.message


def test_a_clock_that_stepped_back_is_told(tmp_path: Path) -> None:
    with pytest.raises(Conflict) as e:
        effects.check_clock(1_000_000_000, 1_010_000_000, accept=False)
    assert e.value.code == "clock.stepped_back" and "10.0 s" in e.value.message
    effects.check_clock(1_000_000_000, 1_010_000_000, accept=True)


def test_the_clock_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, mono = [10_000_000_000_000], [5_000_000_000]
    monkeypatch.setattr(time, "time_ns", lambda: wall[0])
    monkeypatch.setattr(time, "monotonic_ns", lambda: mono[0])
    clock = effects.SteadyClock()
    first = clock.now()
    wall[0] -= 3_600_000_000_000  # an hour back
    mono[0] += 1_000_000_000
    assert clock.now() == first + 1_000_000
    assert clock.stepped_back == 3_601_000_000
    wall[0] += 3_700_000_000_000
    mono[0] += 1_000_000_000
    assert clock.now() == first + 100_000_000
    assert clock.stepped_back == 0


def test_a_corrupted_supervisor_is_told_and_repaired_by_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        home = tmp_path / "home"
        async with running(home) as net:
            job = await net.platform.submit(net.acme, shell("true", constraints={"any_of": ["north"]}), None)
            await net.wait(job["id"])
        journal = home / "clusters" / "north" / "journal"
        lines = journal.read_bytes().split(b"\n")
        lines[1] = b"x" + lines[1][1:]
        journal.write_bytes(b"\n".join(lines))
        config = (home / "clusters" / "north" / "config.json").read_text()
        import json

        with pytest.raises(Broken) as e:
            embedded.start_supervisor(home / "clusters" / "north", json.loads(config))
        assert e.value.code == "supervisor.journal_corrupt"
        async with running(home) as net:  # the network goes on without it, and says why
            other = await net.platform.submit(net.acme, shell("true"), None)
            (view,) = await net.wait(other["id"])
            assert view["attempts"][0]["cluster"] == "east"
            events = await net.platform.events(net.operator, 0, ["cluster.trouble"])
            assert events and events[-1]["body"]["code"] == "supervisor.journal_corrupt"

    asyncio.run(main())

"""A cluster that fails its jobs is drained, probed and used again; with that switched off, jobs keep going there."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_failover import Faulty, until, witness
from tests.parts.platform import Running, running, shell

from tidegrid.connectors.contract import Observation, Record, SiteRefused
from tidegrid.domain.attempt import Ended, Reason

QUICK = {"rest": 0.5, "trial": 1.0, "burst_s": 0.05, "suspect_level": 1.0, "drain_level": 3.0, "half_life": 60.0}


class Failing:
    """A wrap that makes a cluster fail while `broken` holds its name: `refusing`, or losing the node under every job."""

    def __init__(self, how: str) -> None:
        self.how, self.broken, self.asked = how, {"north"}, 0
        self.probes = 0

    def __call__(self, cluster: str, connector: Any) -> Any:
        submit, observe = connector.submit, connector.observe

        async def submitted(request: Any) -> str:
            if request.name.startswith("tg-probe"):
                self.probes += 1
            if cluster in self.broken:
                self.asked += not request.name.startswith("tg-probe")
                if self.how == "refusing":
                    raise SiteRefused("site.partition_down", "the partition is down")
            answer: str = await submit(request)
            return answer

        async def observed(cursor: str) -> Observation:
            seen: Observation = await observe(cursor)
            if cluster not in self.broken or self.how != "nodes":
                return seen
            records = tuple(
                Record(r.name, dataclasses.replace(r.event, reason=Reason.NODE_FAIL, exit_code=None))
                if isinstance(r.event, Ended) else r for r in seen.records
            )  # fmt: skip
            return dataclasses.replace(seen, records=records)

        spool = connector.files.spool

        async def spooled() -> Any:  # a job whose node fails says nothing of its own end
            found = await spool()
            broken = cluster in self.broken and self.how == "nodes"
            return [e for e in found if e.kind != "end"] if broken else found

        connector.submit, connector.observe = submitted, observed
        connector.files.spool = spooled
        return connector


async def _health(net: Running, partition: bool = True) -> str:
    north = next(c for c in await net.platform.clusters(net.operator) if c["name"] == "north")
    return str(north["partitions"][0]["health"] if partition else north["health"])


async def _feed(net: Running, w: Path, times: int, **more: Any) -> list[str]:
    """Jobs one after another, as users submit them."""
    jobs = []
    for _ in range(times):
        body = shell(witness(w, 0), constraints={"ordered": ["north", "east"]}, **more)
        jobs.append((await net.platform.submit(net.acme, body, None))["id"])
        await asyncio.sleep(0.1)
    return jobs


@pytest.mark.parametrize("how", ["refusing", "nodes"])
def test_a_failing_partition_is_drained_and_comes_back_by_probes(tmp_path: Path, how: str) -> None:
    async def main() -> None:
        failing = Failing(how)
        async with running(tmp_path / "home", wrap=failing, settings={"health": QUICK}) as net:
            w = tmp_path / "witness"
            jobs = await _feed(net, w, 12, restartable=True)
            await until(lambda: _is(net, "draining"))
            more = await _feed(net, w, 10, restartable=True)
            views = await net.wait(*jobs, *more)
            assert {v["state"] for v in views} == {"succeeded"}
            assert all(v["attempts"][-1]["cluster"] == "east" for v in views[len(jobs) :])
            (opened,) = [e["at"] for e in await net.platform.events(net.operator, 0) if e["kind"] == "incident.opened"]
            sent = [a for v in views for a in v["attempts"] if a["cluster"] == "north"]
            late = max(datetime.fromisoformat(a["created_at"]) for a in sent) - datetime.fromisoformat(opened)
            assert late < timedelta(seconds=0.5), "what had been decided before, and nothing after"
            explained = await net.platform.explain(net.acme, more[-1])
            assert explained["decisions"][-1]["refusals"].get("failing") == 1
            if how == "refusing":  # a probe is refused too, and the rest grows
                await until(lambda: _true(failing.probes >= 1))
                assert await _health(net) == "draining"
            failing.broken.clear()
            await until(lambda: _is(net, "suspect", "ok"), timeout=30)
            (incident,), _ = await net.platform.incidents(net.operator, cluster="north")
            sign = "refused" if how == "refusing" else "node_failed"
            assert incident["condition"] == "draining" and incident["evidence"][sign] >= 3
            assert any("a probe succeeded" in s["what"] for s in incident["steps"])
            again = await _feed(net, w, 1)
            (view,) = await net.wait(*again)
            assert view["attempts"][0]["cluster"] == "north"
            kinds = [e["kind"] for e in await net.platform.events(net.operator, 0)]
            assert kinds.count("incident.opened") == 1 and "health.probe" in kinds
            assert (await net.platform.journal_check(net.operator))["balanced"]

    asyncio.run(main())


async def _is(net: Running, *words: str) -> bool:
    return await _health(net) in words


async def _true(value: bool) -> bool:
    return value


def test_control_run_without_drain_jobs_keep_going_where_they_fail(tmp_path: Path) -> None:
    async def main() -> None:
        failing = Failing("refusing")
        settings = {"health": {**QUICK, "auto": False}}
        async with running(tmp_path / "home", wrap=failing, settings=settings) as net:
            jobs = await _feed(net, tmp_path / "w", 12)
            asked = failing.asked
            jobs += await _feed(net, tmp_path / "w", 10)
            await net.wait(*jobs)
            assert failing.asked - asked >= 9, "each of them was sent there first"
            assert await _health(net) == "suspect" and not failing.probes

    asyncio.run(main())


def test_an_operators_word_wins(tmp_path: Path) -> None:
    async def main() -> None:
        failing = Failing("refusing")
        async with running(tmp_path / "home", wrap=failing, settings={"health": QUICK}) as net:
            p = net.platform
            await _feed(net, tmp_path / "w", 8)
            await until(lambda: _is(net, "draining"))
            await p.cluster_command(net.operator, "north", "drain")
            probes = failing.probes
            failing.broken.clear()
            await asyncio.sleep(3.0)
            assert failing.probes - probes <= 1 and await _health(net) == "draining", "no probes where an operator drained"
            await p.cluster_command(net.operator, "north", "resume")
            assert await _health(net) == "ok"
            (incident,), _ = await p.incidents(net.operator)
            assert incident["closed_at"] and incident["steps"][-1]["what"] == "resumed by admin"
            failing.broken.add("north")
            await _feed(net, tmp_path / "w", 8)
            assert await _health(net) == "suspect", "not drained again so soon after an operator's word"

    asyncio.run(main())


def test_a_silence_is_an_incident_with_what_was_done(tmp_path: Path) -> None:
    async def main() -> None:
        faults = Faulty()
        async with running(tmp_path / "home", wrap=faults) as net:
            p = net.platform
            full = shell("sleep 4", movable=True, constraints={"ordered": ["north", "east"]})
            full["resources"]["cores"] = 4
            jobs = [(await p.submit(net.acme, full, None))["id"] for _ in range(4)]
            await until(lambda: _placed(net, jobs))
            faults.silence["north"].begin()
            await until(lambda: _incidents(net, 1))
            await until(lambda: _moved(net))
            faults.silence["north"].end()
            await net.wait(*jobs, timeout=40)
            (incident,), _ = await p.incidents(net.operator)
            assert (incident["cause"], incident["condition"], incident["moved"]) == ("silent", "silent", 2)
            assert incident["closed_at"] and incident["steps"][-1]["what"].startswith("answers again after")
            assert await p.incident(net.operator, incident["id"]) == incident
            assert (await p.incidents(net.operator, open_only=True))[0] == []

    asyncio.run(main())


async def _placed(net: Running, jobs: list[str]) -> bool:
    """Two run and two wait in its queue; what is still on its way there is not."""
    views = [await net.platform.job(net.operator, j) for j in jobs]
    return sorted(a["state"] for v in views for a in v["attempts"]) == ["QUEUED", "QUEUED", "RUNNING", "RUNNING"]


async def _incidents(net: Running, count: int) -> bool:
    return len((await net.platform.incidents(net.operator))[0]) == count


async def _moved(net: Running) -> bool:
    return bool((await net.platform.incidents(net.operator))[0][0]["moved"])

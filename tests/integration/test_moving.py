"""Jobs that wait at a cluster that answers and are placed again: no second run, a bounded number of moves, and the reason told."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_failover import _all_on, _idle, attempts_of, until, witness
from tests.parts.platform import Running, running, shell

from tidegrid.connectors.contract import Claim, Observation, SiteRefused
from tidegrid.domain.errors import InvalidInput

QUICK = {"every": 0.2, "stuck_after": 0.3, "passing_after": 1.0, "settle": 1.0, "late_floor": 0.0, "late": 0.01, "gain": 1.0,
         "gain_share": 0.0, "better_floor": 5.0}  # fmt: skip
CALM = {**QUICK, "late": 1000.0, "better_floor": 1e9}
PATIENT = {**CALM, "late_floor": 1e9, "settle": 0.3, "gain": 0.1}
CALM |= {"gain": 1e9}  # nor for patience


class Sticking:
    """A wrap that makes a cluster say of its waiting jobs that they will not start."""

    def __init__(self, clusters: tuple[str, ...], code: str, says: str) -> None:
        self.clusters, self.code, self.says = clusters, code, says
        self.claims: list[Claim] = []

    def __call__(self, cluster: str, connector: Any) -> Any:
        observe, claim = connector.observe, connector.files.claim

        async def observed(cursor: str) -> Observation:
            seen: Observation = await observe(cursor)
            if cluster not in self.clusters:
                return seen
            jobs = (dataclasses.replace(j, stuck=self.code, says=self.says) if j.waiting else j for j in seen.jobs)
            return dataclasses.replace(seen, jobs=tuple(jobs))

        async def claimed(*args: Any) -> Claim:
            found: Claim = await claim(*args)
            self.claims.append(found)
            return found

        connector.observe, connector.files.claim = observed, claimed
        return connector


def _full(seconds: float, cluster: str = "north", cores: int = 4) -> dict[str, Any]:
    """A job that fills a node of the cluster for so long."""
    body = shell(f"sleep {seconds}", constraints={"any_of": [cluster]}, movable=False)
    body["resources"]["cores"] = cores
    return body


async def _fill_north(net: Running, seconds: float) -> list[str]:
    jobs = [(await net.platform.submit(net.acme, _full(seconds), None))["id"] for _ in range(2)]
    await until(lambda: _running(net, jobs))
    return jobs


async def _seen_full(net: Running) -> bool:
    """The picture that placement looks at shows that no place is free."""
    found = await net.platform.offers(net.acme, shell("true", constraints={"any_of": ["north", "east"]}))
    return all(o["wait_ahead_s"] > 0 for o in found["offers"])


async def _running(net: Running, jobs: list[str]) -> bool:
    return all([(await net.platform.job(net.operator, j))["state"] == "running" for j in jobs])


async def _why(net: Running, job: str) -> dict[str, Any]:
    events = (await net.platform.explain(net.acme, job))["events"]
    return next(e["body"] for e in events if e["kind"] == "attempt.moved")  # type: ignore[no-any-return]


def test_jobs_that_a_site_accepts_and_never_starts_are_found_and_moved(tmp_path: Path) -> None:
    async def main() -> None:
        wrap = Sticking(("north",), "site.policy", "QOSMaxCpuPerJobLimit")
        async with running(tmp_path / "home", wrap=wrap, settings={"moving": CALM}) as net:
            p, w = net.platform, tmp_path / "witness"
            held = await _fill_north(net, 5)
            body = shell(witness(w, 0.1), constraints={"ordered": ["north", "east"]}, movable=False)
            plain = (await p.submit(net.acme, body, None))["id"]
            array = (await p.submit(net.acme, {**body, "array": "0-2"}, None))["id"]
            views = await net.wait(plain, array, timeout=20)
            assert [v["state"] for v in views] == ["succeeded"] * 2
            assert all([a["cluster"] for a in v["attempts"]] == ["north", "east"] for v in views)
            assert all(v["attempts"][0]["reason"] == "withdrawn" for v in views)
            assert [c.won for c in wrap.claims] == [True] * 4, "every task's fence is the server's before it is placed anew"
            assert w.read_text().count("start") == 1 + 3
            why = await _why(net, plain)
            assert why["cause"] == "stuck" and "QOSMaxCpuPerJobLimit" in why["why"] and why["waited_s"] >= 0
            await net.wait(*held)
            await until(lambda: _idle(net, "north"))  # what waited there was cancelled
            assert (await p.journal_check(net.operator))["balanced"]

    asyncio.run(main())


def test_where_nobody_starts_it_the_job_fails_with_all_their_reasons(tmp_path: Path) -> None:
    async def main() -> None:
        wrap = Sticking(("north",), "site.account", "AccountNotAllowed")

        def both(cluster: str, connector: Any) -> Any:
            async def no(request: Any) -> str:
                raise SiteRefused("site.qos", "Invalid qos specification")

            if cluster == "east":
                connector.submit = no
            return wrap(cluster, connector)

        settings = {"moving": CALM, "max_refusals": 2, "health": {"auto": False}}
        async with running(tmp_path / "home", wrap=both, settings=settings) as net:
            await _fill_north(net, 6)
            body = shell("true", constraints={"ordered": ["north", "east"]})
            job = (await net.platform.submit(net.acme, body, None))["id"]
            (view,) = await net.wait(job, timeout=30)
            assert view["state"] == "failed"
            for word in ("north/cpu (site.account", "AccountNotAllowed", "east/cpu (site.qos: Invalid qos"):
                assert word in view["reason"], view["reason"]
            balance = await net.platform.balance(net.acme, None)
            assert balance["reserved"] == "0.00", balance

    asyncio.run(main())


def test_waiting_jobs_leave_a_drained_cluster_and_running_ones_stay(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home", settings={"moving": CALM}) as net:
            p, w = net.platform, tmp_path / "witness"
            held = await _fill_north(net, 5)
            body = shell(witness(w, 0.1), constraints={"ordered": ["north", "east"]})
            goes = [(await p.submit(net.acme, body, None))["id"] for _ in range(3)]
            stays = (await p.submit(net.acme, {**body, "movable": False}, None))["id"]
            only = (await p.submit(net.acme, {**body, "constraints": {"any_of": ["north"]}}, None))["id"]
            await until(lambda: _all_on(net, [*goes, stays, only], "north"))
            await asyncio.sleep(1.0)
            assert all([(await p.job(net.acme, j))["moved"] == 0 for j in goes]), "left in peace as long as all is well"
            await p.cluster_command(net.operator, "north", "drain")
            views = await net.wait(*goes, timeout=4)
            assert {v["attempts"][-1]["cluster"] for v in views} == {"east"}
            assert (await _why(net, goes[0]))["cause"] == "drained"
            assert await _running(net, held)
            views = await net.wait(stays, only, *held)
            assert [(v["state"], v["moved"]) for v in views] == [("succeeded", 0)] * 4
            assert w.read_text().count("start") == 5

    asyncio.run(main())


@pytest.mark.parametrize(("rules", "causes"), [(QUICK, ("late", "better")), (PATIENT, ("patience",))], ids=["late", "patience"])
def test_a_job_that_waits_too_long_moves_once_and_does_not_come_back(
    tmp_path: Path, rules: dict[str, float], causes: tuple[str, ...]
) -> None:
    async def main() -> None:
        async with running(tmp_path / "home", settings={"moving": rules}) as net:
            p, w = net.platform, tmp_path / "witness"
            held = await _fill_north(net, 8)
            body = shell(witness(w, 0.1), constraints={"ordered": ["north", "east"]})
            east = [(await p.submit(net.acme, _full(3, "east", 8), None))["id"]]
            await until(lambda: _running(net, east))
            job = (await p.submit(net.acme, body, None))["id"]
            await until(lambda: _all_on(net, [job], "north"))
            (view,) = await net.wait(job, timeout=20)
            assert [a["cluster"] for a in view["attempts"]] == ["north", "east"] and view["moved"] == 1
            why = await _why(net, job)
            assert why["cause"] in causes and why["to"] == "east/cpu" and why["saved_s"] > rules["gain"]
            assert w.read_text().count("start") == 1
            await net.wait(*held)

    asyncio.run(main())


def test_a_job_whose_deadline_would_be_missed_goes_where_it_is_kept(tmp_path: Path) -> None:
    """Both places are full for longer than it has; then the other one is free early."""

    async def main() -> None:
        async with running(tmp_path / "home", settings={"moving": CALM}) as net:
            p, w = net.platform, tmp_path / "witness"
            east = [(await p.submit(net.acme, _full(4, "east", 8), None))["id"]]
            full = _full(30, "north")
            full["resources"]["wall_s"] = 40  # would be free before east
            north = [(await p.submit(net.acme, full, None))["id"] for _ in range(2)]
            await until(lambda: _running(net, [*east, *north]))
            await until(lambda: _seen_full(net))
            body = shell(witness(w, 0.1), deadline=(datetime.now(UTC) + timedelta(seconds=25)).isoformat(), budget="5")
            body["resources"]["wall_s"] = 10
            view = await p.submit(net.acme, {**body, "constraints": {"any_of": ["north", "east"]}}, None)
            assert view["objective"] == "deadline" and view["deadline"] and view["budget"]["amount"] == "5.00"
            await until(lambda: _all_on(net, [view["id"]], "north"))
            told = (await p.explain(net.acme, view["id"]))["decisions"][-1]
            assert "no place keeps its deadline" in " ".join(told["text"]), told["text"]
            (after,) = await net.wait(view["id"], timeout=20)
            assert [a["cluster"] for a in after["attempts"]] == ["north", "east"]
            why = await _why(net, view["id"])
            assert why["cause"] == "deadline" and 10 < why["due_s"] < 25, why
            for job in north:
                await p.cancel(net.acme, job)

    asyncio.run(main())


def test_deadlines_that_are_over_and_budgets_that_buy_nothing_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as net:
            for more, code in (
                ({"deadline": "2020-01-01T00:00:00+00:00"}, "deadline.over"),
                ({"deadline": "2030-01-01T00:00:00Z", "begin": "2030-01-02T00:00:00Z"}, "deadline.over"),
                ({"budget": "0"}, "budget.nothing"),
                ({"budget": "0.000001"}, "job.impossible"),
            ):
                with pytest.raises(InvalidInput) as refused:
                    await net.platform.submit(net.acme, shell("true", **more), None)
                assert refused.value.code == code
            assert "budget" in refused.value.message

    asyncio.run(main())


def test_a_job_that_starts_while_it_is_to_be_moved_stays(tmp_path: Path) -> None:
    """The site's word is old: the job has won its fence. It is adopted, and runs once."""

    async def main() -> None:
        class Old(Sticking):
            def __call__(self, cluster: str, connector: Any) -> Any:
                inner = super().__call__(cluster, connector)
                claim = inner.files.claim

                async def late(*args: Any) -> Claim:
                    await asyncio.sleep(2.5)  # meanwhile the node is free again, and the job starts
                    found: Claim = await claim(*args)
                    return found

                inner.files.claim = late
                return inner

        wrap = Old(("north",), "site.policy", "old news")
        async with running(tmp_path / "home", wrap=wrap, settings={"moving": CALM}) as net:
            w = tmp_path / "witness"
            await _fill_north(net, 1.5)
            body = shell(witness(w, 3), constraints={"ordered": ["north", "east"]}, movable=False)
            job = (await net.platform.submit(net.acme, body, None))["id"]
            (view,) = await net.wait(job, timeout=30)
            assert wrap.claims and not any(c.won for c in wrap.claims)
            assert (view["state"], view["moved"], [a["cluster"] for a in view["attempts"]]) == ("succeeded", 0, ["north"])
            assert w.read_text() == "start 0\nend 0\n"
            assert len(await attempts_of(net, job)) == 1

    asyncio.run(main())

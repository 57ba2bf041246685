"""What placement knows of a cluster beside its load: what is on its way there counts before the cluster shows it, so that jobs that come one after
the other do not rush to one place; and what is free in pieces is no room."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.integration.test_failover import attempts_of, until
from tests.parts.platform import Running, running, shell


class Slow:
    """A wrap under which a cluster takes a job only once it is let."""

    def __init__(self, cluster: str) -> None:
        self.cluster, self.gate, self.asked = cluster, asyncio.Event(), 0

    def __call__(self, cluster: str, connector: Any) -> Any:
        submit = connector.submit

        async def later(request: Any) -> Any:
            if cluster == self.cluster:
                self.asked += 1
                await self.gate.wait()
            return await submit(request)

        connector.submit = later
        return connector


def _job() -> dict[str, Any]:
    body = shell("sleep 1")
    body["resources"] |= {"cores": 4, "wall_s": 600}
    return body


async def _placed(net: Running, job: str) -> str:
    rows = await attempts_of(net, job)
    return str(rows[-1]["cluster"]) if rows else ""


def test_jobs_that_come_one_by_one_while_the_first_are_on_their_way_go_where_there_is_room(tmp_path: Path) -> None:
    async def main() -> None:
        slow = Slow("north")
        async with running(tmp_path, wrap=slow, settings={"call": 60, "silent_after": 60}) as net:

            async def both_answer() -> bool:
                found = await net.platform.offers(net.acme, _job())
                return len(found["offers"]) == 2

            await until(both_answer)
            where = []
            for _ in range(4):
                job = (await net.platform.submit(net.acme, _job(), None))["id"]

                async def placed(job: str = job) -> bool:
                    return bool(await _placed(net, job))

                await until(placed)
                where.append(await _placed(net, job))
            assert where == ["north", "north", "east", "east"]  # two nodes that are cheaper, then room for two
            slow.gate.set()

    asyncio.run(main())


def test_what_a_cluster_shows_is_not_counted_twice(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as net:
            body = _job()
            body["params"]["script"] = "sleep 20"
            job = (await net.platform.submit(net.acme, body, None))["id"]

            async def starts() -> bool:
                return bool((await net.platform.job(net.acme, job))["state"] == "running")

            async def one_node_is_free() -> bool:
                snapshot = await net.loops.picture.snapshot()
                assert snapshot is not None
                return int(snapshot.free[snapshot.places["north/cpu"][0], 0]) == 4000

            await until(starts)
            await until(one_node_is_free)
            await net.platform.cancel(net.acme, job)

    asyncio.run(main())


def test_what_is_free_in_pieces_is_no_room_for_a_task_of_one_node(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as net:
            body = shell("sleep 30", constraints={"any_of": ["north"]})
            body["resources"] |= {"cores": 3, "wall_s": 600}
            jobs = [(await net.platform.submit(net.acme, body, None))["id"] for _ in range(2)]

            async def a_core_is_free_on_each_node() -> bool:
                found = await net.loops.picture.snapshot()
                return found is not None and found.holes_of(int(found.places["north/cpu"][0])) == [(2, (1000, 4096 - 64, 0))]

            await until(a_core_is_free_on_each_node)
            small, large = shell("true"), shell("true")
            large["resources"]["cores"] = 2
            waits = [{o["partition"].partition("/")[0]: o["wait_ahead_s"] for o in (await net.platform.offers(net.acme, b))["offers"]} for b in (small, large)]
            assert waits[0] == {"north": 0, "east": 0}
            assert waits[1]["east"] == 0 and waits[1]["north"] > 0
            for job in jobs:
                await net.platform.cancel(net.acme, job)

    asyncio.run(main())

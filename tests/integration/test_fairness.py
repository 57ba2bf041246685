"""A site that promises its own users something takes guests only while these have gained."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_failover import until
from tests.parts.platform import NETWORK, Running, running, shell

from tidegrid.control import guests
from tidegrid.scheduling import fairness

FAIR = NETWORK.replace(
    "hohhot: {provider: north, region: cn-north, time_zone: Asia/Shanghai}",
    "hohhot: {provider: north, region: cn-north, time_zone: Asia/Shanghai, home_of: [acme], fair: wait}",
)


@pytest.mark.parametrize("network", [FAIR, NETWORK], ids=["fair", "no promise"])
def test_a_site_whose_own_users_wait_for_guests_takes_no_more_of_them(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "LOOK_S", 0)
    monkeypatch.setattr(fairness, "LOAN_S", 0.25)  # of 8 cores: two seconds of waiting

    async def main() -> None:
        async with running(tmp_path / "home", network=network) as net:
            p, fair = net.platform, network == FAIR
            told = await p.network_fairness(net.operator)
            assert [t["takes_guests"] for t in told] == [True] * fair
            full = shell("sleep 30", constraints={"any_of": ["north"]}, movable=False)
            full["resources"]["cores"] = 4
            filled = [(await p.submit(net.rival, full, None))["id"] for _ in range(2)]
            await until(lambda: _running(net, filled))
            mine = (await p.submit(net.acme, shell("true", constraints={"any_of": ["north"]}), None))["id"]
            refused: Any = 0

            async def shut() -> bool:
                nonlocal refused
                found = await p.offers(net.rival, shell("true"))
                refused = found["refusals"].get("guests", 0)
                return bool(refused)

            if not fair:
                await asyncio.sleep(4)
                assert not await shut()
            else:
                await until(shut, 15)
                (row,) = await p.network_fairness(net.operator)
                assert row["site"] == "hohhot" and row["home_of"] == ["acme"] and row["jobs"] == 1
                assert row["waited_s"] >= 2 and row["alone_s"] == 0 and not row["takes_guests"]
                offers = await p.offers(net.rival, shell("true"))
                assert [o["partition"] for o in offers["offers"]] == ["east/cpu"]
                ours = await p.offers(net.acme, shell("true"))
                assert {o["partition"] for o in ours["offers"]} == {"north/cpu", "east/cpu"}
                guest = (await p.submit(net.rival, shell("true"), None))["id"]
                (view,) = await net.wait(guest)
                assert [a["cluster"] for a in view["attempts"]] == ["east"]
                told_why = " ".join((await p.explain(net.rival, guest))["decisions"][-1]["text"])
                assert "take no guests now" in told_why
            for job in filled:
                await p.cancel(net.rival, job)
            (view,) = await net.wait(mine)
            assert view["state"] == "succeeded"

    asyncio.run(main())


async def _running(net: Running, jobs: list[str]) -> bool:
    return all([(await net.platform.job(net.operator, j))["state"] == "running" for j in jobs])

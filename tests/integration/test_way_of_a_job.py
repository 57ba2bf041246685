"""The way of a job through the whole platform, on real embedded clusters."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.parts.platform import running, shell

from tidegrid.domain.errors import Conflict, InsufficientFunds, InvalidInput, NotFound


def test_jobs_end_as_they_should(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as net:
            p, ada = net.platform, net.acme
            first = await p.submit(
                ada, shell("echo out; echo err >&2; echo data > result.txt", outputs=["*.txt"]), None
            )
            fails = await p.submit(ada, shell("exit 3"), None)
            late = shell("sleep 30")
            late["resources"]["wall_s"] = 1
            late = await p.submit(ada, late, None)
            array = await p.submit(ada, shell("echo $TIDE_TASK; [ $TIDE_TASK != 2 ]", array="0-3"), None)
            inputs = [{"path": "in.txt", "job": first["id"], "source": "result.txt"}]
            second = await p.submit(ada, shell("cat in.txt", inputs=inputs), None)
            doomed = await p.submit(ada, shell("true", after_ok=[fails["id"]]), None)
            permitted = await p.submit(ada, shell("echo ran", movable=True), None)
            ids = [x["id"] for x in (first, fails, late, array, second, doomed, permitted)]
            views = await net.wait(*ids, actor=ada)
            states = [v["state"] for v in views]
            assert states == ["succeeded", "failed", "timeout", "failed", "succeeded", "cancelled", "succeeded"]
            assert "exit status 3" in views[1]["reason"]
            assert "task 2: exit status 1" in views[3]["reason"]
            assert "depends on" in views[5]["reason"]
            assert await p.logs(ada, first["id"], 0, "out", 0, 1000) == b"out\n"
            assert await p.logs(ada, first["id"], 0, "err", 0, 1000) == b"err\n"
            assert await p.logs(ada, second["id"], 0, "out", 0, 1000) == b"data\n"
            assert await p.logs(ada, array["id"], 3, "out", 0, 1000) == b"3\n"
            assert (await p.output_path(ada, first["id"], "result.txt")).read_text() == "data\n"
            usage, _ = await p.usage(ada, limit=100)
            assert {u["job"] for u in usage} == {v["id"] for v in views} - {doomed["id"]}
            assert sum(1 for u in usage if u["job"] == array["id"]) == 4
            check = await p.journal_check(net.operator)
            assert check["balanced"], check
            balance = await p.balance(ada, None)
            assert balance["held"] == balance["reserved"] == "0.00"

    asyncio.run(main())


def test_the_same_key_submits_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as net:
            p, ada = net.platform, net.acme
            one = await p.submit(ada, shell("true"), "k1")
            two = await p.submit(ada, shell("true"), "k1")
            assert one["id"] == two["id"]
            with pytest.raises(Conflict) as e:
                await p.submit(ada, shell("false"), "k1")
            assert e.value.code == "idempotency.mismatch"
            other = await p.submit(net.rival, shell("true"), "k1")
            assert other["id"] != one["id"]
            with pytest.raises(NotFound):
                await p.job(net.rival, one["id"])

    asyncio.run(main())


def test_what_cannot_be_is_refused_with_every_reason(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as net:
            p, ada = net.platform, net.acme
            big = shell("true")
            big["resources"] = {"cores": 64, "wall_s": 100_000}
            with pytest.raises(InvalidInput) as e:
                await p.submit(ada, big, None)
            assert e.value.code == "job.impossible"
            assert e.value.details["refusals"] == {"too_large": 2, "too_long": 2}
            dear = shell("true", array="0-9999")
            dear["resources"] = {"cores": 8, "memory_mib": 64, "wall_s": 7200}
            with pytest.raises(InsufficientFunds) as f:
                await p.submit(ada, dear, None)
            assert f.value.details["available"] == 100_000_000
            assert f.value.details["needed"] == 14_400_000_000

    asyncio.run(main())


def test_cancel_hold_and_release(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as net:
            p, ada = net.platform, net.acme
            held = await p.submit(ada, shell("true", held=True), None)
            runs = await p.submit(ada, shell("sleep 60"), None)
            await asyncio.sleep(0.8)
            assert (await p.job(ada, held["id"]))["state"] == "held"
            await p.release(ada, held["id"])
            await p.cancel(ada, runs["id"])
            a, b = await net.wait(held["id"], runs["id"], actor=ada)
            assert (a["state"], b["state"]) == ("succeeded", "cancelled")
            assert (await p.cancel(ada, runs["id"]))["state"] == "cancelled"
            with pytest.raises(Conflict):
                await p.hold(ada, runs["id"])

    asyncio.run(main())

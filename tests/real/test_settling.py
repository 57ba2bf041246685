"""Settling with a centre whose accounting is real: thirty jobs of every kind agree with sacct to the second, and what is
tampered with, late or somebody else's is told from it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update
from tests.parts.platform import Running, running, shell

from tidegrid.domain.errors import Unreachable
from tidegrid.domain.ids import parse
from tidegrid.launch.testbed import Testbed
from tidegrid.launch.testbed.network import describe, install_keys
from tidegrid.store.schema import usage as usage_table

SETTINGS = {"tick": 0.3, "silent_after": 60.0, "permit_wait": 60}
CLUSTER = "alpha"


@pytest.mark.timeout(300)  # Slurm kills at a minute's wall time, and looks every half
def test_thirty_jobs_of_every_kind_agree_with_sacct(slurm_accounting: Testbed, tmp_path: Path) -> None:
    bed, home = slurm_accounting, tmp_path / "home"
    install_keys(bed, home)
    network = describe(bed, roots=tmp_path / "roots") + "  rival: {opening_balance: 100}\n"

    async def main() -> None:
        async with running(home, network=network, settings=SETTINGS) as net:
            p, ada, boss = net.platform, net.acme, net.operator
            began = (p.now() // 1_000_000 - 1) * 1_000_000

            async def submit(script: str, **more: Any) -> str:
                return str((await p.submit(ada, shell(script, movable=False, **more), None))["id"])

            late = await submit("sleep 300", resources={"cores": 1, "memory_mib": 64, "wall_s": 1})
            plain = [await submit(f"sleep 0.{i}", resources={"cores": 1 + i % 4, "memory_mib": 100 + i, "wall_s": 60})
                     for i in range(22)]  # fmt: skip
            arrays = [await submit("sleep 1; [ $TIDE_TASK != 2 ]", array=f"0-{n}") for n in (3, 5)]
            failed = await submit("sleep 1; exit 3")
            stopped = await submit("sleep 300")
            unborn = await submit("true", resources={"cores": 32, "memory_mib": 120_000, "wall_s": 60})
            two = [await submit("sleep 2", resources={"cores": 32, "memory_mib": 64, "wall_s": 60}) for _ in range(2)]
            theirs = bed.ssh(CLUSTER, "sbatch --parsable --job-name=vasp --wrap 'sleep 1'")
            assert theirs.returncode == 0, theirs.stderr
            everything = [late, *plain, *arrays, failed, stopped, unborn, *two]
            assert len(everything) == 30
            await _until(lambda: _state(net, stopped), "running")
            await p.cancel(ada, stopped)
            if await _state(net, unborn) not in ("succeeded",):
                await p.cancel(ada, unborn)
            views = {v["id"]: v for v in await net.wait(*everything, actor=ada, timeout=240)}
            assert views[late]["state"] == "timeout" and views[stopped]["state"] == "cancelled"
            assert views[failed]["state"] == "failed" and all(views[j]["state"] == "succeeded" for j in plain)

            async def reconcile(**kw: Any) -> Any:
                return await p.usage_reconcile(boss, CLUSTER, since=began, **kw)

            found = await reconcile()
            tasks = 28 + 4 + 6
            assert found["unexplained"] == 0 and set(found["counts"]) <= {"foreign"}, found["differences"]
            assert found["runs"] == found["matched"] and tasks - 1 <= found["runs"] <= tasks, found
            assert found["metered_core_hours"] == found["accounted_core_hours"] != "0.000000"
            assert [d["accounted"]["name"] for d in found["differences"]] == ["vasp"]
            assert [d["native_id"] for d in found["differences"]] == [theirs.stdout.strip()]
            rows, _ = await p.usage(boss, limit=500)
            # an hour that closes meanwhile is metered from the controller, and accounting confirms it
            told = {r["source"] for r in rows if not r["ended_at"].endswith(":00:00.000000Z")}
            assert told == {"accounting"} and not any(r["estimated"] for r in rows)

            await _tampering(net, reconcile, {j: views[j]["attempts"][-1]["id"] for j in plain})
            assert (await p.journal_check(boss))["balanced"]

    asyncio.run(main())


async def _tampering(net: Running, reconcile: Any, attempts: dict[str, str]) -> None:
    """Rows changed behind the ledger's back are told by their cause; put back, they are alike again."""
    a, b, c = (parse("att", x) for x in list(attempts.values())[:3])
    t = usage_table
    store = net.platform.store
    kept = await store.read(lambda conn: [dict(r) for r in conn.execute(t.select().where(t.c.attempt_id.in_([a, b, c]))).mappings()])

    def tamper(conn: Any) -> None:
        conn.execute(update(t).where(t.c.attempt_id == a).values(elapsed_ms=t.c.elapsed_ms + 7000))
        conn.execute(update(t).where(t.c.attempt_id == b).values(cores=t.c.cores + 1, memory_mib=1))
        conn.execute(delete(t).where(t.c.attempt_id == c))

    def mend(conn: Any) -> None:
        conn.execute(delete(t).where(t.c.attempt_id.in_([a, b, c])))
        conn.execute(t.insert(), kept)

    await store.write(tamper)
    found = await reconcile()
    told = Counter(d["cause"] for d in found["differences"] if not d["explained"])
    # runs of less than a second have no time, so that neither side counts for anything in them
    lengths = [r["elapsed_ms"] for r in sorted(kept, key=lambda r: [a, b, c].index(r["attempt_id"]))]
    expected = Counter({"elapsed": 1})
    if lengths[1]:
        expected["allocation"] += 1
    if lengths[2]:
        expected["not_metered"] += 1
    assert told == expected, found["differences"]
    await store.write(mend)
    assert (await reconcile())["unexplained"] == 0


@pytest.mark.timeout(240)  # the controller's word is taken once accounting has been silent for half a minute
def test_accounting_that_was_down_is_taken_in_late(slurm_accounting: Testbed, tmp_path: Path) -> None:
    """slurmdbd is down while a job ends: the controller is its witness, until accounting comes and is taken in."""
    bed, home = slurm_accounting, tmp_path / "home"
    install_keys(bed, home)
    network = describe(bed, roots=tmp_path / "roots") + "  rival: {opening_balance: 100}\n"

    async def main() -> None:
        async with running(home, network=network, settings=SETTINGS) as net:
            began = (net.platform.now() // 1_000_000 - 1) * 1_000_000
            warm = await net.platform.submit(net.acme, shell("true"), None)
            await net.wait(warm["id"], timeout=60)
            await _late_accounting(bed, net, began)
            assert (await net.platform.journal_check(net.operator))["balanced"]

    asyncio.run(main())


async def _late_accounting(bed: Testbed, net: Running, began: int) -> None:
    p = net.platform

    async def reconcile(**kw: Any) -> Any:
        return await p.usage_reconcile(net.operator, CLUSTER, since=began, **kw)

    bed.kill_accounting()
    try:
        job = (await p.submit(net.acme, shell("sleep 2", movable=False), None))["id"]
        (view,) = await net.wait(job, timeout=120)
        assert view["state"] == "succeeded"
        rows, _ = await p.usage(net.operator, job_id=job)
        assert [(r["source"], r["estimated"]) for r in rows] == [("controller", True)]
        with pytest.raises(Unreachable) as caught:
            await reconcile()
        assert caught.value.code == "cluster.silent"
        # its row says another length than what will come: as if the controller had told a wrong end
        net.loops.unwatch(CLUSTER)
        id_ = parse("att", rows[0]["attempt"])
        t = usage_table
        await p.store.write(lambda c: c.execute(update(t).where(t.c.attempt_id == id_).values(
            elapsed_ms=t.c.elapsed_ms + 5000, ended_at=t.c.ended_at + 5_000_000)) and None)  # fmt: skip
    finally:
        bed.start_accounting()

    async def told() -> Any:
        return next((d for d in (await reconcile())["differences"] if d["job"] == job), {"cause": "", "accounted": None})

    end = time.monotonic() + 60
    while (difference := await told())["accounted"] is None:
        assert time.monotonic() < end, difference
        await asyncio.sleep(1)
    assert (difference["cause"], difference["explained"]) == ("late", True), difference
    found = await reconcile(correct=True)
    assert found["corrected"] == 1 and found["unexplained"] == 0 and set(found["counts"]) <= {"foreign"}, found["differences"]
    rows, _ = await p.usage(net.operator, job_id=job, corrections=True)
    assert sorted((r["revision"], r["source"], r["reversed"]) for r in rows) == [(0, "controller", True), (1, "accounting", False)]


async def _state(net: Running, job: str) -> str:
    return str((await net.platform.job(net.acme, job))["state"])


async def _until(look: Callable[[], Any], wanted: str, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while await look() != wanted:
            await asyncio.sleep(0.1)



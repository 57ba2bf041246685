"""Real Slurm clusters that stick jobs or lose nodes: the jobs move, the place is held to account."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.integration.test_failover import until
from tests.parts.platform import Running, running, shell

from tidegrid.launch.testbed import Testbed
from tidegrid.launch.testbed.network import describe, install_keys

SETTINGS: dict[str, Any] = {
    "tick": 0.3, "silent_after": 15.0, "permit_wait": 60,
    "moving": {"every": 0.5, "stuck_after": 1.0, "passing_after": 3.0},
    "health": {"rest": 1.0, "burst_s": 0.5, "drain_level": 3.0},
}  # fmt: skip


def _update(bed: Testbed, cluster: str, *what: str) -> None:
    done = bed.run(cluster, "scontrol", "update", *what)
    assert done.returncode == 0, done.stderr


async def _states(net: Running, jobs: list[str]) -> list[str]:
    return [(await net.platform.job(net.operator, j))["state"] for j in jobs]


async def _all(net: Running, jobs: list[str], state: str) -> bool:
    return set(await _states(net, jobs)) == {state}


def test_stuck_jobs_move_and_failing_nodes_drain_a_partition(private_slurm: Testbed, tmp_path: Path) -> None:
    bed, home = private_slurm, tmp_path / "home"
    install_keys(bed, home)
    network = describe(bed, roots=tmp_path / "roots") + "  rival: {opening_balance: 100}\n"

    async def main() -> None:
        async with running(home, network=network, settings=SETTINGS) as net:
            p = net.platform
            alpha = {"constraints": {"ordered": ["alpha/cpu", "gamma/cpu"]}}
            fills = shell("sleep 600", constraints={"any_of": ["alpha/cpu"]}, movable=False, restartable=True)
            fills["resources"] |= {"cores": 32, "wall_s": 1200}
            held = [(await p.submit(net.acme, fills, None))["id"] for _ in range(4)]
            await until(lambda: _all(net, held, "running"), timeout=60)
            waits = shell("echo ran", **alpha, movable=False)
            waits["resources"] |= {"cores": 2, "wall_s": 900}
            jobs = [(await p.submit(net.acme, waits, None))["id"] for _ in range(3)]
            await until(lambda: _all(net, jobs, "queued"), timeout=60)
            # accepted and then impossible: what every centre does when it changes a partition's limits
            _update(bed, "alpha", "PartitionName=cpu", "MaxTime=00:05:00")
            began = time.monotonic()
            views = await net.wait(*jobs, timeout=90)
            assert time.monotonic() - began < 60
            assert {v["state"] for v in views} == {"succeeded"}
            assert {v["attempts"][-1]["cluster"] for v in views} == {"gamma"} and {v["moved"] for v in views} == {1}
            moved = [e for e in (await p.explain(net.acme, jobs[0]))["events"] if e["kind"] == "attempt.moved"]
            # Slurm's own word for it: the second where the change falls into the very moment in which it looks at the job
            assert any(f"{word} (site." in moved[0]["body"]["why"] for word in ("PartitionTimeLimit", "PartitionConfig")), moved
            left = bed.run("alpha", "squeue", "-h", "-t", "PD", "-o", "%j").stdout.split()
            assert not left, "what waited there is cancelled"
            _update(bed, "alpha", "PartitionName=cpu", "MaxTime=2-00:00:00")
            # nodes fail under jobs, one after the other
            for node in ("alpha1", "alpha2", "alpha3", "alpha4"):
                _update(bed, "alpha", f"NodeName={node}", "State=DOWN", "Reason=test")
                await asyncio.sleep(1.2)
            await until(lambda: _condition(net, "draining"), timeout=60)
            views = [await p.job(net.operator, j) for j in held]
            reasons = {a["reason"] for v in views for a in v["attempts"] if a["reason"]}
            assert "node_fail" in reasons, views
            (incident,), _ = await p.incidents(net.operator, cluster="alpha")
            assert incident["partition"] == "cpu" and sum(incident["evidence"].values()) > 2.9, incident
            assert incident["evidence"]["node_failed"] >= 1
            for job in held:
                await p.cancel(net.acme, job)
            await until(lambda: _condition(net, "suspect", "ok"), timeout=60)  # nodes that are well return by themselves
            steps = [s["what"] for s in (await p.incident(net.operator, incident["id"]))["steps"]]
            assert "a probe succeeded" in steps, steps

    asyncio.run(main())


async def _condition(net: Running, *words: str) -> bool:
    alpha = next(c for c in await net.platform.clusters(net.operator) if c["name"] == "alpha")
    return next(p["health"] for p in alpha["partitions"] if p["name"] == "cpu") in words

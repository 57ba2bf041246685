"""A real Slurm queue is put into order, and given back: when told, when the steerer is killed, and without the right to."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_failover import until
from tests.parts.platform import Running, running
from tests.parts.slurm import wait_for_state

from tidegrid.connectors.slurm.shell import LocalShell
from tidegrid.connectors.slurm.steering import Steerer
from tidegrid.domain.errors import Conflict
from tidegrid.launch.testbed import Testbed
from tidegrid.launch.testbed.network import describe, install_keys
from tidegrid.scheduling.kernel.policy import POLICIES

SHAPES = (("600", "64"), ("10", "1"), ("60", "32"), ("3", "1"))  # minutes, cores; in order of submission


def queue(bed: Testbed) -> dict[str, int]:
    """Nice of what waits, in the order in which Slurm looks at it."""
    rows = bed.run("alpha", "squeue", "-h", "-a", "-t", "PD", "-p", "cpu", "-S", "-p", "-o", "%i %y").stdout.split("\n")
    return {r.split()[0]: int(r.split()[1]) for r in rows if r}


def fill(bed: Testbed) -> list[str]:
    """A full cluster with a queue behind it; the ids of the queue."""
    for _ in range(4):
        full = bed.run("alpha", "sbatch", "--parsable", "-o", "/dev/null", "-p", "cpu", "-N1", "-n32", "-t", "10", "--wrap", "sleep 300").stdout.strip()
        wait_for_state(bed, "alpha", full, "RUNNING")
    return [
        bed.run("alpha", "sbatch", "--parsable", "-o", "/dev/null", "-p", "cpu", "-n", n, "-t", t, "--nice=3", "--wrap", "true").stdout.strip()
        for t, n in SHAPES
    ]


def empty(bed: Testbed) -> None:
    bed.run("alpha", "scancel", "-p", "cpu", "--me")


def test_a_killed_steerer_leaves_the_queue_as_it_was(slurm: Testbed, tmp_path: Path) -> None:
    ids = fill(slurm)
    alpha = slurm.cluster("alpha")

    async def main() -> None:
        shell = LocalShell(environment={"SLURM_CONF": str(alpha.client_conf), "PATH": alpha.environment["PATH"]})
        steerer = Steerer(shell, str(tmp_path / "steer"), "cpu", POLICIES["default"], lease_s=4)
        assert await steerer.step()
        assert list(queue(slurm)) == [ids[3], ids[1], ids[2], ids[0]], "the short ones first"
        assert set(queue(slurm).values()) != {3}
        assert (await steerer.step())["changed"] == 0
        await shell.close()  # as SIGKILL does: no word of farewell, and the shell is gone

    try:
        asyncio.run(main())
        began = time.monotonic()
        while set(queue(slurm).values()) != {3}:
            assert time.monotonic() - began < 20, queue(slurm)
            time.sleep(0.2)
        assert list(queue(slurm)) == ids, "every job has its own nice, and its own place"
        assert not (tmp_path / "steer" / "undo").exists()
    finally:
        empty(slurm)


def test_an_operator_turns_it_on_and_off(slurm: Testbed, tmp_path: Path) -> None:
    bed, home = slurm, tmp_path / "home"
    install_keys(bed, home)
    network = describe(bed, roots=tmp_path / "roots") + "  rival: {opening_balance: 100}\n"
    ids = fill(bed)

    async def steered(net: Running) -> bool:
        return list(queue(bed)) == [ids[3], ids[1], ids[2], ids[0]]

    async def main() -> None:
        async with running(home, network=network, settings={"tick": 0.3, "silent_after": 30.0}) as net:
            p, boss = net.platform, net.operator
            shown = await p.steering_preview(boss, "alpha", partition="cpu", policy="default", bound=1000)
            assert [j["id"] for j in shown["order"]] == [ids[3], ids[1], ids[2], ids[0]] and shown["changes"]
            assert set(queue(bed).values()) == {3}, "a look changes nothing"
            await p.steer(boss, "alpha", mode="on", partitions=["cpu"], bound=1000)
            await until(lambda: steered(net), timeout=30)

            async def told() -> bool:  # said after it was done
                last = (await p.steering(boss, "alpha"))["last"]
                return "cpu" in last and last["cpu"]["waiting"] == 4

            await until(told, timeout=30)
            state = await p.steer(boss, "alpha", mode="off", partitions=["cpu"], bound=1000)
            assert state["mode"] == "off" and set(queue(bed).values()) == {3} and list(queue(bed)) == ids
            await asyncio.sleep(3)
            assert set(queue(bed).values()) == {3}, "off stays off"
            with pytest.raises(Conflict, match=r"no cluster|not connected"):
                await p.steer(boss, "alpha2", mode="on", bound=1000)

    try:
        asyncio.run(main())
    finally:
        empty(bed)


@pytest.mark.real
def test_embedded_clusters_are_not_steered(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as net:
            with pytest.raises(Conflict, match="orders its queue"):
                await net.platform.steer(net.operator, "north", mode="on", bound=1000)
            state: Any = await net.platform.steering(net.operator, "north")
            assert state["mode"] == "off"

    asyncio.run(main())

"""Contended embedded clusters, by the default policy: what their queues chose live, the simulator chooses from the recorded events."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.parts.platform import NETWORK, running, shell

from tidegrid.simulation.live import check

QUEUES = NETWORK.replace("{kind: embedded, kill_grace_s: 1}", "{kind: embedded, kill_grace_s: 1, queue: default}").replace(
    "nodes: 2, cores: 4", "nodes: 1, cores: 4")  # fmt: skip

# Nodes of one core, so that what the pool has room for the nodes can hold, also for a job of several.
GANGS = QUEUES.replace("nodes: 1, cores: 4", "nodes: 4, cores: 1").replace("nodes: 1, cores: 8", "nodes: 8, cores: 1")


def records(home: Path) -> dict[str, list[Mapping[str, Any]]]:
    return {p.parent.name: [json.loads(line) for line in p.read_text().splitlines()] for p in sorted(home.glob("clusters/*/passes.*.jsonl"))}


async def _contended(home: Path, jobs: int, seed: int, *, wide: str = "cores", network: str = QUEUES) -> None:
    """wide: what jobs ask for several of."""
    rng = random.Random(seed)
    print(f"seed {seed}")
    async with running(home, network=network, settings={"tick": 0.2}) as net:
        ids = []
        for at in range(0, jobs, 25):
            bodies = []
            for _ in range(at, min(at + 25, jobs)):
                body = shell(f"sleep {rng.choice((0, 0, 0.1, 0.4))}", movable=False)
                body["resources"] = {"cores": 1, "memory_mib": 64, "wall_s": rng.choice((5, 20, 60, 600)), wide: rng.choice((1, 1, 1, 2, 4))}
                bodies.append(body)
            ids += [v["id"] for v in await net.platform.submit_many(net.acme, bodies, None)]
        ended = await net.wait(*ids, timeout=400)
        assert {v["state"] for v in ended} == {"succeeded"}
        replayed = await net.platform.replay(net.operator, hours=1.0, limit=10_000)
        assert replayed["identical"] == replayed["calls"] > 0


@pytest.mark.timeout(500)
@pytest.mark.parametrize("jobs", [60, pytest.param(500, marks=pytest.mark.real)])
def test_the_simulator_makes_the_choices_that_were_made_live(tmp_path: Path, jobs: int) -> None:
    asyncio.run(_contended(tmp_path / "home", jobs, seed=11))
    found = records(tmp_path / "home")
    assert len(found) == 2
    starts = contended = 0
    for cluster, record in found.items():
        agreement = check(record)
        assert agreement.agrees, (cluster, agreement)
        starts += agreement.starts
        contended += sum(bool(row["came"]) and len(row["started"]) < len(row["came"]) for row in record[1:])
    assert starts == jobs and contended, "nobody ever waited"
    others = [check(record, policy=p) for record in found.values() for p in ("fcfs", "sjf")]
    assert not all(a.agrees for a in others), "a control: other policies choose otherwise"


@pytest.mark.timeout(300)
def test_jobs_of_several_nodes_are_in_the_record_with_all_that_they_take(tmp_path: Path) -> None:
    asyncio.run(_contended(tmp_path / "home", 60, seed=12, wide="nodes", network=GANGS))
    found = records(tmp_path / "home")
    widths = [row[2:] for record in found.values() for line in record[1:] for row in line["came"]]
    assert {cores for cores, *_ in widths} == {1, 2, 4} and all(memory == 64 * cores for cores, memory, _ in widths)
    for cluster, record in found.items():
        assert check(record).agrees, cluster
    assert any(len(row["started"]) < len(row["came"]) for record in found.values() for row in record[1:]), "nobody ever waited"

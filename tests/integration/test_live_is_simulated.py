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


def records(home: Path) -> dict[str, list[Mapping[str, Any]]]:
    return {p.parent.name: [json.loads(line) for line in p.read_text().splitlines()] for p in sorted(home.glob("clusters/*/passes.*.jsonl"))}


async def _contended(home: Path, jobs: int, seed: int) -> None:
    rng = random.Random(seed)
    print(f"seed {seed}")
    async with running(home, network=QUEUES, settings={"tick": 0.2}) as net:
        ids = []
        for at in range(0, jobs, 25):
            bodies = []
            for _ in range(at, min(at + 25, jobs)):
                body = shell(f"sleep {rng.choice((0, 0, 0.1, 0.4))}", movable=False)
                body["resources"] = {"cores": rng.choice((1, 1, 1, 2, 4)), "memory_mib": 64, "wall_s": rng.choice((5, 20, 60, 600))}
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

"""What was decided live is decided again from what was kept of it; what was tampered with is told."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

from sqlalchemy import update
from tests.integration.test_moving import QUICK, _fill_north
from tests.parts.platform import Running, running, shell

from tidegrid.control import replay
from tidegrid.scheduling.record import Asked
from tidegrid.store import decisions
from tidegrid.store.schema import decision_batches

SETTINGS: dict[str, Any] = {"moving": QUICK}


async def _replay(net: Running) -> dict[str, Any]:
    return await net.platform.replay(net.operator, hours=24.0, limit=10_000)


def test_a_contended_run_is_decided_again_byte_for_byte(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home", settings=SETTINGS) as net:
            p = net.platform
            held = await _fill_north(net, 3.0)
            waits = shell("true", constraints={"ordered": ["north/cpu", "east/cpu"]}, movable=True)
            waits["resources"] |= {"cores": 4, "wall_s": 600}
            jobs = [(await p.submit(net.acme, waits, None))["id"] for _ in range(6)]
            for n in range(0, 60, 20):
                made = await p.submit_many(net.acme, [shell(f"sleep 0.{i % 3}", movable=bool(i % 2)) for i in range(n, n + 20)], None)
                jobs += [v["id"] for v in made]
            await net.wait(*held, *jobs, timeout=90)
            found = await _replay(net)
            assert found["calls"] == found["identical"] > 5 and found["requests"] >= 66, found
            moved = [j for j in jobs if (await p.job(net.operator, j))["moved"]]
            kept = await p.store.read(lambda c: decisions.batches(c, since=0, after=0, limit=10_000))
            assert not moved or {"here", "elsewhere"} <= {row["why"] for row, _ in kept}
            # every decision that is shown to people is part of a kept call
            shown = (await p.explain(net.operator, jobs[-1]))["decisions"]
            assert {d["snapshot"] for d in shown} <= {row["snapshot"] for row, _ in kept}

            # a control: what was asked is changed behind its back
            row = next(r for r, _ in kept if r["acted"])
            asked = Asked.from_bytes(bytes(row["asked"]))
            other = Asked(tuple(dataclasses.replace(r, wall_s=r.wall_s + 1) for r in asked.requests)).to_bytes()
            await p.store.write(lambda c: c.execute(
                update(decision_batches).where(decision_batches.c.id == row["id"]).values(asked=other)))  # fmt: skip
            found = await _replay(net)
            assert found["differ"] == 1 and found["differences"][0]["snapshot"] == row["snapshot"]

            # and what is too old is forgotten, with its pictures; the decisions stay
            later = p.now() + 1
            gone, pictures = await p.store.write(lambda c: decisions.prune(c, before=later, idle_before=later))
            assert gone == found["calls"] and pictures > 0
            assert (await _replay(net))["calls"] == 0 and (await p.explain(net.operator, jobs[-1]))["decisions"]
            assert await replay.prune(p.ctx) == 0

    asyncio.run(main())

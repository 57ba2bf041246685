"""Debian's LAMMPS is verified where it is installed: the energy of its melt example decides, and a broken one is told from it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from tests.parts.platform import NETWORK, running

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


def test_lammps_is_verified_by_its_energy_and_a_wrong_one_fails(tmp_path: Path) -> None:
    lmp = shutil.which("lmp")
    assert lmp, "Debian's package lammps is not installed"
    hot = tmp_path / "lmp-hot"  # a build that is quietly wrong: it starts from another temperature
    hot.write_text(f'#!/bin/sh\nexec {lmp} -var temperature 2.0 "$@"\n')
    hot.chmod(0o755)
    text = NETWORK.replace("    site: hohhot\n    connector", f"    site: hohhot\n    software: {{lmp: {lmp}}}\n    connector", 1)
    text = text.replace("    site: shanghai\n    connector", f"    site: shanghai\n    software: {{lmp: {hot}}}\n    connector", 1)

    async def main() -> None:
        async with running(tmp_path / "home", network=text) as net:
            begun = await net.platform.verify(net.operator, "lammps-melt", runs=2)
            ids = {t["id"] for t in begun}
            async with asyncio.timeout(100):
                while True:
                    trials, _ = await net.platform.trials(net.operator)
                    if all(t["state"] != "running" for t in trials if t["id"] in ids):
                        break
                    await asyncio.sleep(0.2)
            rows = {i["partition"]: i for i in await net.platform.installations(net.operator, app="lammps-melt")}
            good, bad = rows["north/cpu"], rows["east/cpu"]
            assert (good["state"], good["speed"]["n"]) == ("verified", 2) and good["speed"]["seconds"] > 0
            assert bad["state"] == "failed" and "energy_per_atom" in bad["reason"] and bad["speed"] is None
            values = next(t["values"] for t in trials if t["partition"] == "north/cpu")
            assert -2.29 < values["energy_per_atom"] < -2.27
            refused = await net.platform.offers(net.acme, {"app": "lammps-melt"})
            assert [o["partition"] for o in refused["offers"]] == ["north/cpu"] and refused["refusals"]["not_verified"] == 1

    asyncio.run(main())


def test_the_probe_runs_as_a_job_and_its_card_is_in_the_picture(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as net:
            begun = await net.platform.machine_card_measure(net.operator, "east/cpu")
            await net.wait(begun["job"], timeout=110)
            async with asyncio.timeout(20):
                while not (cards := await net.platform.machine_cards(net.operator)):
                    await asyncio.sleep(0.2)
            card = cards[0]["card"]
            assert card["cpu_s"] < 30 and card["values"]["peak_dp_core"]["tier"] == "measured"
            snapshot = await net.platform.picture.snapshot()
            assert snapshot is not None
            row = snapshot.software.card[snapshot.partitions.index("east/cpu")]
            assert row[0] == card["values"]["peak_dp_core"]["value"] and all(x > 0 for x in row)

    asyncio.run(main())

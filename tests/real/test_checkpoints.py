"""LAMMPS and GROMACS over MPI on real Slurm clusters: moved from a cluster that dies, they go on from their checkpoints."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.parts.platform import Running, running

from tidegrid import apps
from tidegrid.catalog import acceptance
from tidegrid.launch.testbed import Testbed
from tidegrid.launch.testbed.network import describe, install_keys

SETTINGS = {"tick": 0.3, "silent_after": 8.0, "permit_wait": 60, "checkpoint_least": 1.0}
SOFTWARE = {"lmp": "/usr/bin/lmp", "gmx_mpi": "/usr/bin/gmx_mpi"}
PACKAGES = {"lmp": "lammps", "gmx_mpi": "gromacs", "mpirun": "openmpi-bin"}


def needs(*programs: str) -> None:
    missing = [PACKAGES[p] for p in programs if shutil.which(p) is None]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)}")


def melt(**more: Any) -> dict[str, Any]:
    params = {"cells": 10, "steps": 6_000, "restart_steps": 250, **more.pop("params", {})}
    return _mpi("lammps-melt", params, **more)


def water(**more: Any) -> dict[str, Any]:
    params = {"steps": 9_000, "checkpoint_minutes": 0.02, **more.pop("params", {})}
    return _mpi("gromacs-water", params, **more)


def _mpi(app: str, params: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "app": app, "params": params, "resources": {"cores": 2, "memory_mib": 1000, "wall_s": 600},
        "constraints": {"ordered": ["alpha/cpu", "gamma/cpu"]}, "checkpoint_every_s": 1, **more,
    }  # fmt: skip


async def offered(net: Running, *places: str) -> None:
    """Wait until these places have answered and take work."""
    async with asyncio.timeout(60):
        while {o["partition"] for o in (await net.platform.offers(net.acme, water()))["offers"]} != set(places):
            await asyncio.sleep(0.1)


async def kept(net: Running, job: str, least: int = 1) -> None:
    """Wait until a checkpoint with a step above `least` is at home."""
    async with asyncio.timeout(60):
        while True:
            found = await net.platform.events(net.operator, 0, ["checkpoint.kept"], job)
            if any((e["body"].get("step") or 0) >= least for e in found):
                return
            await asyncio.sleep(0.1)


async def continued(net: Running, job: str) -> dict[str, Any]:
    (e,) = await net.platform.events(net.operator, 0, ["attempt.continues"], job)
    assert e["body"]["text"].startswith(f"continues from checkpoint of {e['body']['taken_at']}, step ")
    return dict(e["body"])


async def output(net: Running, job: str, path: str) -> str:
    return (await net.platform.output_path(net.acme, job, path)).read_text()


@pytest.mark.timeout(150)
def test_both_continue_elsewhere_when_their_cluster_dies_and_when_a_node_does(private_slurm: Testbed, tmp_path: Path) -> None:
    """A cluster destroyed with all that runs on it takes LAMMPS; before that, a node that goes down takes GROMACS."""
    needs("lmp", "gmx_mpi", "mpirun")
    bed, home = private_slurm, tmp_path / "home"
    install_keys(bed, home)
    network = describe(bed, roots=tmp_path / "roots", software=SOFTWARE) + "  rival: {opening_balance: 100}\n"

    async def main() -> None:
        async with running(home, network=network, settings=SETTINGS) as net:
            p = net.platform
            await offered(net, "alpha/cpu", "gamma/cpu")  # else the only one that has answered takes it
            g = (await p.submit(net.acme, water(constraints={"ordered": ["gamma/cpu", "alpha/cpu"]}), None))["id"]
            await kept(net, g)
            # the node registers again at once, but Slurm has ended what ran on it, and is the witness of that
            down = await asyncio.to_thread(
                bed.run, "gamma", "scontrol", "update", "NodeName=gamma4", "State=DOWN", "Reason=burnt"
            )
            assert down.returncode == 0, down.stderr
            m = (await p.submit(net.acme, melt(), None))["id"]
            await kept(net, m, 500)
            assert (await p.job(net.acme, m))["state"] == "running"
            await asyncio.to_thread(bed.destroy, "alpha")
            await p.cluster_command(net.operator, "alpha", "dead")
            burnt, lost = await net.wait(g, m, timeout=100)
            await ends_as_if_nothing_had_been(net, burnt, "node_fail")
            await ends_as_if_nothing_had_been(net, lost, "lost")
            step = (await continued(net, m))["step"]
            log = await output(net, m, "log.continued")
            assert "Reading restart file" in log
            rows = [x.split() for x in log[log.index("Step Temp") :].splitlines()[1:] if x.strip()[:1].isdigit()]
            assert int(rows[0][0]) == step, "its thermodynamic output begins at the checkpoint's step"
            await output(net, m, "log.lammps")  # the first run's came along, as far as LAMMPS had written it out
            assert (await p.journal_check(net.operator))["balanced"]

    async def ends_as_if_nothing_had_been(net: Running, view: dict[str, Any], reason: str) -> None:
        assert (view["state"], view["moved"]) == ("succeeded", 1), (view["state"], view["reason"], view["attempts"])
        before, after = view["attempts"]
        assert before["reason"] == reason
        if reason == "lost":
            assert (before["cluster"], after["cluster"]) == ("alpha", "gamma")
        found = await continued(net, view["id"])
        assert found["of"] == before["id"] and found["step"] > 0
        result = json.loads(await output(net, view["id"], "result.json"))
        if view["app"] == "gromacs-water":
            log = await output(net, view["id"], "md.log")
            assert "Restarting from checkpoint, appending to previous log file." in log
            assert result["ps"] == 18 and -48 < result["potential_per_molecule"] < -42
        else:
            assert result["step"] == 6_000 and -2.36 < result["energy_per_atom"] < -2.24
        rows, _ = await net.platform.usage(net.acme, job_id=view["id"])
        billed = {r["attempt"]: r["elapsed_ms"] for r in rows}
        assert set(billed) == {before["id"], after["id"]} and min(billed.values()) > 0

    asyncio.run(main())


@pytest.mark.timeout(120)
def test_the_packaged_tests_of_both_hold_over_mpi(slurm: Testbed, tmp_path: Path) -> None:
    needs("lmp", "gmx_mpi", "mpirun")
    home = tmp_path / "home"
    install_keys(slurm, home)
    network = describe(slurm, roots=tmp_path / "roots", software=SOFTWARE) + "  rival: {opening_balance: 100}\n"

    async def main() -> None:
        async with running(home, network=network, settings=SETTINGS) as net:
            found = [(a, t) for a in apps.documents() if a.id in ("lammps-melt", "gromacs-water") for t in a.tests]
            bodies = [_mpi(a.id, dict(t.params), constraints={}) for a, t in found]
            ids = [(await net.platform.submit(net.acme, b, None))["id"] for b in bodies]
            await net.wait(*ids, timeout=100)
            for (a, test), job in zip(found, ids, strict=True):
                view = await net.platform.job(net.acme, job)
                assert view["attempts"][-1]["executions"], (a.id, view)
                code = view["attempts"][-1]["executions"][-1]["exit_code"]
                files = {r["path"]: await output(net, job, r["path"]) for r in await net.platform.outputs(net.acme, job)
                         if r["path"].endswith(".json")}  # fmt: skip
                assert acceptance.check(test, code, files.get) == [], (a.id, files)

    asyncio.run(main())

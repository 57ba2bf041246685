"""A real MPI program over two nodes: of a Slurm cluster, and of an embedded one, which has them on this machine."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.apps import bed
from tests.parts.platform import running

from tidegrid.launch.testbed import Testbed
from tidegrid.launch.testbed.network import install_keys


def test_a_process_runs_on_each_core_of_each_node(slurm: Testbed, tmp_path: Path) -> None:
    missing = [package for program, package in {"lmp": "lammps", "mpirun": "openmpi-bin"}.items() if not shutil.which(program)]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)}")
    home = tmp_path / "home"
    install_keys(slurm, home)
    network = bed.network(slurm, tmp_path / "roots", {"lmp": shutil.which("lmp") or ""}) + "  rival: {opening_balance: 100}\n"
    network = network.replace("nodes: 1, cores: 4, memory: 16 GiB", "nodes: 2, cores: 2, memory: 8 GiB")

    async def main() -> None:
        async with running(home, network=network, settings={"tick": 0.3, "silent_after": 8.0, "permit_wait": 60}) as net:
            p, ids = net.platform, []
            for place in bed.PLACES.values():
                body: dict[str, Any] = {"app": "lammps-melt", "params": {"steps": 50}, "constraints": {"any_of": [place]}}
                body["resources"] = {"nodes": 2, "cores": 2, "wall_s": 120}
                # the test-bed's nodes are this machine too, which MPI does not see: their shared memory has the same names
                body["env"] = {"OMPI_MCA_btl": "tcp,self", "OMPI_MCA_btl_tcp_if_include": "lo"}
                ids.append((await p.submit(net.acme, body, None))["id"])
            views = await net.wait(*ids, actor=net.acme, timeout=110)
            assert [v["state"] for v in views] == ["succeeded", "succeeded"], views
            for job in ids:
                log = (await p.output_path(net.acme, job, "log.lammps")).read_text()
                assert re.search(r"Loop time of \S+ on 4 procs", log), log
            assert {u["cores"] for u in (await p.usage(net.acme, limit=10))[0]} == {4}

    asyncio.run(main())

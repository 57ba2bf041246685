"""A server with two ways to run on this machine: an embedded cluster, and a real Slurm cluster behind its own sshd."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tidegrid.client import Tide
from tidegrid.launch import testbed
from tidegrid.launch.demo import customer
from tidegrid.launch.demo_server import DemoServer
from tidegrid.launch.testbed import packages
from tidegrid.launch.testbed.network import describe, install_keys

ROOT = Path(__file__).resolve().parent.parent.parent
EMBEDDED, SLURM = "here/cpu", "alpha/cpu"
PLACES = {"embedded": EMBEDDED, "slurm": SLURM}
# Programs by the name that documents have for them -> Debian's package.
PROGRAMS = {
    "lmp": "lammps", "gmx_mpi": "gromacs", "pw.x": "quantum-espresso", "icoFoam": "openfoam", "hpcc": "hpcc", "Rscript": "r-base-core",
}  # fmt: skip
JAX = ROOT / ".venv-jax" / "bin" / "python"
SETTINGS = {"call": 20, "silent_after": 30, "permit_wait": 120, "lease": 30}


@dataclass(frozen=True)
class Bed:
    """url, token: of a customer's user; operator: the operator's token."""

    url: str
    token: str
    operator: str
    home: Path


def installed() -> dict[str, str]:
    """What this machine has, as a network file's `software` says it. python: one that has numpy, which a centre's own often lacks."""
    found = {name: str(path) for name in PROGRAMS if (path := packages.find(name))}
    found["python"] = sys.executable
    return found | ({"python-jax": str(JAX)} if JAX.exists() else {})


def missing() -> list[str]:
    """What would have to be installed for all of them."""
    here = installed()
    return [package for name, package in PROGRAMS.items() if name not in here] + ([] if JAX.exists() else ["jax (tools/jax.sh)"])


def network(bed: testbed.Testbed | None, roots: Path, software: dict[str, str]) -> str:
    """The network file: the bed's clusters and an embedded one."""
    listed = ", ".join(f"{k}: {v}" for k, v in software.items())
    here = (
        "  here:\n    site: hall\n    connector: {kind: embedded, kill_grace_s: 2}\n"
        "    supply: {kind: co_built, marginal_core_hour: 0.01}\n    prices: {core_hour: 0.05}\n"
        f"    software: {{{listed}}}\n"
        "    partitions:\n      cpu: {arch: x86_64, nodes: 1, cores: 4, memory: 16 GiB, max_wall: 24h}\n"
    )
    if bed is None:
        return (
            "network: applications\nproviders: {us: {title: Us}}\n"
            "sites:\n  hall: {provider: us, region: cn-hohhot, time_zone: Asia/Shanghai}\n"
            f"clusters:\n{here}accounts: {{operator: {{opening_balance: 1000}}}}\n"
        )
    text = describe(bed, roots=roots, software=software)
    provider = bed.clusters[0].name + "-centre"
    text = text.replace("sites:\n", f"sites:\n  hall: {{provider: {provider}, region: cn-hohhot, time_zone: Asia/Shanghai}}\n", 1)
    return text.replace("clusters:\n", "clusters:\n" + here, 1)


@contextmanager
def up(*, slurm: bool = True) -> Iterator[Bed]:
    """Ready when it yields; leaves nothing behind."""
    base = Path(tempfile.mkdtemp(prefix="tide-apps-"))
    server = DemoServer(base / "home", dict(SETTINGS))
    bed: testbed.Testbed | None = None
    try:
        if slurm:
            bed = testbed.up(Path(tempfile.mkdtemp(prefix="tide-slurm-")), 1, bound=True)
            install_keys(bed, server.home)
        server.start()
        with Tide(server.url, server.token()) as operator:
            operator.apply_network(network(bed, base / "roots", installed()))
            token = customer(operator)
        yield Bed(server.url, token, server.token(), server.home)
    finally:
        server.close()
        if bed is not None:
            bed.down()
        shutil.rmtree(base, ignore_errors=True)

"""A job over several nodes of an embedded cluster, typed, run, and paid for."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.parts.platform import NETWORK
from tests.parts.served_platform import World, served_platform

from tidegrid.cli import main

LOOK = 'echo "$TIDE_NODES nodes, $TIDE_RANKS on each, $TIDE_CORES cores, $TIDE_MEMORY_MIB MiB"'

WIDE = """id: wide
title: {en: Wide, zh: 宽}
params: {type: object, properties: {}, additionalProperties: false}
resources: {cores: 1, memory: 64 MiB, wall: 60s}
files: [{path: .mpi, package: mpi.in}]
script: |
  . ./.mpi
  mpirun() { echo "mpirun $*"; }
  ranks program
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    home = Path(tempfile.mkdtemp(prefix="tide-"))
    try:
        with served_platform(home, network=NETWORK) as made:
            made.tokens = {"operator": made.token("operator", "oper", "operator"), "user": made.token("acme", "ada-2", "user")}
            yield made
    finally:
        shutil.rmtree(home, ignore_errors=True)


class Typed:
    """`tide` as acme types it."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *arguments: str, status: int = 0) -> str:
        self._capfd.readouterr()
        ended = main.run(arguments)
        out, err = self._capfd.readouterr()
        assert ended == status, (out, err)
        return out if status == 0 else err

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def tide(world: World, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("TIDE_URL", world.url)
    monkeypatch.setenv("TIDE_TOKEN", world.tokens["user"])
    monkeypatch.setenv("COLUMNS", "300")
    return Typed(capfd)


def test_it_runs_where_the_nodes_are_and_its_bill_is_of_all_of_them(tide: Typed) -> None:
    """North has two nodes of four cores, east one of eight."""
    asked = ("--nodes", "2", "--cores", "3", "--ranks", "3", "--memory", "64M", "--wall", "60s")
    out = tide("run", "script", "--param", f"script={LOOK}; sleep 1.2", *asked)
    assert "2 nodes, 3 on each, 3 cores, 64 MiB" in out
    job = tide.json("ps")[0]["id"]
    shown = tide("show", job)
    assert "2 nodes of 3 cores" in shown and "north/cpu" in shown
    (use,) = tide.json("usage", "--job", job)
    assert (use["cluster"], use["cores"], use["memory_mib"]) == ("north", 6, 128) and use["elapsed_ms"] >= 1200
    micro = use["elapsed_ms"] * 6 * 50_000 / 3_600_000  # at 0.05 a core-hour
    assert abs(Decimal(use["charge"]["amount"]) * 1_000_000 - Decimal(micro)) <= Decimal("0.5")


def test_what_no_cluster_has_nodes_for_is_refused_at_once(tide: Typed) -> None:
    said = tide("submit", "script", "--param", "script=true", "--nodes", "3", "--json", status=2)
    assert json.loads(said.splitlines()[-1])["error"]["code"] == "job.impossible"


def test_as_many_processes_start_as_all_nodes_have_of_them(
    tide: Typed, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By `srun` of a batch script, and by `ranks` of an application."""
    script = tmp_path / "two.sh"
    script.write_text("#!/bin/sh\n#SBATCH -N 2 --ntasks-per-node=2 -t 1 --mem=64M\n"
                      "echo $SLURM_NNODES $SLURM_NTASKS $SLURM_TASKS_PER_NODE\nsrun sh -c 'echo rank'\n")  # fmt: skip
    job = tide("sbatch", "--wait", str(script)).split()[0]
    assert tide("logs", job).split() == ["2", "4", "2(x2)", *["rank"] * 4]
    document = tmp_path / "wide.yaml"
    document.write_text(WIDE)
    with monkeypatch.context() as operators:
        operators.setenv("TIDE_TOKEN", world.tokens["operator"])
        tide("apps", "publish", str(document))
    assert "mpirun -n 6 program" in tide("run", "wide", "--nodes", "2", "--cores", "3")

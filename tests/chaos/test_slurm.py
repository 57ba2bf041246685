"""A short chaos run on real Slurm clusters, and its control; `make chaos-slurm` runs the long ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.slurm import Options, SlurmChaos
from tidegrid.launch.testbed import packages

pytestmark = [
    pytest.mark.real,
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(bool(packages.missing(accounting=True)), reason="Slurm with slurmdbd is not installed"),
]


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_on_slurm(tmp_path: Path) -> None:
    chaos = SlurmChaos(
        Options(
            tmp_path, jobs=60, controller_kills=2, cuts=1, hangs=1, server_kills=1, declare_s=8.0, longest_s=1.5, seed=7,
            timeout_s=150, quiet=True,
        )
    )  # fmt: skip
    report = chaos.run()
    assert report.missing == [], "faults that were not injected"
    assert report.passed, json.dumps(report.verdict, indent=1)
    assert report.disturbed["cluster declared dead"] == 1


@pytest.mark.timeout(300)
def test_without_the_fence_the_judge_finds_duplicates_on_slurm(tmp_path: Path) -> None:
    chaos = SlurmChaos(
        Options(
            tmp_path, jobs=80, controller_kills=0, cuts=0, hangs=0, server_kills=0, remove=False, accounting=False, seed=7,
            fence=False, late=0.4, timeout_s=90, quiet=True,
        )
    )  # fmt: skip
    report = chaos.run()
    assert report.verdict["duplicates"] > 0, "the control must show what the fence prevents"

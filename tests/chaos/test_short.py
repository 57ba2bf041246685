"""A short chaos run and its control; `make chaos` runs the long ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.run import Chaos, Options


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    chaos = Chaos(Options(tmp_path, jobs=60, kills=3, supervisor_kills=1, silence_s=4.0, seed=7, timeout_s=90, quiet=True))
    report = chaos.run()
    assert report.missing == [], "faults that were not injected"
    assert report.passed, json.dumps(report.verdict, indent=1)
    assert report.faults["lost_after"] and report.faults["late"] and report.faults["silent"]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_without_the_fence_the_judge_finds_duplicates(tmp_path: Path) -> None:
    chaos = Chaos(
        Options(
            tmp_path, jobs=60, kills=0, supervisor_kills=0, silence_s=0.0, seed=7, fence=False, late=0.8, timeout_s=90,
            quiet=True,
        )
    )  # fmt: skip
    report = chaos.run()
    assert report.verdict["duplicates"] > 0, "the control must show what the fence prevents"

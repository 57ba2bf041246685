"""`tide demo --json`, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_demo_loses_nothing_and_moves_jobs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidegrid.cli.main", "demo", "--json", "--keep", str(tmp_path / "demo")],
        capture_output=True, text=True, timeout=220, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["lost"] == 0 and result["duplicates"] == 0 and result["journal_balanced"] is True
    jobs = result["jobs"]
    assert jobs["moved"] > 0 and jobs["adopted"] > 0
    assert jobs["submitted"] == jobs["succeeded"] + jobs["failed"] + jobs["timeout"]
    assert jobs["failed"] == 1 and jobs["timeout"] == 1 and result["seconds"] > 0
    table = json.loads((tmp_path / "demo" / "results" / "table" / "summary.json").read_text())
    assert table["files"] == 2 and table["max"]["drift"] < 1e-3, "the numerical results are physical"

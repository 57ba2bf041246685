"""`tide demo --slurm --json`, as a user types it; and what its judge finds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.parts.slurm import packages

from tidegrid.apps import documents
from tidegrid.client import Attempt, Job
from tidegrid.control.intake import parse_body
from tidegrid.domain.job import JobState
from tidegrid.launch import demo_slurm


@pytest.mark.real
@pytest.mark.slurm
@pytest.mark.timeout(280)
def test_mpi_runs_go_on_when_their_cluster_is_taken_away() -> None:
    missing = packages.missing() + [p for program, p in demo_slurm.PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)}")
    done = subprocess.run(
        [sys.executable, "-m", "tidegrid.cli.main", "demo", "--slurm", "--json"],
        capture_output=True, text=True, timeout=270, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["lost"], result["duplicates"], result["journal_balanced"]) == (0, 0, True)
    assert result["jobs"]["moved"] > 0 and result["continued"]


def test_its_jobs_are_what_the_applications_take(tmp_path: Path) -> None:
    known = {d.id: d for d in documents()}
    for p in demo_slurm.batch(tmp_path / "witness"):
        assert len(parse_body(p.body, known[p.body["app"]]).tasks) == p.tasks


def test_its_judge_finds_what_was_lost_and_what_ran_twice(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    plan = [p for p in demo_slurm.batch(witness) if p.name in ("water", "member-1")]
    at = Job.of({"id": "job-1", "state": "succeeded", "created_at": "2026-11-24T00:00:00Z"}).created_at
    first = Attempt("att-1", started_at=at, reason="lost")
    second = replace(first, id="att-2", reason="ok")
    good = {
        "water": Job("job-1", JobState.SUCCEEDED, attempts=(first, second)),
        "member-1": Job("job-2", JobState.SUCCEEDED, attempts=(second,)),
    }
    witness.write_text("start member-1 0 a/1/1\nend member-1 0 a/1/1\n")
    assert demo_slurm.judge(plan, good, witness, {"water": {}}) == ([], [])
    assert demo_slurm.judge(plan, good, witness, {})[0], "a run without a result did not come to its end"
    twice = {**good, "water": replace(good["water"], attempts=(replace(first, reason="ok"), second))}
    assert demo_slurm.judge(plan, twice, witness, {"water": {}})[1]
    witness.write_text(witness.read_text() + "start member-1 0 b/2/2\n")
    assert demo_slurm.judge(plan, good, witness, {"water": {}})[1]
    assert demo_slurm.judge(plan, {**good, "water": replace(good["water"], state=JobState.LOST)}, witness, {})[0]

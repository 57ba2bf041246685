"""How a check judges what its trials wrote."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidegrid.connectors.findings import Findings, State
from tidegrid.connectors.slurm import trial
from tidegrid.connectors.slurm.check_jobs import JobTrials, Trial
from tidegrid.connectors.slurm.shell import Output

HALF = len(trial.RACED) // 2


def test_each_raced_link_has_exactly_one_winner() -> None:
    links = list(trial.RACED)
    assert trial.race(links[HALF:], links[:HALF]) == "" == trial.race(links, []) == trial.race([], links)
    assert "won by the job and by the login node" in trial.race(links[HALF - 1 :], links[:HALF])
    assert "won by nobody" in trial.race(links[HALF:], links[: HALF - 1])


@pytest.mark.parametrize(
    ("first", "late", "won", "code"),
    [
        ("tombstone:t", "won", range(20, 30), ""),
        ("won", "won", range(20, 30), "cluster.fence"),  # it took a link that the server held
        ("7:node", "won", range(20, 30), "cluster.fence"),
        ("tombstone:t", "lost", range(20, 30), "cluster.fence"),
        ("tombstone:t", "won", range(19, 30), "cluster.fence"),  # one link has two winners
    ],
)
def test_a_filesystem_whose_links_cannot_be_trusted_is_found_out(first: str, late: str, won: range, code: str) -> None:
    found = Findings()
    jobs = JobTrials(SimpleNamespace(found=found))  # type: ignore[arg-type]
    t = Trial("trial", "cpu", "tide-check-1-0", "check/1/0", token="t")
    t.said, t.server_won = trial.Said("node", 1, "t", (), first, late), list(range(10, 20))
    jobs._judge(t, trial.race(list(won), t.server_won), len(won))
    assert [f.code for f in found.all] == [code] and found.well == (code == "")


def test_the_trial_itself_writes_what_is_read(tmp_path: Path) -> None:
    """The script under a plain shell, raced against nobody."""
    directory = tmp_path / "a b"
    directory.mkdir()
    (directory / "token").write_text("t")
    (directory / "go").write_text("x")
    (directory / f"fence-{trial.FIRST}.0").symlink_to("tombstone:t")
    (directory / "fence-12.0").symlink_to("tombstone:t")
    text = trial.script(trial.SCRIPT, str(directory)).decode()
    subprocess.run(["/bin/sh", "-c", text], check=True, env={"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7"})
    said = trial.said((directory / "said").read_text())
    assert (said.token, said.missing, said.first, said.late) == ("t", (), "tombstone:t", "won")
    won = [int(n) for n in (directory / "won").read_text().split()[1:]]
    assert trial.race(won, [12]) == "" and trial.race(won, []) != ""


def test_trials_are_seen_whatever_became_of_them() -> None:
    lines = "PENDING|Priority|0|tide-check-1-0|\nFAILED|NonZeroExitCode|18688|tide-check-1-1|\nRUNNING|None|0|tg-x|\n"
    waits, failed = trial.Trials(("tide-check-1-0", "tide-check-1-1")).parse(Output(0, lines, ""))
    assert not waits.ended and failed.ended and failed.status >> 8 == trial.NOT_WRITABLE
    assert failed.how == "FAILED, exit status 73, NonZeroExitCode"
    accounted = trial.Accounted(("tide-check-1-0",)).parse(Output(0, "allocation|COMPLETED\ntide-check-1-0|COMPLETED\n", ""))
    assert accounted == {"tide-check-1-0"}


def test_a_job_that_left_nothing_ran_where_the_root_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(path: str, *, limit: int = 0) -> bytes:
        return b""

    found = Findings()
    files: Any = SimpleNamespace(read=nothing, root="/home/tide/tidegrid")
    jobs = JobTrials(SimpleNamespace(found=found, connector=SimpleNamespace(files=files)))  # type: ignore[arg-type]
    monkeypatch.setattr("tidegrid.connectors.slurm.check_jobs.LATE_S", -1.0)
    for status, code in ((2 << 8, "cluster.root_unshared"), (trial.NOT_WRITABLE << 8, "cluster.root_read_only")):
        t = Trial("trial", "cpu", "tide-check-1-0", "check/1/0", ended_at=1.0)
        t.row = trial.TrialRow(t.name, "FAILED", "NonZeroExitCode", status)
        asyncio.run(jobs._look_trial(t))
        assert found.all[-1].code == code and found.all[-1].state is State.MISSING and found.all[-1].hint

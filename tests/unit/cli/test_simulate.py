"""tide simulate: its figures, its objects, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tidegrid.cli.main import run

# On 4 processors: 1 holds 3 until 100; 2 asks for all from then on; 3 fits beside 1 and ends by 100; 4 fits too and would not.
LOG = """; MaxProcs: 4
1 0 -1 100 3 -1 -1 3 100 -1 1 1 1 1 1 1 -1 -1
2 10 -1 50 4 -1 -1 4 50 -1 1 1 1 1 1 1 -1 -1
3 20 -1 60 1 -1 -1 1 70 -1 1 2 1 1 1 1 -1 -1
4 30 -1 500 1 -1 -1 1 90 -1 1 2 1 1 1 1 -1 -1
"""


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch):
    """Four jobs need no compiler."""
    monkeypatch.setattr("tidegrid.lab.replaying.compiled", lambda: None)
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "small.swf"
    path.write_text(LOG)
    return str(path)


def objects(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_object_a_log_with_its_figures(log, capsys):
    assert run(["simulate", log, log, "--policy", "easy", "--processors", "4", "--processors", "8", "--json"]) == 0
    four, eight = objects(capsys)
    assert (four["jobs"], four["processors"], eight["processors"]) == (4, 4, 8)
    assert four["mean_wait"] == pytest.approx((0 + 90 + 0 + 120) / 4)  # 3 passes the head, 4 starts when 2 has ended
    assert four["max_wait"] == 120 and eight["max_wait"] == 30  # of 8, 4 waits for 2 alone
    assert four["mean_bounded_slowdown"] == pytest.approx((1 + 140 / 50 + 1 + 210 / 90) / 4)
    assert four["utilisation"] == pytest.approx((300 + 200 + 60 + 90) / (4 * 240))
    assert {"p95_bounded_slowdown", "seconds", "compiled", "dropped"} <= set(four)


def test_jobs_may_outlive_their_estimates_where_nothing_kills_them(log, capsys):
    assert run(["simulate", log, "--policy", "fcfs", "--no-kill", "--json"]) == 0
    assert objects(capsys)[0]["utilisation"] == pytest.approx((300 + 200 + 60 + 500) / (4 * 650))


def test_windows_begin_on_an_empty_machine_and_give_means(log, capsys):
    assert run(["simulate", log, "--policy", "fcfs", "--window", "0:1", "--window", "1:2", "--json"]) == 0
    found = objects(capsys)[0]
    assert (found["windows"], found["jobs"], found["max_wait"]) == (2, 3, pytest.approx(20.0))  # 0, and 40 of job 3 behind job 2


def test_a_table_for_people(log, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # how long it took is a column, and its digits must not break a name
    assert run(["simulate", log]) == 0
    told = capsys.readouterr()
    assert "small.swf" in told.out and "mean bounded slowdown" in told.out
    assert "numba is not installed" in told.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--policy", "best"], "policy.unknown"),
        (["--processors", "4", "--processors", "4"], "simulate.processors"),
        (["--window", "all"], "simulate.window"),
        (["--window", "3:2"], "simulate.window"),
    ],
)
def test_wrong_use_is_told_by_a_code(log, capsys, arguments, code):
    assert run(["simulate", log, "--json", *arguments]) == 2
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["error"]["code"] == code


def test_a_log_without_a_job_that_fits_is_refused(tmp_path, capsys):
    path = tmp_path / "none.swf"
    path.write_text("1 0 -1 -1 3 -1 -1 3 100 -1 1 1 1 1 1 1 -1 -1\n")
    assert run(["simulate", str(path), "--json"]) == 2
    assert "simulate.empty" in capsys.readouterr().err


def test_its_help_imports_nothing_heavy():
    code = ("import sys; from tidegrid.cli.main import run; run(['simulate', '--help']); "
            "print(sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'numba', 'rich', 'sqlalchemy', 'httpx'}))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

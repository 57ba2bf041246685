"""The batch script alone, run with sh: what a cluster may do to it, and what a site's filesystem may."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.parts.embedded import JOB_TEMPLATE, wait_until

from tidegrid.connectors.script import render_job, without_fence

ATTEMPT = "0000000000abc"


class Job:
    def __init__(self, root: Path, script: str, *, fence: bool = True, **settings: Any) -> None:
        self.root, self.dir = root, root / "org/00/job" / ATTEMPT
        self.dir.mkdir(parents=True)
        (root / "spool").mkdir()
        (self.dir / "script").write_text(script)
        options: dict[str, Any] = {"movable": False, "restartable": False, "wait_s": 1} | settings
        text = render_job(JOB_TEMPLATE, attempt=ATTEMPT, root=str(root), directory=f"org/00/job/{ATTEMPT}", **options)
        (self.dir / "job.sh").write_text(text if fence else without_fence(text))

    def start(self, native_id: str = "12", shell: str = "sh", **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(shutil.which(shell)), self.dir / "job.sh"],
            env={"PATH": os.environ["PATH"], "TIDE_NATIVE_ID": native_id, **env},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, native_id: str = "12", **env: str) -> tuple[int, str]:
        process = self.start(native_id, **env)
        _, said = process.communicate(timeout=20)
        return process.returncode, said

    def out(self, task: int = 0) -> str:
        path = self.dir / f"log/{task}.out"
        return path.read_text() if path.exists() else ""

    def spool(self) -> list[str]:
        return sorted(p.name for p in (self.root / "spool").iterdir())


def test_a_second_start_under_the_same_id_is_refused_unless_restartable(tmp_path: Path) -> None:
    once = Job(tmp_path / "once", "echo ran")
    assert once.run() == (0, "")
    status, said = once.run()
    assert status == 75 and "second start of 12" in said and once.out() == "ran\n"
    again = Job(tmp_path / "again", "echo ran; cat data; echo changed > data", restartable=True)
    (again.dir / "in").mkdir()
    (again.dir / "in/data").write_text("input\n")
    assert [again.run()[0] for _ in range(3)] == [0, 0, 0]
    assert again.out() == "ran\ninput\nran\nchanged\nran\nchanged\n"
    assert again.spool() == [f"{ATTEMPT}.0.{n}.{kind}" for n in range(3) for kind in ("end", "mark")]


def test_another_id_is_refused_even_if_restartable(tmp_path: Path) -> None:
    job = Job(tmp_path / "site", "echo ran", restartable=True)
    assert job.run("12")[0] == 0
    status, said = job.run("13")
    assert status == 75 and "held by 12:" in said and job.out() == "ran\n"


def test_of_many_starts_at_once_one_runs(tmp_path: Path) -> None:
    job = Job(tmp_path / "site", "echo ran")
    started = [job.start(str(n % 3)) for n in range(9)]
    assert sorted(p.wait(20) for p in started) == [0] + [75] * 8
    assert job.out() == "ran\n"


def test_without_the_fence_every_start_runs(tmp_path: Path) -> None:
    job = Job(tmp_path / "site", "echo ran", fence=False)
    assert [job.run("12")[0], job.run("13")[0]] == [0, 0]
    assert job.out() == "ran\nran\n"


@pytest.mark.parametrize("shell", [s for s in ("dash", "bash") if shutil.which(s)])
def test_every_shell_gets_the_signal_through_to_the_application(tmp_path: Path, shell: str) -> None:
    job = Job(tmp_path / "site", "trap 'echo bye; exit 7' TERM; echo up; sleep 20 & wait")
    process = job.start(shell=shell)
    wait_until(lambda: job.out() == "up\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 7 and job.out() == "up\nbye\n"
    assert job.spool()[0].endswith(".end") and (tmp_path / "site/spool" / job.spool()[0]).read_text()[:2] == "7 "


def test_a_file_system_that_fails_is_no_permit(tmp_path: Path) -> None:
    job = Job(tmp_path / "site", "echo ran", movable=True, wait_s=1)
    process = job.start()
    wait_until(lambda: job.spool() == [f"{ATTEMPT}.0.0.mark"])
    (job.root / "spool").rename(job.root / "unmounted")
    time.sleep(0.6)
    assert process.poll() is None and job.out() == ""
    (job.root / "unmounted").rename(job.root / "spool")
    assert process.wait(10) == 75 and job.spool() == [f"{ATTEMPT}.0.0.gaveup"]


@pytest.mark.parametrize("tail", ["gnu", "another", "none"])
@pytest.mark.parametrize("shell", [s for s in ("dash", "bash") if shutil.which(s)])
def test_a_permit_starts_it_whatever_tail_there_is(tmp_path: Path, shell: str, tail: str) -> None:
    path = os.environ["PATH"]
    if tail != "gnu":
        (tools := tmp_path / "tools").mkdir()
        for name in ("sh", "ln", "date", "mkdir", "mv", "sleep", "setsid", "readlink", "timeout", "tail"):
            (tools / name).symlink_to(str(shutil.which(name)))
        (tools / "tail").unlink()
        path = str(tools)
        if tail == "another":  # BusyBox: knows no such option
            (tools / "tail").write_text("#!/bin/sh\nexit 1\n")
            (tools / "tail").chmod(0o700)
    job = Job(tmp_path / "site", "echo ran", movable=True, wait_s=60)
    process = job.start(shell=shell, PATH=path)
    mark = job.root / "spool" / f"{ATTEMPT}.0.0.mark"
    wait_until(mark.exists)
    time.sleep(0.5)
    assert process.poll() is None and job.out() == ""
    mark.unlink()
    assert process.wait(10) == 0 and job.out() == "ran\n" and job.spool() == [f"{ATTEMPT}.0.0.end"]


@pytest.mark.parametrize("restartable", [False, True])
def test_a_mark_that_the_server_has_no_more_use_for_is_no_permit(tmp_path: Path, restartable: bool) -> None:
    job = Job(tmp_path / "site", "echo ran; sleep 20", movable=True, restartable=restartable, wait_s=60)
    (job.root / "lease").write_text(f"1 {int(time.time()) + 60} token\n")
    process = job.start()
    mark = job.root / "spool" / f"{ATTEMPT}.0.0.mark"
    wait_until(lambda: mark.exists() and (not restartable or job.out() == "ran\n"))
    (job.dir / "over").touch()
    mark.unlink()
    assert process.wait(10) == 75 and job.spool() == []
    assert job.out() == ("ran\n" if restartable else ""), "what has started on the lease is stopped"


def test_what_is_told_to_stop_while_it_waits_leaves_nothing_behind(tmp_path: Path) -> None:
    job = Job(tmp_path / "site", "echo ran", movable=True, wait_s=60)
    process = job.start()
    wait_until(lambda: b"tail" in _session(process.pid))
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 75 and job.spool() == [f"{ATTEMPT}.0.0.gaveup"]
    wait_until(lambda: not _session(process.pid).split())


def test_one_that_ends_before_its_permit_leaves_nothing_behind(tmp_path: Path) -> None:
    job = Job(tmp_path / "site", "sleep 0.5; echo ran", movable=True, restartable=True, wait_s=60)
    (job.root / "lease").write_text(f"1 {int(time.time()) + 60} token\n")
    process = job.start()
    wait_until(lambda: b"tail" in _session(process.pid))
    assert process.wait(10) == 0 and job.out() == "ran\n"
    wait_until(lambda: b"tail" not in _session(process.pid))


def _session(pid: int) -> bytes:
    """The commands that live in its session."""
    return subprocess.run(["ps", "-o", "comm=", "-s", str(pid)], capture_output=True).stdout


def test_a_mark_that_cannot_be_written_refuses_the_start(tmp_path: Path) -> None:
    job = Job(tmp_path / "site", "echo ran")
    (job.root / "spool").rmdir()
    status, said = job.run()
    assert status == 75 and "cannot write the mark" in said and job.out() == ""


def test_inputs_and_names_may_hold_anything(tmp_path: Path) -> None:
    job = Job(tmp_path / "a 'b' $c", 'cat *; echo "$V|$TIDE_WORK"', env={"V": "it's @ROOT@ $HOME `x`\nline"})
    (job.dir / "in").mkdir()
    (job.dir / "in/with space").write_text("one\n")
    (job.dir / "in/.hidden").write_text("two\n")
    assert job.run() == (0, "")
    assert job.out() == f"one\nit's @ROOT@ $HOME `x`\nline|{job.dir}/work\n"
    assert (job.dir / "work/.hidden").exists()
    assert (job.dir / "log/0.out").stat().st_mode & 0o777 == 0o600


def test_tasks_of_an_array_have_their_own_directories(tmp_path: Path) -> None:
    job = Job(tmp_path / "site", "pwd", array=True)
    assert job.run(TIDE_TASK="3") == (0, "") and job.run(TIDE_TASK="4") == (0, "")
    assert job.out(3) == f"{job.dir}/work/3\n" and job.out(4) == f"{job.dir}/work/4\n"


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"root": "relative"}, "not absolute"), ({"env": {"A B": "x"}}, "no name"), ({"env": {"A": "\0"}}, "NUL")],
)
def test_what_cannot_stand_in_a_script_is_refused(changes: dict[str, Any], what: str) -> None:
    settings: dict[str, Any] = {
        "attempt": "a", "root": "/r", "directory": "d", "movable": False, "restartable": False, "wait_s": 1,
    } | changes  # fmt: skip
    with pytest.raises(ValueError, match=what):
        render_job(JOB_TEMPLATE, **settings)
    with pytest.raises(ValueError, match="@UNKNOWN@"):
        render_job("@UNKNOWN@", **(settings | {"root": "/r", "env": {}}))

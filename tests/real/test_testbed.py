"""The test-bed keeps what it promises: real clusters, harmed and mended at will, and nothing left of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from tests.parts.slurm import state_of, wait_for_state

from tidegrid.cli.main import run
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound
from tidegrid.launch import testbed
from tidegrid.launch.testbed import Testbed, family, packages

pytestmark = [
    pytest.mark.real,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(packages.missing()), reason=f"not installed: {' '.join(packages.missing())}"),
]


def submit(bed: Testbed, cluster: str, script: str, *options: str) -> str:
    done = bed.run(cluster, "sbatch", "--parsable", "-o", "/dev/null", *options, stdin=f"#!/bin/sh\n{script}\n")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def traces(directory: Path) -> list[str]:
    """Processes, sockets and files that still have to do with the directory; each a line to read."""
    found = [line for line in Path("/proc/net/unix").read_text().splitlines() if str(directory) in line]
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            said = [(process / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
            said += [os.readlink(link) for link in (process / "cwd", process / "exe", *(process / "fd").iterdir())]
        except OSError:  # ended meanwhile, or another user's
            continue
        found += [f"process {process.name}: {said[0]} {text}" for text in said if str(directory) in text]
    return found + [str(directory)] * directory.exists()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory to bring a test-bed up in, taken down at the end, come what may."""
    directory = Path(tempfile.mkdtemp(prefix="tide-slurm-"))
    yield directory
    testbed.down(directory)
    if directory.exists():
        directory.rmdir()


# What is there.


def test_clusters_are_unlike_each_other(slurm: Testbed) -> None:
    assert [c.name for c in slurm.clusters] == ["alpha", "beta", "gamma"]
    assert len({(c.partitions, len(c.nodes)) for c in slurm.clusters}) == 3
    for cluster in slurm.clusters:
        shown = slurm.run(cluster.name, "sinfo", "-h", "-o", "%R").stdout.split()
        assert sorted(shown) == sorted(cluster.partitions)


@pytest.mark.parametrize("cluster", ["alpha", "beta", "gamma"])
def test_a_job_runs_when_submitted_over_ssh_and_when_submitted_here(slurm: Testbed, cluster: str, tmp_path: Path) -> None:
    script = f"#!/bin/sh\necho $SLURM_CLUSTER_NAME >> {tmp_path}/$SLURM_JOB_ID\n"
    over_ssh = slurm.ssh(cluster, "sbatch --parsable -o /dev/null", stdin=script)
    assert over_ssh.returncode == 0, over_ssh.stderr
    for job in (over_ssh.stdout.strip(), submit(slurm, cluster, script)):
        wait_for_state(slurm, cluster, job, "COMPLETED")
        assert (tmp_path / job).read_text().strip() == cluster


def test_the_end_of_a_job_is_told(slurm: Testbed) -> None:
    wait_for_state(slurm, "alpha", submit(slurm, "alpha", "exit 3"), "FAILED")
    job = submit(slurm, "alpha", "sleep 600")
    wait_for_state(slurm, "alpha", job, "RUNNING")
    slurm.run("alpha", "scancel", job)
    wait_for_state(slurm, "alpha", job, "CANCELLED")


def test_gpus_are_listed_and_lent(slurm: Testbed, tmp_path: Path) -> None:
    listed = slurm.run("gamma", "sinfo", "-h", "-N", "-o", "%N %G").stdout
    assert "gamma1 gpu:a100:4" in listed and "gamma3 gpu:v100:8" in listed
    job = submit(slurm, "gamma", f"echo $CUDA_VISIBLE_DEVICES > {tmp_path}/seen", "--gres=gpu:v100:3")
    wait_for_state(slurm, "gamma", job, "COMPLETED")
    assert len((tmp_path / "seen").read_text().strip().split(",")) == 3
    assert slurm.run("alpha", "sbatch", "--gres=gpu:1", stdin="#!/bin/sh\n").returncode == 1


def test_work_in_spare_gives_way(slurm: Testbed) -> None:
    """Preempted by a partition that goes before: back in the queue, as pending."""
    low = submit(slurm, "beta", "sleep 600", "-p", "spare", "-N", "12", "--exclusive")
    wait_for_state(slurm, "beta", low, "RUNNING")
    high = submit(slurm, "beta", "sleep 600", "-p", "short", "-N", "1")
    wait_for_state(slurm, "beta", high, "RUNNING")
    assert state_of(slurm, "beta", low) in {"PENDING", "COMPLETING"}
    slurm.run("beta", "scancel", low, high)


def test_files_go_over_sftp(slurm: Testbed, tmp_path: Path) -> None:
    (tmp_path / "from").write_text("tide")
    ssh = slurm.cluster("alpha").ssh
    options = [word.replace("-p", "-P") if word == "-p" else word for word in ssh.argv[1:-1]]
    done = subprocess.run(["sftp", *options, f"{ssh.user}@{ssh.host}"], input=f"put {tmp_path}/from {tmp_path}/to\n",
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert (tmp_path / "to").read_text() == "tide", done.stderr


def test_another_host_key_is_refused_and_another_key_is_not_let_in(slurm: Testbed, tmp_path: Path) -> None:
    ssh = slurm.cluster("alpha").ssh
    words = [word.replace(str(ssh.known_hosts), str(slurm.cluster("beta").ssh.known_hosts)) for word in ssh.argv]
    stranger = subprocess.run([*words, "true"], capture_output=True, text=True, timeout=60)
    assert stranger.returncode == 255 and "Host key verification failed" in stranger.stderr
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    words = [word.replace(str(ssh.key), str(tmp_path / "key")) for word in ssh.argv]
    assert "Permission denied" in subprocess.run([*words, "true"], capture_output=True, text=True, timeout=60).stderr


def test_accounting_tells_what_the_controller_forgot(slurm_accounting: Testbed) -> None:
    bed = slurm_accounting
    job = submit(bed, "alpha", "exit 3", "-J", "named", "-A", "chemistry")
    until = time.monotonic() + 30
    while not (rows := bed.run("alpha", "sacct", "-n", "-P", "-X", "--name=named", "-o", "jobid,account,exitcode").stdout.strip()) or "3:0" not in rows:
        assert time.monotonic() < until, rows
        time.sleep(0.1)
    assert rows == f"{job}|chemistry|3:0"
    refused = bed.run("alpha", "sbatch", "-A", "nobody", stdin="#!/bin/sh\n")
    assert "Invalid account" in refused.stderr


def test_without_accounting_sacct_says_so(slurm: Testbed) -> None:
    done = slurm.run("beta", "sacct")
    assert done.returncode == 1 and "accounting storage is disabled" in done.stderr


# Harm, and mending.


def test_a_controller_is_killed_and_starts_again(private_slurm: Testbed) -> None:
    bed = private_slurm
    job = submit(bed, "alpha", "sleep 600")
    wait_for_state(bed, "alpha", job, "RUNNING")
    time.sleep(12)  # what a crash forgets are the last seconds, more of them on a busy machine
    bed.kill_controller("alpha")
    begun = time.monotonic()
    silent = bed.run("alpha", "squeue")
    assert silent.returncode == 1 and "Unable to contact slurm controller" in silent.stderr
    assert time.monotonic() - begun < 15
    assert bed.run("beta", "squeue").returncode == 0
    bed.start_controller("alpha")
    wait_for_state(bed, "alpha", job, "RUNNING")


def test_ssh_is_cut_and_comes_back(private_slurm: Testbed) -> None:
    bed = private_slurm
    session = subprocess.Popen([*bed.cluster("alpha").ssh.argv, "echo here; sleep 600"], stdout=subprocess.PIPE)
    assert session.stdout is not None and session.stdout.readline() == b"here\n"
    bed.kill_sshd("alpha")
    assert session.wait(30) == 255
    assert bed.ssh("alpha", "true").returncode == 255
    assert bed.ssh("beta", "true").returncode == 0
    assert bed.run("alpha", "sinfo").returncode == 0
    bed.start_sshd("alpha")
    assert bed.ssh("alpha", "sinfo -V").returncode == 0


def test_a_frozen_sshd_is_silent_until_it_is_thawed(private_slurm: Testbed) -> None:
    bed = private_slurm
    bed.freeze("beta", "sshd")
    with pytest.raises(subprocess.TimeoutExpired):
        bed.ssh("beta", "true", seconds=2)
    bed.thaw("beta", "sshd")
    assert bed.ssh("beta", "true").returncode == 0


def test_a_destroyed_cluster_leaves_the_others_alone(private_slurm: Testbed, tmp_path: Path) -> None:
    bed = private_slurm
    job = submit(bed, "gamma", "sleep 600", "-p", "cpu")
    wait_for_state(bed, "gamma", job, "RUNNING")
    bed.destroy("gamma")
    assert not family.members(bed.cluster("gamma").home)
    assert bed.ssh("gamma", "true").returncode == 255
    wait_for_state(bed, "alpha", submit(bed, "alpha", "true"), "COMPLETED")


# The way down.


def listed() -> list[list[str]]:
    """(pid, parent, state, command) of every process."""
    processes = subprocess.run(["ps", "-eo", "pid,ppid,stat,args"], capture_output=True, text=True, check=True).stdout
    return [line.split(None, 3) for line in processes.splitlines()[1:]]


def test_down_leaves_nothing(place: Path, tmp_path: Path) -> None:
    before = {int(pid) for pid, parent, _, _ in listed() if int(parent) == os.getpid()}  # of other tests in this process
    bed = testbed.up(place)
    # One job in the foreground, one that has left its session behind, one over ssh.
    for cluster, script in (("alpha", "sleep 601"), ("beta", "setsid setsid sleep 602 & sleep 0.2"), ("gamma", "srun sleep 603")):
        submit(bed, cluster, f"touch {tmp_path}/{cluster}\n{script}")
    session = subprocess.Popen([*bed.cluster("alpha").ssh.argv, f"touch {tmp_path}/ssh; exec sleep 604"])
    until = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 4:
        assert time.monotonic() < until, list(tmp_path.iterdir())
        time.sleep(0.05)
    time.sleep(0.5)
    bed.kill_sshd("alpha")  # what came over ssh is left without a parent
    bed.down()
    session.wait(30)
    assert traces(place) == []
    for pid, parent, state, command in listed():
        own = [f"{how}sleep {n}" for how in ("", "setsid ") for n in (601, 602, 603, 604)]  # other tests sleep too
        assert not command.startswith(tuple(own))
        buried = int(parent) != os.getpid() or not state.startswith("Z") or int(pid) in before
        assert buried, f"{command} is not buried"


def test_a_shell_that_talks_to_a_cluster_survives_its_end(place: Path) -> None:
    bed = testbed.up(place, 1)
    shell = subprocess.Popen(["sleep", "60"], env=bed.clusters[0].environment, cwd=place)
    try:
        bed.down()
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()


def test_what_a_killed_start_left_is_cleared_by_the_next(place: Path) -> None:
    bed = testbed.up(place, 1)
    state = json.loads((place / "testbed.json").read_text())
    (place / "testbed.json").write_text(json.dumps(state | {"ready": False}))
    before = family.members(place)
    again = testbed.up(place, 2)
    assert len(again.clusters) == 2 and not before & family.members(place)
    assert bed.directory == again.directory


def test_what_runs_is_not_started_twice_nor_anything_else_removed(place: Path) -> None:
    testbed.up(place, 1)
    with pytest.raises(Conflict, match="runs in"):
        testbed.up(place, 1)
    testbed.load(place).down()
    with pytest.raises(NotFound):
        testbed.load(place)
    place.mkdir()
    (place / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidInput, match="no test-bed"):
        testbed.up(place)
    assert testbed.down(place) is False
    (place / "thesis.tex").unlink()


def test_a_bound_one_ends_with_its_owner(place: Path) -> None:
    code = "import sys, time; from tidegrid.launch import testbed; testbed.up(sys.argv[1], 1, bound=True); print('up', flush=True); time.sleep(600)"
    owner = subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE)
    assert owner.stdout is not None and owner.stdout.readline() == b"up\n"
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    until = time.monotonic() + 30
    while traces(place):
        assert time.monotonic() < until, traces(place)
        time.sleep(0.1)


def test_the_verbs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["testbed", "up", "--slurm", "1", "--dir", str(place), "--json"]) == 0
    up = json.loads(capsys.readouterr().out)
    assert up["clusters"][0]["ssh"]["url"].startswith("ssh://")
    assert run(["testbed", "show", "--dir", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == up
    assert run(["testbed", "up", "--dir", str(place)]) == 4
    assert run(["testbed", "down", "--dir", str(place)]) == 0
    assert run(["testbed", "down", "--dir", str(place)]) == 2
    assert traces(place) == []


# As an ordinary user.


@pytest.fixture
def ordinary() -> Iterator[str]:
    """The name of an account that is not root: one's own, or one made for this test."""
    if os.geteuid() != 0:
        yield packages.me()
        return
    name = f"tide{os.getpid()}"
    # A password of "*" lets keys in; "!", useradd's own, locks the account for sshd without PAM.
    subprocess.run(["useradd", "-M", "-d", "/tmp", "-s", "/bin/sh", "-p", "*", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=True)


def test_an_ordinary_user_needs_no_root(ordinary: str, tmp_path: Path) -> None:
    theirs, ours = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_as_user, args=(ordinary, theirs))
    process.start()
    theirs.close()
    assert ours.poll(90), "no answer"
    answer = ours.recv()
    process.join(30)
    assert answer == {"user": ordinary, "jobs": [ordinary] * 2, "left": []}, answer


def test_a_site_account_of_ones_own_submits_as_itself(private_slurm: Testbed, ordinary: str) -> None:
    private_slurm.permit(ordinary)
    done = private_slurm.ssh("alpha", "id -un; sbatch --parsable -D /tmp -o /dev/null", user=ordinary, stdin="#!/bin/sh\n")
    assert done.returncode == 0, done.stderr
    name, job = done.stdout.split()
    wait_for_state(private_slurm, "alpha", job, "COMPLETED")
    assert name == ordinary == private_slurm.run("alpha", "squeue", "-h", "-t", "all", "-j", job, "-o", "%u").stdout.strip()
    with pytest.raises(NotFound):
        private_slurm.permit("nobody-of-this-name")


def _as_user(name: str, answer: Connection) -> None:
    try:
        entry = pwd.getpwnam(name)
        if os.geteuid() == 0:
            os.initgroups(name, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
        directory = Path(tempfile.mkdtemp(prefix="tide-slurm-", dir="/tmp"))
        bed = testbed.up(directory, 2)
        try:
            owners = []
            for cluster in bed.clusters:
                job = bed.ssh(cluster.name, "sbatch --parsable -o /dev/null", stdin="#!/bin/sh\nid -un\n").stdout.strip()
                wait_for_state(bed, cluster.name, job, "COMPLETED")
                owners.append(bed.run(cluster.name, "squeue", "-h", "-t", "all", "-j", job, "-o", "%u").stdout.strip())
            user = bed.ssh("alpha", "id -un").stdout.strip()
        finally:
            bed.down()
        answer.send({"user": user, "jobs": owners, "left": traces(directory)})
    except BaseException:  # noqa: BLE001 - told to the test, which fails with it
        answer.send(traceback.format_exc())

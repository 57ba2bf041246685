"""A test-bed as an object: brought up, harmed, mended, taken down."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, TideError
from tidegrid.launch.testbed import accounting as accounts
from tidegrid.launch.testbed import build, family, model, packages, processes, starting
from tidegrid.launch.testbed.model import Cluster, Plan
from tidegrid.launch.testbed.processes import Part
from tidegrid.launch.testbed.shapes import MOST, shapes


@dataclass
class Testbed:
    """Real Slurm clusters that run below `directory`. All waits end in an error of code testbed.failed."""

    __test__ = False  # no class of tests

    directory: Path
    plan: Plan
    _watch: subprocess.Popen[bytes] | None = field(default=None, repr=False, compare=False)

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        return self.plan.clusters

    def cluster(self, name: str) -> Cluster:
        """NotFound (testbed.cluster) where there is none of that name."""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise NotFound("testbed.cluster", f"the test-bed has no cluster {name}",
                       hint=f"it has {', '.join(c.name for c in self.clusters)}")  # fmt: skip

    def run(self, name: str, *argv: str, stdin: str | None = None, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """One of Slurm's commands on this machine, spoken to the cluster."""
        return subprocess.run(argv, env=self.cluster(name).environment, input=stdin or "", capture_output=True, text=True,
                              check=False, timeout=seconds)  # fmt: skip

    def ssh(
        self, name: str, command: str, *, user: str = "", stdin: str | None = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """A shell command at the cluster, over a new connection; user: another who was permitted."""
        way = self.cluster(name).ssh
        return subprocess.run([*replace(way, user=user or way.user).argv, command], input=stdin or "", capture_output=True, text=True,
                              check=False, timeout=seconds)  # fmt: skip

    # What can be done to a cluster.

    def kill_controller(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL: as in a crash, the last seconds' submissions are lost. SIGTERM: as in a restart, nothing is."""
        processes.stop(self._part(name, "slurmctld"), number)

    def start_controller(self, name: str) -> None:
        """Start it and wait until it answers; no change where it runs."""
        part = self._part(name, "slurmctld")
        if processes.pid_of(part) is None:
            processes.start(part)
        starting.await_controller(self.cluster(name), part)

    def kill_sshd(self, name: str = "") -> None:
        """Of one cluster, or of all: nobody can connect, and connections break. Jobs go on."""
        for cluster in self._those(name):
            processes.stop(self._part(cluster.name, "sshd"), sessions=True)

    def start_sshd(self, name: str = "") -> None:
        for cluster in self._those(name):
            part = self._part(cluster.name, "sshd")
            if processes.pid_of(part) is None:
                processes.start(part)
            processes.await_that(lambda c=cluster: accounts.listens(c.ssh.port), "sshd does not answer", parts=[part])  # type: ignore[misc]

    def freeze(self, name: str, program: str) -> None:
        """The cluster's slurmctld, sshd (with its connections) or a node falls silent without breaking anything."""
        processes.send(self._part(name, program), signal.SIGSTOP, sessions=program == "sshd")

    def thaw(self, name: str, program: str) -> None:
        processes.send(self._part(name, program), signal.SIGCONT, sessions=program == "sshd")

    def kill_node(self, name: str, node: str) -> None:
        """Its slurmd; steps that run there go on. Slurm finds the node down after SlurmdTimeout, 30 s."""
        processes.stop(self._part(name, node))

    def start_node(self, name: str, node: str) -> None:
        part = self._part(name, node)
        if processes.pid_of(part) is None:
            processes.start(part)

    def kill_accounting(self, number: signal.Signals = signal.SIGKILL) -> None:
        processes.stop(self._part("shared", "slurmdbd"), number)

    def start_accounting(self) -> None:
        part = self._part("shared", "slurmdbd")
        if processes.pid_of(part) is None:
            accounts.start_dbd(part)

    def destroy(self, name: str) -> None:
        """The whole cluster at once and for good: daemons, connections and jobs."""
        family.sweep(self.cluster(name).home)
        _bury(self.plan)

    def permit(self, user: str) -> None:
        """Let another account of this machine in at every cluster, by the same key. Needs root.

        NotFound, InvalidInput where there is no such account or it is locked.
        """
        packages.check_account(user)
        build.permit(self.directory / "ssh", user)
        for cluster in self.clusters:
            if cluster.accounting:
                accounts.add_user(cluster, user, str(packages.find("sacctmgr")))

    def down(self) -> None:
        """End every process, jobs included, and remove the directory. Nothing is left."""
        down(self.directory)
        if self._watch is not None and self._watch.stdin is not None:
            self._watch.stdin.close()
            self._watch.wait(30)
            self._watch = None

    def _part(self, name: str, program: str) -> Part:
        try:
            return self.plan.parts[f"{name}/{program}"]
        except KeyError:
            raise NotFound("testbed.part", f"the test-bed has no {program} at {name}") from None

    def _those(self, name: str) -> tuple[Cluster, ...]:
        return (self.cluster(name),) if name else self.clusters


def up(directory: Path | str, clusters: int = 3, accounting: bool = False, *, bound: bool = False) -> Testbed:
    """Bring up `clusters` (1 … 8) Slurm clusters below a directory that is new, empty, or held a test-bed that died.

    accounting: the first cluster has slurmdbd. bound: it goes down when this process ends, however that happens.
    Needs no root; jobs run as the caller. Conflict (testbed.running), NotFound (testbed.missing: packages),
    InvalidInput, Unreachable (testbed.failed; nothing is left then).
    """
    if not 1 <= clusters <= MOST:
        raise InvalidInput("testbed.clusters", f"{clusters} clusters are asked for; 1 to {MOST} are possible")
    programs = packages.programs(accounting=accounting)
    directory = Path(os.path.realpath(directory))
    _clear(directory)
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o711)  # another account may log in, and passes through
    with _alone(directory):
        bed = Testbed(directory, Plan((), {}))
        try:
            model.save(directory, bed.plan, ready=False)
            if bound:
                bed._watch = _watch(directory)
            bed.plan = build.build(directory, shapes(clusters), programs, accounting=accounting)
            model.save(directory, bed.plan, ready=False)
            starting.start(bed.plan, programs)
            model.save(directory, bed.plan, ready=True)
        except BaseException:
            bed.down()
            raise
    return bed


def load(directory: Path | str) -> Testbed:
    """The test-bed that runs there, brought up by any process. NotFound (testbed.absent)."""
    directory = Path(os.path.realpath(directory))
    plan, _ = model.read(directory)
    return Testbed(directory, plan)


def down(directory: Path | str) -> bool:
    """End and remove the test-bed of that directory, whatever state it is in; whether there was one."""
    directory = Path(os.path.realpath(directory))
    if not (directory / model.STATE).exists():
        return False
    family.sweep(directory)
    try:
        _bury(model.read(directory)[0])
    except TideError:  # it never came that far
        pass
    # The mark goes last: where removal stops half-way, the next try still knows that this was a test-bed.
    for entry in directory.iterdir():
        if entry.name == model.STATE:
            continue
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    shutil.rmtree(directory)
    starting.leave_run()
    return True


def _bury(plan: Plan) -> None:
    """Daemons that this process started and that are dead: they leave its table of processes."""
    for part in plan.parts.values():
        processes.pid_of(part)


def _clear(directory: Path) -> None:
    """Remove what a dead test-bed left. Conflict where it lives, InvalidInput where something else is there."""
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not (directory / model.STATE).exists():
        raise InvalidInput("testbed.directory", f"{directory} holds something that is no test-bed",
                           hint="give a new or an empty directory")  # fmt: skip
    with _alone(directory):
        try:
            plan, ready = model.read(directory)
        except NotFound:
            return
        if ready and any(processes.pid_of(part) is not None for part in plan.parts.values()):
            raise Conflict("testbed.running", f"a test-bed runs in {directory}", hint="`tide testbed down` ends it")
        down(directory)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Only one brings up or clears a directory at a time."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict("testbed.running", f"a test-bed is being started in {directory}", hint="wait for it") from None
    finally:
        os.close(handle)


def _watch(directory: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tidegrid.launch.testbed.watch", str(directory)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            start_new_session=True, cwd="/")  # fmt: skip

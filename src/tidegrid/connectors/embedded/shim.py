"""Runs one task and is the witness of its times, resources and end; needs no supervisor while it runs.

Started as `python -I -S shim.pyc RUN_DIR`. File descriptor 0 is a socket: the supervisor sends the specification (marshalled, see
`runs.specification`) and closes its half; the shim answers `started <µs>` and at the end `ended …`, for speed only. What counts is
on disk in RUN_DIR:

    start   link -> `<pid>.<start ticks>.<boot id>.<start µs>`, made before anything runs; whoever makes it first wins, so a
            recovering supervisor that makes it (`-> supervisor`) knows that this run never starts. Its own time says "alive".
    exit    `<start µs> <end µs> <exit code> <reason> <peak MiB>`, under its final name only when complete

A job's processes are this process's descendants, also when they daemonise (it is a subreaper), and are gone before `exit` is there.
"""

from __future__ import annotations

import marshal
import os
import sys
import time

TYPE_CHECKING = False  # `typing` costs more than all else here
if TYPE_CHECKING:
    from typing import Any

try:
    import _ctypes  # `signal` and `ctypes` import half of the library: 10 ms of a short job
    import _signal as signal
except ImportError:  # pragma: no cover
    import signal

    _ctypes = None  # type: ignore[assignment]

ALIVE_S = 10.0
MEMORY_POLL_S = 0.25
_PR_SET_CHILD_SUBREAPER = 36


def start_ticks(pid: int | str) -> str:
    """Start time of a process in clock ticks since boot (field 22 of its stat); OSError where it is gone or a zombie."""
    with open(f"/proc/{pid}/stat", "rb") as f:
        fields = f.read().rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        raise ProcessLookupError(f"process {pid} has ended")
    return fields[19].decode()


def boot_id() -> str:
    """Changes with every boot of this machine."""
    with open("/proc/sys/kernel/random/boot_id") as f:
        return f.read().strip()


def descendants(root: int) -> list[int]:
    """Process ids below `root`, parents before children."""
    found: list[int] = []
    stack = [root]
    while stack:
        pid = stack.pop()
        try:
            for tid in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{tid}/children", "rb") as f:
                    children = [int(c) for c in f.read().split()]
                found += children
                stack += children
        except OSError:
            continue  # it ended meanwhile; its children are ours now, and the next look finds them
    return found


def memory_kib(pids: list[int], limit_kib: int) -> int:
    """Memory of a set of processes in KiB: the sum of resident sizes, or of proportional ones where the first is above the
    limit, since resident pages that processes share would count several times."""
    page_kib = os.sysconf("SC_PAGE_SIZE") // 1024
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as f:
                total += int(f.read().split()[1]) * page_kib
        except (OSError, IndexError):
            continue
    if total <= limit_kib:
        return total
    shared_out = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as f:
                shared_out += sum(int(line.split()[1]) for line in f if line.startswith(b"Pss:"))
        except FileNotFoundError:
            continue
        except ProcessLookupError:
            continue
        except OSError:
            return total
    return shared_out


class Task:
    """One run. spec: directory, script, log, env, wall_s, memory_mib (0: no limit), grace_s, cpus."""

    def __init__(self, run: str, spec: dict[str, Any]) -> None:
        self.run, self.spec = run, spec
        self.reason = ""
        self.code: int | None = None
        self.peak_kib = 0
        self.kill_at: int | None = None
        self.child = 0

    def claim(self) -> bool:
        """Take the start link; False where the supervisor took it, or took the run away."""
        self.start_us = time.time_ns() // 1000
        self.began = time.monotonic_ns()
        pid = os.getpid()
        try:
            os.symlink(f"{pid}.{start_ticks(pid)}.{boot_id()}.{self.start_us}", f"{self.run}/start")
        except (FileExistsError, FileNotFoundError):
            return False
        self.tell(f"started {self.start_us}\n")
        return True

    def tell(self, line: str) -> None:
        """To the supervisor, if it is there."""
        try:
            os.write(0, line.encode())
        except OSError:
            pass  # it reads the files when it is back

    def spawn(self) -> None:
        """Start the batch script as leader of its own process group; exit code 127 where that is impossible."""
        spec = self.spec
        try:
            if spec["cpus"]:
                os.sched_setaffinity(0, spec["cpus"])
            os.chdir(spec["directory"])
            os.umask(0o077)
            os.makedirs(os.path.dirname(spec["log"]), exist_ok=True)
            log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
            self.child = os.posix_spawn(
                "/bin/sh",
                ["sh", spec["script"]],
                spec["env"],
                file_actions=actions,
                setpgroup=0,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
            )
            os.close(log)
            os.close(null)
        except OSError as e:
            sys.stderr.write(f"{self.run}: cannot start: {e}\n")
            self.code, self.reason = 127, "failed"

    def reap(self) -> bool:
        """Collect what ended; False when no descendant is left."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.peak_kib = max(self.peak_kib, used.ru_maxrss)
            if pid == self.child:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code

    def stop(self, reason: str) -> None:
        """Ask the batch script to end, and set the time after which it is made to."""
        self.reason = reason
        self.kill_at = time.monotonic_ns() + int(self.spec["grace_s"] * 1e9)
        try:
            os.killpg(self.child, signal.SIGTERM)
        except OSError:
            pass  # it has ended; what it left behind has until kill_at

    def kill(self) -> None:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def watch(self) -> None:
        """Until every descendant is gone."""
        limit_kib = self.spec["memory_mib"] * 1024
        wall = self.began + int(self.spec["wall_s"] * 1e9)
        look = self.began + int(0.1e9)
        alive = self.began + int(ALIVE_S * 1e9)
        wake = [signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
        while self.reap():
            now = time.monotonic_ns()
            pause = ALIVE_S
            if not self.reason:
                if now >= wall:
                    self.stop("timeout")
                else:
                    pause = min(pause, (wall - now) / 1e9)
            if self.code is not None and not self.reason:
                self.kill()  # the batch script has ended: the allocation ends with it
                pause = 0.02
            elif self.kill_at is not None:
                if now >= self.kill_at:
                    self.kill()
                    pause = 0.02
                else:
                    pause = min(pause, (self.kill_at - now) / 1e9)
            if limit_kib and self.reason != "oom":
                if now >= look:
                    look = now + int(MEMORY_POLL_S * 1e9)
                    used = memory_kib(descendants(os.getpid()), limit_kib)
                    self.peak_kib = max(self.peak_kib, used)
                    if used > limit_kib:
                        self.reason, self.kill_at = "oom", now
                        continue
                pause = min(pause, (look - now) / 1e9)
            if now >= alive:
                alive = now + int(ALIVE_S * 1e9)
                os.utime(f"{self.run}/start", follow_symlinks=False)
            info = signal.sigtimedwait(wake, max(0.0, pause))
            if info is not None and info.si_signo != signal.SIGCHLD and not self.reason:
                self.stop("cancelled")

    def finish(self) -> None:
        """The exit record: complete on disk before it has its name."""
        end_us = self.start_us + (time.monotonic_ns() - self.began) // 1000
        code = self.code if self.code is not None else 137
        reason = self.reason or ("ok" if code == 0 else "failed")
        record = f"{self.start_us} {end_us} {code} {reason} {self.peak_kib // 1024}\n"
        try:
            fd = os.open(f"{self.run}/.exit", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(fd, record.encode())
            os.fsync(fd)
            os.rename(f"{self.run}/.exit", f"{self.run}/exit")
        except OSError as e:
            sys.stderr.write(f"{self.run}: cannot write the exit record: {e}\n")
        try:
            if os.path.getsize(self.spec["log"]) == 0:
                os.unlink(self.spec["log"])
        except OSError:
            pass
        self.tell("ended " + record)


def become_subreaper() -> None:
    """Orphans of this process's tree become its children. Without it a job that daemonises could outlive its end."""
    if _ctypes is not None:
        own: Any = None  # the running program itself
        prctl = _ctypes.dlsym(_ctypes.dlopen(own, 0), "prctl")
        _ctypes.call_function(prctl, (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    else:  # pragma: no cover
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main(run: str) -> None:
    blocked = [signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)  # they stay pending until `watch` asks for them
    parts = []
    while part := os.read(0, 65536):
        parts.append(part)
    spec = marshal.loads(b"".join(parts))  # a truncated one raises: the supervisor died, and this run never starts
    task = Task(run, spec)
    if not task.claim():
        return
    become_subreaper()
    task.spawn()
    task.watch()
    task.finish()


if __name__ == "__main__":
    main(sys.argv[1])

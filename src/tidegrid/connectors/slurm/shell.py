"""A shell that stays open: one start, many commands, answers that cannot be confused.

Every command runs in a subshell of a persistent clean `sh`; its output ends at a random mark that the command cannot know. A
shell that timed out, said too much or broke is thrown away with all that runs in it: a late answer is never taken for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tidegrid.connectors.contract import SiteUnsure

LIMIT = 64 << 20  # bytes of one answer
CHUNK = 1 << 16
OPEN_S = 20.0  # for a new shell to be begun
LOGIN_S = 90.0  # and for the account's profile to have run

# What the commands see, whatever the account's profile says. SLURM_BITSTR_LEN: array ranges are never cut short;
# SLURM_TIME_FORMAT: unix seconds, so that no time zone and no midnight is read into them.
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC0", "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
SETUP = "umask 077; tide_uid=$(id -u)"


@dataclass(frozen=True, slots=True)
class Output:
    """What a command left. Bytes that are no UTF-8 are kept as surrogates."""

    rc: int
    stdout: str
    stderr: str


class Shell(Protocol):
    async def run(
        self,
        command: str,
        stdin: str = "",
        *,
        timeout: float = 20.0,  # noqa: ASYNC109
        limit: int = LIMIT,
    ) -> Output:
        """Run POSIX shell text. SiteUnsure where no whole answer came within `timeout` seconds and `limit` bytes."""
        ...

    async def close(self) -> None: ...


class Lane:
    """One open shell, used by one command at a time. Streams are asyncio's or asyncssh's: both read and write alike."""

    def __init__(self, stdin: Any, stdout: Any, stderr: Any, kill: Any, wait: Any = None) -> None:
        self._stdin, self._stdout, self._stderr, self.kill, self.wait = stdin, stdout, stderr, kill, wait

    async def run(self, command: str, stdin: str, limit: int) -> Output:
        mark = secrets.token_hex(16)
        fed = (
            f"<<'{mark}in'\n{stdin}{'' if stdin.endswith(chr(10)) else chr(10)}{mark}in\n" if stdin else "</dev/null\n"
        )
        text = f"(\n{command}\n) {fed}printf '\\n%s %d\\n' {mark} $?; printf '\\n%s \\n' {mark} >&2\n"
        self._stdin.write(text.encode("utf-8", "surrogateescape"))
        await self._stdin.drain()
        (out, rest), (err, _) = await asyncio.gather(
            _until(self._stdout, mark, limit), _until(self._stderr, mark, limit)
        )
        return Output(int(rest), out, err)


async def _until(stream: Any, mark: str, limit: int) -> tuple[str, bytes]:
    """Text before the mark's line, and what follows the mark in it."""
    wanted = b"\n" + mark.encode() + b" "
    data = bytearray()
    while True:
        chunk = await stream.read(CHUNK)
        if not chunk:
            raise ConnectionResetError("the shell ended")
        data += chunk
        at = data.find(wanted, max(0, len(data) - len(chunk) - len(wanted)))
        if at >= 0 and (end := data.find(b"\n", at + len(wanted))) >= 0:
            return data[:at].decode("utf-8", "surrogateescape"), bytes(data[at + len(wanted) : end])
        if len(data) > limit + len(wanted) + 16:
            raise OverflowError(f"an answer of more than {limit} bytes")


class Shells:
    """A few lanes to one place; opened when needed. Subclasses say how."""

    where = "here"

    def __init__(self, *, lanes: int = 4) -> None:
        self._free = asyncio.Semaphore(lanes)
        self._idle: list[Lane] = []
        self._open: set[Lane] = set()
        self._late: list[asyncio.Task[Lane]] = []  # being opened for callers who have given up

    async def open(self) -> Lane:
        raise NotImplementedError

    async def run(
        self,
        command: str,
        stdin: str = "",
        *,
        timeout: float = 20.0,  # noqa: ASYNC109
        limit: int = LIMIT,
    ) -> Output:
        lane: Lane | None = None
        try:
            async with asyncio.timeout(timeout), self._free:
                lane = await self._lane()
                answer = await lane.run(command, stdin, limit)
            self._idle.append(lane)
            lane = None
            return answer
        except TimeoutError:
            raise SiteUnsure(f"{self.where}: no answer within {timeout:g} s") from None
        except OverflowError as e:
            raise SiteUnsure(f"{self.where}: {e}", silent=False) from None
        except (OSError, ValueError, EOFError) as e:
            raise SiteUnsure(f"{self.where}: {e}") from None
        finally:
            if lane is not None:
                self._drop(lane)

    async def close(self) -> None:
        for task in self._late:
            task.cancel()
        self._late.clear()
        for lane in list(self._open):
            self._drop(lane)
            if lane.wait is not None:
                await lane.wait()
        self._idle.clear()

    async def _lane(self) -> Lane:
        """A login may take longer than a command may: it goes on when its caller gives up, and the next caller gets it. Killing it
        each time would never end, and may leave locks of the site's profile behind."""
        if self._idle:
            return self._idle.pop()
        task = self._late.pop() if self._late else asyncio.create_task(self._opened())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                task.add_done_callback(lambda t: t.cancelled() or t.exception())
                self._late.append(task)
            raise

    async def _opened(self) -> Lane:
        async with asyncio.timeout(OPEN_S):
            lane = await self.open()
        self._open.add(lane)
        try:
            async with asyncio.timeout(LOGIN_S):
                await lane.run(SETUP, "", LIMIT)  # what a noisy profile printed ends up here
        except BaseException:
            self._drop(lane)
            raise
        # variables of SETUP must outlive its subshell
        lane._stdin.write(f"{SETUP}\n".encode())
        return lane

    def _drop(self, lane: Lane) -> None:
        self._open.discard(lane)
        with contextlib.suppress(ValueError):
            self._idle.remove(lane)
        lane.kill()


class LocalShell(Shells):
    """Shells on this machine, each in a process group of its own."""

    def __init__(self, *, environment: Mapping[str, str] | None = None, lanes: int = 4) -> None:
        super().__init__(lanes=lanes)
        self._environment = environment or {}

    async def open(self) -> Lane:
        kept = {k: os.environ[k] for k in ("PATH", "HOME", "USER", "LOGNAME") if k in os.environ}
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=kept | ENVIRONMENT | dict(self._environment),
            start_new_session=True,
            cwd="/",
        )

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            for number in range(3):
                pipe = process._transport.get_pipe_transport(number)  # type: ignore[attr-defined]
                pipe.close()

        return Lane(process.stdin, process.stdout, process.stderr, kill, process.wait)

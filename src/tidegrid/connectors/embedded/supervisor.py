"""The supervisor process: `python -m tidegrid.connectors.embedded.supervisor --home DIR`.

DIR holds `config.json` (see `config`), `lock`, `socket` (0600), `journal`, `run/`. Requests and answers are JSON, one a line:

    {"q": <any>, "op": "ping" | "submit" | "find" | "cancel" | "observe" | "stop", …}
    {"q": <same>, "ok": true, …}   or   {"q": <same>, "ok": false, "code": "site.<what>", "message": "…"}

Exit status: 0 stopped on request (jobs go on), 2 wrong settings, 4 refused to start (second supervisor, corrupt journal).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from tidegrid.connectors.embedded import config as settings
from tidegrid.connectors.embedded import shim
from tidegrid.connectors.embedded.checks import Refused
from tidegrid.connectors.embedded.cluster import Cluster
from tidegrid.domain.errors import Conflict, InvalidInput, TideError

LINE_LIMIT = 1 << 20


def lock(home: Path) -> int:
    """Hold the home until this process ends. Conflict (supervisor.locked) where another one does."""
    fd = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 100, 0).decode("ascii", "replace").split(" ")[0]
        os.close(fd)
        raise Conflict(
            "supervisor.locked",
            f"{home} has a supervisor already: process {holder}",
            hint="stop it, or use another home",
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()} {shim.start_ticks('self')} {shim.boot_id()}\n".encode(), 0)
    return fd


def listen(home: Path) -> socket.socket:
    """The 0600 socket; bound through a directory descriptor, since a socket's path holds 107 characters only."""
    directory = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink("socket", dir_fd=directory)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            sock.bind(f"/proc/self/fd/{directory}/socket")
        finally:
            os.umask(before)
        sock.listen(128)
        return sock
    finally:
        os.close(directory)


class Service:
    """Answers requests; one line each, in order on one connection, at the same time on several."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.stopping = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # cancelled when the supervisor stops: a caller sees the connection close
        with contextlib.suppress(OSError, ValueError, asyncio.CancelledError):
            while line := await reader.readline():
                writer.write(json.dumps(await self.answer(line), separators=(",", ":")).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def answer(self, line: bytes) -> dict[str, Any]:
        """Never raises for what a caller sent."""
        request: dict[str, Any] = {}
        try:
            parsed = json.loads(line)
            if not isinstance(parsed, dict):
                raise Refused("site.bad_request", "a request is a JSON object")
            request = parsed
            return {"q": request.get("q"), "ok": True, **await self._do(request)}
        except Refused as e:
            return {"q": request.get("q"), "ok": False, "code": e.code, "message": e.message}
        except TideError as e:
            return {"q": request.get("q"), "ok": False, "code": "site.bad_request", "message": str(e)}
        except ValueError as e:
            return {
                "q": request.get("q"),
                "ok": False,
                "code": "site.bad_request",
                "message": f"unreadable request: {e}",
            }

    async def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("op"):
            case "ping":
                return {"cluster": self.cluster.config.name, "pid": os.getpid(), "boot": self.cluster.state.boot}
            case "submit":
                return {"id": await self.cluster.submit(_field(request, "job", dict))}
            case "find":
                return {"job": self.cluster.find(_field(request, "name", str))}
            case "cancel":
                await self.cluster.cancel(_field(request, "name", str), _field(request, "tasks", str))
                return {}
            case "observe":
                return self.cluster.observe(_field(request, "cursor", str))
            case "stop":
                self.stopping.set()
                return {}
            case op:
                raise Refused("site.bad_request", f"unknown request {op!r}")


def _field(request: dict[str, Any], key: str, kind: type) -> Any:
    value = request.get(key)
    if not isinstance(value, kind):
        raise Refused("site.bad_request", f"{key} is missing, or is no {kind.__name__}")
    return value


async def run(home: Path, ready_fd: int) -> None:
    """Serve until told to stop."""
    config = settings.load(home / "config.json")
    held = lock(home)
    os.makedirs(config.root, mode=0o700, exist_ok=True)
    cluster = Cluster(home, config)
    await cluster.recover()
    service = Service(cluster)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stopping.set)
    server = await asyncio.start_unix_server(service.serve, sock=listen(home), limit=LINE_LIMIT)
    say(ready_fd, {"ok": True, "pid": os.getpid()})
    await service.stopping.wait()
    server.close()
    await cluster.journal.drain()
    cluster.journal.close()
    os.close(held)


def say(fd: int, message: dict[str, Any]) -> None:
    """Tell whoever started this process how it went, once."""
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.write(fd, json.dumps(message).encode() + b"\n")
            os.close(fd)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="supervisor", description="Run one embedded cluster.")
    parser.add_argument("--home", required=True, type=Path, help="directory with config.json")
    parser.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    os.umask(0o077)
    if options.ready_fd >= 0:
        os.set_inheritable(options.ready_fd, False)
    try:
        asyncio.run(run(options.home.resolve(), options.ready_fd))
    except TideError as e:
        print(f"supervisor: {e}", file=sys.stderr)
        kind = type(e).__name__
        say(options.ready_fd, {"ok": False, "kind": kind, "code": e.code, "message": e.message, "hint": e.hint})
        return e.exit_status
    except OSError as e:
        broken = InvalidInput(
            "supervisor.home", f"{options.home}: {e.strerror or e}", hint="check the directory and its disk"
        )
        print(f"supervisor: {broken}", file=sys.stderr)
        say(
            options.ready_fd,
            {"ok": False, "kind": "InvalidInput", "code": broken.code, "message": broken.message, "hint": broken.hint},
        )
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())

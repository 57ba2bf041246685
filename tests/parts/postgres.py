"""A private PostgreSQL for a test session: its own cluster in a temporary directory, on a Unix socket, gone at the end.

The server does what a production one does: fsync is on. It refuses to run as root, so root lends it another account.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

_PDEATHSIG = 1
_USER = "tidegrid"


def find_binaries() -> Path | None:
    """The directory of initdb and postgres: the newest Debian one, or wherever PATH has them."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parent.parent.name))
    found = debian[-1] if debian else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class Postgres:
    """One server. `database()` makes a fresh database and gives its URL."""

    def __init__(self, binaries: Path, directory: Path) -> None:
        self.binaries, self.directory = binaries, directory
        self.data = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self._account: dict[str, Any] = {}
        if os.getuid() == 0:
            entry = pwd.getpwnam(_account())
            self._account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(directory, entry.pw_uid, entry.pw_gid)

    def create(self) -> None:
        """Make the cluster and start its server."""
        self._run("initdb", "-D", str(self.data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    def _run(self, name: str, *args: str) -> None:
        command = [str(self.binaries / name), *args]
        done = subprocess.run(
            command,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
            **self._account,
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [str(self.binaries / "postgres"), "-D", str(self.data), "-k", str(self.directory)]
        command += [
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=on",
            "-c",
            "max_connections=60",
            "-c",
            "log_min_messages=fatal",
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.directory, stdout=log, stderr=log, preexec_fn=_die_with_parent,
                start_new_session=True, env=_environment(), **self._account,
            )  # fmt: skip
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self._conninfo("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise RuntimeError(f"PostgreSQL did not start: {(self.directory / 'log').read_text()}") from None
                time.sleep(0.05)

    def stop(self, *, crash: bool = False) -> None:
        """Shut down; crash: at once, without a checkpoint, as after a power cut."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait(60)
        self._process = None

    def database(self, template: str = "template1") -> str:
        """A fresh database, a copy of `template`; its URL."""
        self._count += 1
        name = f"t{self._count}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        self.sql(f'DROP DATABASE IF EXISTS "{url.partition("?")[0].rpartition("/")[2]}" WITH (FORCE)')

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://{_USER}@/{name}?host={self.directory}"

    def sql(self, statement: str, name: str = "postgres") -> None:
        """One statement outside a transaction."""
        with psycopg.connect(self._conninfo(name), autocommit=True) as conn:
            conn.execute(statement.encode())

    def _conninfo(self, name: str) -> str:
        return f"host={self.directory} user={_USER} dbname={name}"


def _account() -> str:
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError("root has no other account to run PostgreSQL as")


def _environment() -> dict[str, str]:
    """Without PG* variables that would point elsewhere."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}


def _die_with_parent() -> None:
    """A killed test run takes its server along."""
    ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's server; the test is skipped where PostgreSQL is not installed."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql-15)")
    directory = Path(tempfile.mkdtemp(prefix="tide-pg-"))
    server = Postgres(binaries, directory)
    try:
        server.create()
        yield server
    finally:
        server.stop(crash=True)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def private_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server of the test's own, to be stopped, crashed and started again."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql-15)")
    directory = Path(tempfile.mkdtemp(prefix="tide-pg-"))
    server = Postgres(binaries, directory)
    try:
        server.create()
        yield server
    finally:
        server.stop(crash=True)
        shutil.rmtree(directory, ignore_errors=True)

"""A server's home directory: lock, settings, its name, the operator's token, where the server listens; and the data
directory, by default the same, which several servers of one network share: blobs, results, embedded clusters."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tidegrid.domain.errors import Conflict, InvalidInput, NoSpace

OPERATOR_ORG = "operator"
_SETTINGS = ("data", "database", "host", "port", "settings")


def default_home() -> Path:
    """`TIDE_HOME`, or `.tidegrid` in the user's home directory."""
    return Path(os.environ.get("TIDE_HOME") or Path.home() / ".tidegrid")


def prepare(home: Path, data: Path | None = None) -> None:
    """Make the directories for their owner only. NoSpace or InvalidInput (home.unusable) where that fails."""
    data = data or home
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("blobs", "results", "clusters"):
            (data / name).mkdir(exist_ok=True, mode=0o700)
    except OSError as e:
        kind = NoSpace if e.errno == 28 else InvalidInput
        raise kind("home.unusable", f"{home}: {e.strerror}", hint="choose another with --home") from None


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home for this process. Conflict (server.locked) where another server has it."""
    path = home / "server.lock"
    with open(path, "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise Conflict(
                "server.locked",
                f"another server (pid {pid}) is running on {home}",
                hint="use that one, stop it, or choose another --home",
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def settings(home: Path) -> dict[str, Any]:
    """`config.yaml` of the home; empty where there is none. InvalidInput (config.invalid) names what is wrong."""
    path = home / "config.yaml"
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as e:
        raise InvalidInput("config.invalid", f"{path}: {' '.join(str(e).split())}") from None
    if not isinstance(found, dict) or (unknown := set(found) - set(_SETTINGS)):
        what = f"unknown setting {sorted(map(str, unknown))[0]!r}" if isinstance(found, dict) else "not a mapping"
        raise InvalidInput("config.invalid", f"{path}: {what}", hint=f"settings: {', '.join(_SETTINGS)}")
    return found


def write_secret(path: Path, text: str) -> None:
    """Atomically, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def admin_token(home: Path) -> tuple[str, str]:
    """(the operator's secret, its SHA-256); made at the first start and kept in `admin.token`, mode 0600."""
    path = home / "admin.token"
    if not path.exists():
        write_secret(path, f"tide_{secrets.token_urlsafe(32)}\n")
    os.chmod(path, 0o600)
    secret = path.read_text().strip()
    return secret, hashlib.sha256(secret.encode()).hexdigest()


def server_name(home: Path) -> str:
    """How this server is called in the database: made at the first start, kept in `server.name`."""
    return _kept(home / "server.name", lambda: f"{host()}-{secrets.token_hex(3)}")


def data_id(data: Path) -> str:
    """What tells this data directory from every other, wherever it is mounted; kept in `data.id`."""
    return _kept(data / "data.id", lambda: secrets.token_hex(8))


def host() -> str:
    return socket.gethostname().split(".")[0].lower() or "host"


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The word in a file; made, complete or not at all, by the first who asks."""
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        write_secret(temporary, make() + "\n")
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text().strip()


def announce(home: Path, url: str) -> None:
    """Say where the server listens, for the CLI on the same machine."""
    write_secret(home / "server.json", json.dumps({"url": url, "pid": os.getpid()}) + "\n")

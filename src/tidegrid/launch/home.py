"""A server's home directory: lock, settings, the operator's token, where the server listens."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tidegrid.domain.errors import Conflict, InvalidInput, NoSpace

OPERATOR_ORG = "operator"
_SETTINGS = ("database", "host", "port", "settings")


def default_home() -> Path:
    """`TIDE_HOME`, or `.tidegrid` in the user's home directory."""
    return Path(os.environ.get("TIDE_HOME") or Path.home() / ".tidegrid")


def prepare(home: Path) -> None:
    """Make the directory for its owner only. NoSpace or InvalidInput (home.unusable) where that fails."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("blobs", "results", "clusters"):
            (home / name).mkdir(exist_ok=True, mode=0o700)
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


def announce(home: Path, url: str) -> None:
    """Say where the server listens, for the CLI on the same machine."""
    write_secret(home / "server.json", json.dumps({"url": url, "pid": os.getpid()}) + "\n")

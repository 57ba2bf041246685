"""The home's secrets: put there, listed, removed. A value is never shown; of a key, its public half is."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from tidegrid.domain.errors import Conflict, InvalidInput, NotFound
from tidegrid.launch.home import write_secret

_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?\Z")
MOST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Secret:
    """kind: `ssh key`, `text`, or why it cannot be used; public: a key's public half, as authorized_keys takes it."""

    name: str
    kind: str
    fingerprint: str = ""
    public: str = ""


def put(home: Path, name: str, text: str, *, replace: bool = False) -> Secret:
    """InvalidInput (secret.name, secret.empty, secret.unusable, secret.passphrase), Conflict (secret.exists)."""
    path = _path(home, name)
    if not text.strip() or len(text) > MOST_BYTES:
        raise InvalidInput("secret.empty", f"{name} would be empty, or above {MOST_BYTES} bytes", hint="give the file of the key")
    found = _look(name, text)
    if not replace and path.exists():
        raise Conflict("secret.exists", f"there is a secret {name!r} already", hint="say --replace, or choose another name")
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    os.chmod(path.parent, 0o700)
    write_secret(path, text if text.endswith("\n") else text + "\n")
    return found


def new(home: Path, name: str) -> Secret:
    """A new ed25519 key without a passphrase; its public half goes to the centre."""
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519", comment=f"tidegrid-{name}")
    return put(home, name, key.export_private_key("openssh").decode())


def listed(home: Path) -> list[Secret]:
    """All of them, by name."""
    directory = home / "secrets"
    out = []
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        if not _NAME.match(path.name) or not path.is_file():
            continue
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            out.append(Secret(path.name, "not used: others may read it"))
            continue
        try:
            out.append(_look(path.name, path.read_text(errors="replace")))
        except InvalidInput as e:
            out.append(Secret(path.name, f"not used: {e.code}"))
    return out


def remove(home: Path, name: str) -> None:
    """NotFound (secret.missing)."""
    try:
        _path(home, name).unlink()
    except FileNotFoundError:
        raise NotFound("secret.missing", f"there is no secret {name!r}", hint="`tide secret list`") from None


def _path(home: Path, name: str) -> Path:
    if not _NAME.match(name):
        raise InvalidInput("secret.name", f"{name!r} is no name of a secret", hint="lower-case letters, digits, `.`, `_`, `-`; at most 63")
    return home / "secrets" / name


def _look(name: str, text: str) -> Secret:
    """What kind of secret it is. What looks like a key must be one that a server can use."""
    from tidegrid.connectors.slurm.ssh import LoginFailed, private_key

    if "KEY" not in text.partition("\n")[0].upper() and not text.startswith(("ssh-", "ecdsa-")):
        return Secret(name, "text")
    try:
        key = private_key(text + "\n")
    except LoginFailed as e:
        raise InvalidInput(e.code, f"{name}: {e.message}", hint=e.hint) from None
    public = key.convert_to_public().export_public_key("openssh").decode().strip()
    return Secret(name, "ssh key", key.get_fingerprint(), public)

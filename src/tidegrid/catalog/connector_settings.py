"""What a network file may say in `connector:`, kind by kind. Plain values out, so that they are stored and hashed.

    connector: {kind: embedded, queue: easy, cpus: [0, 1, 2, 3]}
    connector: {kind: slurm, host: login.example.org, user: tide, identity: alpha-key, host_keys: [ssh-ed25519 AAAA…],
                root: /home/tide/tidegrid}
    connector: {kind: slurm, root: /srv/tidegrid}        # no host: Slurm's commands of the server's own machine
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidegrid.catalog.network_reader import Table

_HOST = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,253}[A-Za-z0-9])?\Z")
_USER = re.compile(r"^[a-z_][a-z0-9_.-]{0,31}\Z")
_SECRET_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?\Z")
_HOST_KEY = re.compile(r"^(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}\Z")
_WORD = re.compile(r"^[A-Za-z0-9_.:&|*\[\]()+-]{1,200}\Z")
_OPTION = re.compile(r"^--[a-z][a-z-]*(?:=[^\s'\"`$;&|<>\\]*)?\Z")
ENVIRONMENTS = ("clean", "login")


def slurm(t: Table) -> dict[str, Any]:
    """Settings of a Slurm cluster. host: empty for this machine; identity: the *name* of the private key, which the server
    looks up among its secrets; host_keys: the login node's public keys, of which one must be shown; root: absolute; shared: every
    organisation's jobs may run as `user` (so it is unless said otherwise); if not, only through accounts bound to them."""
    out: dict[str, Any] = {
        "root": t.get("root", _absolute) or "/",
        "slurm_conf": t.get("slurm_conf", _absolute, ""),
        "path": t.get("path", _path, ""),
        "account": t.get("account", _word, ""),
        "qos": t.get("qos", _word, ""),
        "constraint": t.get("constraint", _word, ""),
        "options": t.get("options", _list(_option), []),
        "environment": t.get("environment", _one_of(ENVIRONMENTS), "clean"),
    }
    if t.has("shared"):
        out["shared"] = t.get("shared", _truth)
    if t.has("host"):
        out |= {
            "host": t.get("host", _matching(_HOST, "host name")),
            "port": t.get("port", _port, 22),
            "user": t.get("user", _matching(_USER, "Unix account")),
            "identity": t.get("identity", _matching(_SECRET_NAME, "name of a secret")),
            "host_keys": t.get("host_keys", _list(_matching(_HOST_KEY, "public host key (`ssh-ed25519 AAAA…`)"), least=1)),
        }
    return {k: v for k, v in out.items() if v not in ("", [], None)}


def _matching(pattern: re.Pattern[str], what: str) -> Any:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise ValueError(f"{value!r} is no {what}")
        return value

    return read


_word = _matching(_WORD, "name")
_option = _matching(_OPTION, "long option of sbatch (`--name=value`)")


def _absolute(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or ".." in value.split("/") or not value.isprintable():
        raise ValueError(f"{value!r} is no absolute path")
    if len(value) > 255:
        raise ValueError("the path is longer than 255 characters; job directories come below it")
    return value.rstrip("/") or "/"


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _path(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is wanted: directories with colons between them")
    return ":".join(_absolute(d) for d in value.split(":"))


def _port(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise ValueError(f"{value!r} is no port")
    return value


def _one_of(choices: tuple[str, ...]) -> Any:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return str(value)

    return read


def _list(read: Any, *, least: int = 0) -> Any:
    def read_all(value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError("a list is wanted" + (f", of at least {least}" if least else ""))
        return [read(v) for v in value]

    return read_all

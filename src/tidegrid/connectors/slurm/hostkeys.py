"""The keys that a login node shows, before anybody trusts them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from tidegrid.connectors.slurm.ssh import LoginFailed, reason

_KINDS = (("ssh-ed25519",), ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"), ("rsa-sha2-512", "rsa-sha2-256"))


@dataclass(frozen=True, slots=True)
class HostKey:
    """line: `ssh-ed25519 AAAA…`; fingerprint: as `ssh-keygen -l` writes it."""

    line: str
    fingerprint: str


def host_key(line: str) -> HostKey:
    """ValueError where the line is no public key."""
    words = line.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
        size = int.from_bytes(blob[:4], "big")
        if len(words) < 2 or blob[4 : 4 + size].decode("ascii") != words[0]:
            raise ValueError
    except (IndexError, ValueError, binascii.Error):
        raise ValueError(f"{line[:60]!r} is no public host key (`ssh-ed25519 AAAA…`)") from None
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return HostKey(f"{words[0]} {words[1]}", f"SHA256:{digest}")


async def shown(host: str, port: int, wanted: Sequence[str] = (), *, seconds: float = 10.0) -> tuple[HostKey, ...]:
    """The key the host prefers; where that is none of those wanted, its keys of other kinds too: few connections, for a
    login node may shut out who connects and does not log in. LoginFailed where there is none; ValueError as in `chosen`."""
    first = await _one(host, port, [a for kind in _KINDS for a in kind], seconds)
    found = [first]
    for kind in _KINDS:
        if not wanted or chosen(found, wanted):
            break
        try:
            found.append(await _one(host, port, list(kind), seconds))
        except LoginFailed:
            continue  # it has no key of this kind
    return tuple(dict.fromkeys(found))


async def _one(host: str, port: int, kinds: list[str], seconds: float) -> HostKey:
    import asyncssh

    try:
        async with asyncio.timeout(seconds):
            key = await asyncssh.get_server_host_key(host, port, server_host_key_algs=kinds, config=None)
    except TimeoutError:
        raise LoginFailed("cluster.no_connection", f"{host}:{port}: no answer within {seconds:g} s") from None
    except (OSError, asyncssh.Error, ValueError) as e:
        raise LoginFailed(reason(e), f"{host}:{port}: {e or type(e).__name__}") from None
    if key is None:
        raise LoginFailed("cluster.ssh", f"{host}:{port}: it shows no host key")
    return host_key(key.export_public_key("openssh").decode())


def chosen(seen: Sequence[HostKey], wanted: Sequence[str]) -> tuple[HostKey, ...]:
    """Those of the keys shown that `wanted` (keys, or fingerprints) names. ValueError for what is neither."""
    prints = {w if w.startswith("SHA256:") else host_key(w).fingerprint for w in wanted}
    return tuple(k for k in seen if k.fingerprint.rstrip("=") in {p.rstrip("=") for p in prints})

"""Who does what, where several servers share one database: leases with fencing tokens, and a fair share of them.

A role (`submit`, `cluster:<name>`) is held by at most one server at a time. Whoever takes it gets a token one higher than any
before, and every change made in the role is made only while that token is the newest. Times are µs on the database's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

SUBMIT = "submit"
_CLUSTER = "cluster:"


def cluster_role(cluster: str) -> str:
    """The role of whoever sends to a cluster, looks at it and fetches from it."""
    return f"{_CLUSTER}{cluster}"


def cluster_of(role: str) -> str:
    """The cluster of a cluster's role, empty for any other role."""
    return role[len(_CLUSTER) :] if role.startswith(_CLUSTER) else ""


@dataclass(frozen=True, slots=True)
class Lease:
    """holder: a server's name, empty while nobody has it; token: of the last holder, never lower than before."""

    role: str
    holder: str = ""
    token: int = 0
    expires_at: int = 0

    def held(self, now: int) -> bool:
        return bool(self.holder) and self.expires_at > now


@dataclass(frozen=True, slots=True)
class Server:
    """A server that said a moment ago that it lives. able: roles it could take."""

    name: str
    able: frozenset[str] = frozenset()


def take(lease: Lease, server: str, now: int, length: int) -> Lease | None:
    """The lease in this server's hands; None while somebody's runs."""
    if lease.held(now):
        return None
    return replace(lease, holder=server, token=lease.token + 1, expires_at=now + length)


def renew(lease: Lease, server: str, token: int, now: int, length: int) -> Lease | None:
    """The lease extended; None where it ran out or has another holder: then nothing is extended, it is taken anew."""
    if lease.holder != server or lease.token != token or not lease.held(now):
        return None
    return replace(lease, expires_at=now + length)


def give_up(lease: Lease, server: str, token: int, now: int) -> Lease | None:
    """The lease with nobody; None where it was not this server's any more. The token stays: it only ever grows."""
    if lease.holder != server or lease.token != token:
        return None
    return replace(lease, holder="", expires_at=now)


def share(roles: Iterable[str], leases: Collection[Lease], servers: Collection[Server], now: int) -> dict[str, str]:
    """Role -> the server that ought to have it: every server computes the same from the same rows.

    A role stays where it is unless its holder has two more than another server that could take it; a free one goes to the
    server with the fewest. Roles that no living server could take are left out.
    """
    able = {r: sorted(s.name for s in servers if r in s.able) for r in sorted(set(roles))}
    holder = {x.role: x.holder for x in leases if x.held(now)}
    mine: dict[str, list[str]] = {s.name: [] for s in servers}
    free = []
    for role, names in able.items():
        if holder.get(role) in names:
            mine[holder[role]].append(role)
        elif names and role not in holder:  # one that a server no longer counted still holds has to run out first
            free.append(role)
    for role in sorted(free, key=lambda r: (len(able[r]), r)):
        fewest = min(able[role], key=lambda n: (len(mine[n]), n))
        mine[fewest].append(role)
    while (move := _unfair(mine, able)) is not None:
        role, before, after = move
        mine[before].remove(role)
        mine[after].append(role)
    return {role: name for name, roles_ in mine.items() for role in roles_}


def _unfair(mine: dict[str, list[str]], able: dict[str, list[str]]) -> tuple[str, str, str] | None:
    """(role, from, to) where moving it makes two servers more alike."""
    for before in sorted(mine, key=lambda n: (-len(mine[n]), n)):
        for role in sorted(mine[before], reverse=True):
            to = min(able[role], key=lambda n: (len(mine[n]), n))
            if len(mine[before]) - len(mine[to]) >= 2:
                return role, before, to
    return None

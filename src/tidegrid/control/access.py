"""Who may use which cluster now, and under which Unix account.

A customer with an account at a cluster that is bound to it runs there under that account only. One without runs under the
cluster's own account where the network file shares it (as it does unless it says `shared: false`), and else not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from tidegrid.catalog.network_model import Network
from tidegrid.control.context import Context
from tidegrid.store import site_accounts

Row = Mapping[Any, Any]


@dataclass(frozen=True, slots=True)
class Bound:
    """An account bound now; project: (id, name), None: all of the organisation's."""

    cluster: str
    user: str
    org_id: int
    project: tuple[int, str] | None


@dataclass
class Access:
    """private: clusters whose own account is nobody's; mute: (cluster, user) of accounts that do not answer."""

    bound: tuple[Bound, ...] = ()
    private: frozenset[str] = frozenset()
    mute: frozenset[tuple[str, str]] = frozenset()
    _closed: dict[tuple[int, int | str], tuple[str, ...]] = field(default_factory=dict)

    def closed(self, org_id: int, project: int | str) -> tuple[str, ...]:
        """Clusters that a job of this project (its id, or its name) may not use now."""
        key = (org_id, project)
        if key not in self._closed:
            self._closed[key] = self._judge(org_id, project)
        return self._closed[key]

    def _judge(self, org_id: int, project: int | str) -> tuple[str, ...]:
        if not self.bound and not self.private:
            return ()
        own: dict[str, list[str]] = {}
        for b in self.bound:
            if b.org_id == org_id and (b.project is None or project in b.project):
                own.setdefault(b.cluster, []).append(b.user)
        deaf = {c for c, users in own.items() if all((c, u) in self.mute for u in users)}
        return tuple(sorted((self.private - set(own)) | deaf))


async def access(ctx: Context, network: Network | None) -> Access:
    """As things stand now."""
    rows = await ctx.store.read(lambda c: site_accounts.open_now(c, ctx.now()))
    bound = tuple(
        Bound(r["cluster"], r["unix_user"], r["org_id"], (r["project_id"], r["project"]) if r["project_id"] else None)
        for r in rows
    )
    mute = frozenset((c, u) for c in ctx.connectors for u in troubles(ctx, c))
    return Access(bound, private_clusters(network), mute)


def private_clusters(network: Network | None) -> frozenset[str]:
    return frozenset(c.name for c in network.clusters if c.settings.get("shared") is False) if network else frozenset()


def troubles(ctx: Context, cluster: str) -> Mapping[str, str]:
    """Accounts that do not answer, and why."""
    connector = ctx.connectors.get(cluster)
    found: Mapping[str, str] = getattr(getattr(connector, "files", None), "trouble", {})
    return found


def pick(
    conn: Connection, ctx: Context, cluster: str, private: Iterable[str], org_id: int, project_id: int, now: int
) -> tuple[Row | None, str]:
    """(account for a new attempt, None for the cluster's own; why there is none, or ""). Inside the transaction that makes the
    attempt: a release waits for it, or it sees the release."""
    mute = tuple(troubles(ctx, cluster))
    row = site_accounts.choose(conn, cluster, org_id, project_id, now, avoid=mute)
    if row is not None:
        return row, ""
    if mute and site_accounts.choose(conn, cluster, org_id, project_id, now) is not None:
        return None, f"waits for its account at {cluster}, which does not answer"
    if cluster in private:
        return None, f"waits for an account at {cluster}: none is bound to it"
    return None, ""

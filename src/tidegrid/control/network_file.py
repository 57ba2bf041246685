"""`tide network apply`: the network document into force, whole and at once, or not at all."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection

from tidegrid.catalog import network as catalog
from tidegrid.catalog.network import Change, Network
from tidegrid.catalog.yamldoc import canonical
from tidegrid.control.context import Context
from tidegrid.domain.errors import Conflict, NotFound
from tidegrid.store import attempts, clusters, events, networks


async def apply(ctx: Context, text: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Put `text` into force: {hash, changed, dry_run, changes: [{kind, path, old, new, text}], clusters: {new, removed}}.

    The same network again changes nothing; with `dry_run` nothing is written. InvalidInput (network.invalid) with every
    problem; Conflict (network.in_use) where a cluster would go that attempts are still live on.
    """
    wanted = catalog.parse(text)
    if dry_run:
        return await ctx.store.read(lambda c: _apply(c, wanted, text, 0, dry_run=True))
    return await ctx.write(lambda c: _apply(c, wanted, text, ctx.now(), dry_run=False))


async def show(ctx: Context) -> dict[str, Any]:
    """{hash, applied_at (µs), source, network}; NotFound (network.none) before the first."""
    row = await ctx.store.read(networks.current)
    if row is None:
        raise NotFound("network.none", "no network was applied yet", hint="`tide network apply network.yaml`")
    return {
        "hash": row["hash"],
        "applied_at": row["applied_at"],
        "source": row["source"],
        "network": json.loads(row["body"]),
    }


def current(conn: Connection) -> Network | None:
    """The network in force."""
    row = networks.current(conn)
    return catalog.from_json(json.loads(row["body"])) if row is not None else None


def _apply(conn: Connection, wanted: Network, text: str, now: int, *, dry_run: bool) -> dict[str, Any]:
    before = current(conn)
    changes = catalog.diff(before, wanted)
    new = {c.name for c in wanted.clusters}
    old = {c.name for c in before.clusters} if before else set()
    _refuse_removal(conn, before, wanted)
    view = {
        "hash": wanted.hash,
        "changed": bool(changes),
        "dry_run": dry_run,
        "changes": [_line(c) for c in changes],
        "clusters": {"new": sorted(new - old), "removed": sorted(old - new)},
    }
    if dry_run or not changes:
        return view
    networks.save(conn, wanted.hash, canonical(catalog.to_json(wanted)), text, now)
    clusters.ensure(conn, new)
    body = {"hash": wanted.hash, "changes": [str(c) for c in changes[:100]], "count": len(changes)}
    events.append(conn, kind="network.applied", at=now, body=body)
    return view


def _line(change: Change) -> dict[str, Any]:
    return {"kind": change.kind, "path": change.path, "old": change.old, "new": change.new, "text": str(change)}


def _refuse_removal(conn: Connection, before: Network | None, wanted: Network) -> None:
    """Nothing live may lose the cluster, or the partition, it is on."""
    if before is None:
        return
    kept = {(c.name, p.name) for c, p in wanted.partitions()}
    names = {c.name for c in wanted.clusters}
    busy: dict[str, int] = {}
    for cluster, partition in before.partitions():
        if (cluster.name, partition.name) in kept:
            continue
        live = [r for r in attempts.live_on(conn, cluster.name)
                if cluster.name not in names or r.row["partition"] == partition.name]  # fmt: skip
        if live:
            busy[f"{cluster.name}/{partition.name}" if cluster.name in names else cluster.name] = len(live)
    if busy:
        named = ", ".join(f"{name} ({count} live)" for name, count in sorted(busy.items()))
        raise Conflict(
            "network.in_use",
            f"cannot remove {named}: attempts are live there",
            hint="drain it (`tide cluster drain`) and apply again when its jobs have ended, or declare it dead",
            details={"live": busy},
        )

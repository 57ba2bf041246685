"""Which sites take guests now: those that promise their own users something (`fair` in the network file) take them only while these have
gained by the network. `scheduling.fairness` says what that means; here are the stored jobs it is made from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tidegrid.catalog.network_model import Network, Site
from tidegrid.control.context import Context
from tidegrid.domain.clock import SECOND
from tidegrid.domain.ranges import expand
from tidegrid.scheduling import fairness
from tidegrid.scheduling.fairness import Own, Standing
from tidegrid.store import attempts

Row = Mapping[Any, Any]
LOOK_S = 60  # between two looks: a quarter of a second each for 5,000 tasks that wait half an hour alone
WINDOW_S = 7 * 86_400
LATEST = 5_000  # tasks; those before weigh no more


@dataclass(frozen=True, slots=True)
class Guests:
    """The sites that promise their own users something, as they stood at `at` (µs), and whose home each is."""

    at: int
    sites: tuple[tuple[Site, tuple[str, ...], Standing], ...] = ()

    def unwelcome(self, org: str) -> tuple[str, ...]:
        """Clusters that take no job of this organisation now."""
        return tuple(c for site, clusters, s in self.sites if org not in site.home_of and not s.takes_guests for c in clusters)

    def view(self) -> list[dict[str, Any]]:
        return [
            {
                "site": site.name, "clusters": list(clusters), "home_of": list(site.home_of), "fair": site.fair, "takes_guests": s.takes_guests,
                "jobs": s.jobs, "waited_s": round(s.waited_s, 1), "alone_s": round(s.alone_s, 1), "gained_s": round(s.alone_s - s.waited_s, 1),
                "slowdown": round(s.slowdown, 3), "alone_slowdown": round(s.alone_slowdown, 3), "lends_s": round(fairness.LOAN_S * s.processors, 1),
            }
            for site, clusters, s in self.sites
        ]  # fmt: skip


async def look(ctx: Context, network: Network | None) -> Guests:
    """As things stand now."""
    now = ctx.now()
    sites = [s for s in network.sites if s.fair] if network is not None else []
    if network is None or not sites:
        return Guests(now)
    out = []
    for site in sites:
        rows = await ctx.store.read(partial(attempts.own_runs, orgs=site.home_of, since=now - WINDOW_S * SECOND, limit=LATEST))
        partitions = [p for c in network.clusters if c.site == site.name for p in c.partitions]
        capacity = [sum(p.nodes * x for p, x in zip(partitions, per_node, strict=True)) for per_node in (
            [p.cores for p in partitions], [p.memory_mib for p in partitions], [p.gpus for p in partitions],
        )]  # fmt: skip
        standing = await asyncio.to_thread(fairness.standing, own(rows), capacity, now // SECOND, processors=capacity[0], by=site.fair)
        out.append((site, tuple(c.name for c in network.clusters if c.site == site.name), standing))
    return Guests(now, tuple(out))


def own(rows: Sequence[Row], most: int = LATEST) -> Own:
    """A job's task as it waited and ran, from rows of `attempts.own_runs`: since its first attempt, from its first start to its last end;
    so many tasks at most, the latest."""
    tasks: dict[tuple[int, int], dict[str, Any]] = {}
    seen: set[int] = set()
    for r in rows:
        if len(tasks) >= most:
            break
        for task in {*([r["task"]] if r["task"] is not None else ()), *(expand(r["tasks"]) if r["id"] not in seen else ())}:
            one = tasks.setdefault((r["job_id"], task), {"submit": r["created_at"], "start": None, "end": 0, "open": False, "row": r})
            one["open"] = one["open"] or (r["open"] and not r["done"])
            one["submit"] = min(one["submit"], r["created_at"])
            if task == r["task"] and r["started_at"] is not None:
                one["start"] = min(one["start"] or r["started_at"], r["started_at"])
                one["end"] = None if r["ended_at"] is None or one["end"] is None else max(one["end"], r["ended_at"])
        seen.add(r["id"])
    kept = [t for t in tasks.values() if t["start"] is not None or t["open"]]

    def seconds(name: str) -> Any:
        return np.array([t[name] // SECOND if t[name] else -1 for t in kept], np.int64)

    return Own(
        seconds("submit"), seconds("start"), seconds("end"), np.array([t["row"]["wall_s"] for t in kept], np.int64),
        np.array([[t["row"][k] for k in ("cores", "memory_mib", "gpus")] for t in kept], np.int64).reshape(len(kept), 3),
    )  # fmt: skip

"""The order that a policy would give another scheduler's waiting jobs, and the nice values that bring it about.

What steers is the policy's order alone: the same score that `scheduling.kernel` ranks its own queue by. Backfill stays the
other scheduler's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidegrid.scheduling.kernel import build, heads, layout, runs
from tidegrid.scheduling.kernel.policy import Policy
from tidegrid.scheduling.kernel.steps import enter


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits. since: when it could first have started, unix seconds; limit_s: its time limit; priority: as its
    scheduler has it now, nice in it; nice: now; own_nice: what it had before anybody steered."""

    id: str
    user: str
    since: int
    limit_s: int
    cores: int
    priority: int
    nice: int = 0
    own_nice: int = 0

    @property
    def base(self) -> int:
        """Its priority if it had been left alone."""
        return self.priority + self.nice - self.own_nice


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has ended, from which run times are learnt; in order of their ends."""

    user: str
    limit_s: int
    ran_s: int


@dataclass(frozen=True, slots=True)
class Change:
    """nice: what the job is to have; own_nice: what it gets back."""

    id: str
    nice: int
    own_nice: int


def order(policy: Policy, now_s: int, cores: int, waiting: Sequence[Waiting], past: Sequence[Ended]) -> list[int]:
    """Indices of the waiting jobs of a machine of so many cores, who comes first first. Ties: who waits longer, then as given."""
    if not waiting:
        return []
    users = {name: i for i, name in enumerate(sorted({*(w.user for w in waiting), *(p.user for p in past)}))}
    n = len(past)
    ids = np.array([users[p.user] for p in past] + [users[w.user] for w in waiting], np.int64)
    limit = np.array([max(p.limit_s, 1) for p in past] + [max(w.limit_s, 1) for w in waiting], np.int64)
    since = np.array([*([0] * n), *(min(w.since, now_s) for w in waiting)], np.int64)
    need = np.array([*([1] * n), *(max(w.cores, 1) for w in waiting)], np.int64)
    table = build.table(since, limit, None, need, ids)
    st = build.build(table, np.array([[max(cores, 1)]]), [policy], users=len(users), at_once=max(len(waiting), 1))
    for j, p in enumerate(past):
        runs.learn(st, 0, j, p.ran_s)
    for j in range(n, n + len(waiting)):
        enter(st, 0, j)
    guard = float(st.num[layout.policy_at(st, 0) + layout.GUARD])

    def key(i: int) -> tuple[int, float, int, int]:
        old = guard > 0 and now_s - waiting[i].since > guard
        return (0, 0.0, waiting[i].since, i) if old else (1, heads.score_of(st, 0, n + i, now_s), waiting[i].since, i)

    return sorted(range(len(waiting)), key=key)


def plan(wanted: Sequence[int], waiting: Sequence[Waiting], bound: int) -> list[Change]:
    """The nice values under which the jobs come in the order `wanted`, only those that change.

    The jobs trade their own priorities among each other, so that what waits elsewhere stands to all of them as it did. bound: no
    nice is further from a job's own than this; where that is too little, the order is kept as far as it goes.
    """
    levels = sorted((waiting[i].base for i in wanted), reverse=True)
    out, last = [], None
    for level, i in zip(levels, wanted, strict=True):
        w = waiting[i]
        level = level if last is None else min(level, last - 1)
        shift = min(max(w.base - level, -bound), bound)
        last = w.base - shift
        if w.own_nice + shift != w.nice:
            out.append(Change(w.id, w.own_nice + shift, w.own_nice))
    return out

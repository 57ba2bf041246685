"""Which partitions can take a request at all, and how many cannot for which reason. Masks are shared between requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tidegrid.domain.job import Constraints
from tidegrid.scheduling.decision import Refusal
from tidegrid.scheduling.snapshot import Bools, Health, Ints, Snapshot
from tidegrid.scheduling.software import Software, Standing

Masks = tuple[Bools, dict[Refusal, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """bad bool[P]: where it cannot run; refusals: count by reason; feasible: count of the others. Shared: write to none."""

    bad: Bools
    refusals: dict[Refusal, int]
    feasible: int


class Asks(Protocol):
    """What feasibility looks at; `placement.Request` is one."""

    @property
    def app(self) -> str: ...
    @property
    def need(self) -> tuple[int, ...]: ...
    @property
    def nodes(self) -> int: ...
    @property
    def wall_s(self) -> int: ...
    @property
    def gpu_type(self) -> str: ...
    @property
    def constraints(self) -> Constraints: ...
    @property
    def excluded(self) -> tuple[str, ...]: ...
    @property
    def closed(self) -> tuple[str, ...]: ...
    @property
    def unwelcome(self) -> tuple[str, ...]: ...
    @property
    def trial(self) -> bool: ...
    @property
    def linked(self) -> bool: ...
    @property
    def licences(self) -> tuple[tuple[str, int], ...]: ...


class Feasibility:
    """Of one snapshot. Four masks make a verdict: where it may run, what fits, how long, with what software; each kept by its own
    key."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        s = snapshot
        silent: Bools = s.health == Health.UNHEALTHY
        drained: Bools = s.health == Health.DRAINED
        unpriced = np.asarray(((s.sell < 0) | (s.cost < 0)).any(axis=1), np.bool_)
        failing: Bools = s.health == Health.FAILING
        state = [
            (Refusal.UNHEALTHY, silent), (Refusal.DRAINED, drained), (Refusal.FAILING, failing),
            (Refusal.NO_PRICE, unpriced),
        ]  # fmt: skip
        self._state = _union(len(s.partitions), state)
        self._limit = np.where(s.max_wall_s > 0, s.max_wall_s, np.iinfo(np.int64).max)
        self._where: dict[tuple[Constraints, tuple[str, ...], tuple[str, ...], tuple[str, ...]], Masks] = {}
        self._software: dict[tuple[str, bool, bool, tuple[tuple[str, int], ...]], Masks] = {}
        self._fit: dict[tuple[tuple[int, ...], str, int], Masks] = {}
        self._long: dict[int, Masks] = {}
        self._verdict: dict[tuple[object, ...], Verdict] = {}

    def of(self, r: Asks) -> Verdict:
        where_key, fit_key = (r.constraints, r.excluded, r.closed, r.unwelcome), (r.need, r.gpu_type, r.nodes)
        software_key = (r.app, r.trial, r.linked, r.licences)
        key = (where_key, fit_key, software_key, r.wall_s)
        known = self._verdict.get(key)
        if known is not None:
            return known
        where = self._where.get(where_key)
        if where is None:
            where = self._where[where_key] = self._judge_where(*where_key)
        fit = self._fit.get(fit_key)
        if fit is None:
            fit = self._fit[fit_key] = self._judge_fit(r.need, r.gpu_type, r.nodes)
        long = self._long.get(r.wall_s)
        if long is None:
            long = self._long[r.wall_s] = _union(len(self._limit), [(Refusal.TOO_LONG, r.wall_s > self._limit)])
        software = self._software.get(software_key)
        if software is None:
            software = self._software[software_key] = self._judge_software(r)
        bad = where[0] | fit[0]
        bad |= software[0]
        bad |= long[0]
        bad |= self._state[0]
        verdict = self._verdict[key] = Verdict(
            bad,
            {**where[1], **fit[1], **long[1], **software[1], **self._state[1]},
            len(bad) - int(np.count_nonzero(bad)),
        )
        return verdict

    def _judge_where(self, c: Constraints, excluded: Sequence[str], closed: Sequence[str], unwelcome: Sequence[str]) -> Masks:
        s, found = self.snapshot, []
        if c.arch:
            found.append((Refusal.ARCH, ~np.array([a in c.arch for a in s.archs], np.bool_)[s.arch]))
        if c.regions:
            found.append((Refusal.REGION, ~np.array([x in c.regions for x in s.regions], np.bool_)[s.region]))
        if c.residency:
            found.append((Refusal.RESIDENCY, ~np.array([x in c.residency for x in s.regions], np.bool_)[s.region]))
        for names in (c.any_of, c.ordered):
            if names:
                found.append((Refusal.NOT_LISTED, ~self._named(names)))
        if c.exclude or excluded:
            found.append((Refusal.EXCLUDED, self._named((*c.exclude, *excluded))))
        if closed:
            found.append((Refusal.NO_ACCOUNT, self._named(closed)))
        if unwelcome:
            found.append((Refusal.GUESTS, self._named(unwelcome)))
        return _union(len(s.partitions), found)

    def _judge_software(self, r: Asks) -> Masks:
        """Installed, and as far as is asked verified, there; enough licences, were they all free; an interconnect. A trial goes where
        the application is, whatever is thought of it."""
        s, found = self.snapshot, []
        absent = ~s.has_app(r.app)
        row = s.software.row(r.app)
        if row is not None and not r.trial:
            standing = s.software.standing[row]
            absent |= standing == Standing.WITHDRAWN
            least = Standing.VERIFIED if s.software.strict[row] else Standing.INSTALLED
            found.append((Refusal.NOT_VERIFIED, (standing < least) & ~absent))
        found.append((Refusal.NOT_INSTALLED, absent))
        if r.linked:
            found.append((Refusal.NOT_LINKED, ~s.software.linked))
        for feature, n in r.licences:
            found.append((Refusal.NO_LICENCE, ~holds(s.software, s.software.pool_total, feature, n)))
        return _union(len(s.partitions), found)

    def _judge_fit(self, need: Sequence[int], gpu_type: str, nodes: int) -> Masks:
        s, whole = self.snapshot, np.array(need, np.int64)
        large = np.asarray(((whole > s.largest * nodes) | (whole > s.capacity)).any(axis=1), np.bool_)
        if nodes > 1:  # as many nodes as hold the largest kind there is of them
            large |= np.asarray((s.largest[:, 0] * nodes > s.capacity[:, 0]), np.bool_)
        found = [(Refusal.TOO_LARGE, large)]
        if gpu_type:
            code = s.gpu_types.index(gpu_type) if gpu_type in s.gpu_types else -1
            found.append((Refusal.GPU_TYPE, s.gpu_type != code))
        return _union(len(s.partitions), found)

    def _named(self, names: Sequence[str]) -> Bools:
        mask = np.zeros(len(self.snapshot.partitions), np.bool_)
        places = self.snapshot.places
        known = [places[name] for name in names if name in places]
        if known:
            mask[np.concatenate(known)] = True
        return mask


def holds(software: Software, left: Ints, feature: str, n: int) -> Bools:
    """bool[P]: where some pool of the feature serves and has `n` of `left` int64[L]."""
    mask = np.zeros(len(software.linked), np.bool_)
    for pool in software.pools_of(feature):
        if left[pool] >= n:
            mask |= software.pool_at[pool]
    return mask


def _union(size: int, found: Sequence[tuple[Refusal, Bools]]) -> Masks:
    """All masks in one, and the count of each reason; a reason that comes twice counts a partition once."""
    bad = np.zeros(size, np.bool_)
    by_reason: dict[Refusal, Bools] = {}
    for reason, mask in found:
        bad |= mask
        by_reason[reason] = by_reason[reason] | mask if reason in by_reason else mask
    counts = {reason: int(np.count_nonzero(mask)) for reason, mask in by_reason.items()}
    return bad, {reason: n for reason, n in counts.items() if n}

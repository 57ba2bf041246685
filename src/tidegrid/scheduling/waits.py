"""How long a new job waits at every partition: one forward run of each queue, then a lookup for any shape of job."""

from __future__ import annotations

import numpy as np

from tidegrid.scheduling.holes import each_of
from tidegrid.scheduling.queue import FOREVER, Profile, forward
from tidegrid.scheduling.snapshot import Bools, Floats, Ints, Snapshot

MAX_STEPS = 256  # of one queue's forward run; what lies behind is taken to drain at full rate
MIN_STEPS = 16
MAX_LOOKS = (
    100_000  # steps x jobs of one queue's forward run: a queue of 10,000 is followed for 16 steps, in some 20 ms
)
MAX_SHAPES = 1024  # answers kept
UNSEEN_S = 3600  # what is in use by jobs the picture does not show is taken to be free again after an hour


class Waits:
    """Waits by the estimates of all jobs, of one snapshot. The rows of all forward runs lie one behind the other.

    A forward run takes a partition for one machine. Where what is free lies on too few nodes for a task (`holes`), the task is taken to
    start when jobs have ended that hold enough for it: what is free now, in pieces, does not count."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        runs = [_profile(snapshot, p) for p in range(len(snapshot.partitions))]
        kinds = len(snapshot.kinds)
        self._first: Ints = np.cumsum([0, *(len(r.t_s) for r in runs[:-1])]).astype(np.int64)  # every run has a row
        t_s: Ints = np.concatenate([r.t_s for r in runs]) if runs else np.empty(0, np.int64)
        self._t: Floats = t_s.astype(np.float64)
        shadow = np.concatenate([r.shadow_s for r in runs]) if runs else t_s
        self._slack: Ints = shadow - t_s
        free = np.concatenate([r.free for r in runs]) if runs else np.empty((0, kinds), np.int64)
        extra = np.concatenate([r.extra for r in runs]) if runs else free
        self._free = [np.ascontiguousarray(free[:, k]) for k in range(kinds)]
        self._extra = [np.ascontiguousarray(extra[:, k]) for k in range(kinds)]
        self._holes_at: Ints = np.repeat(np.arange(len(snapshot.partitions)), np.diff(snapshot.hole_ptr))
        self._known: dict[tuple[tuple[int, ...], int, int, bool], tuple[Floats, Bools]] = {}

    def fresh(self) -> Waits:
        """The same forward runs without the answers kept."""
        other = Waits.__new__(Waits)
        other.__dict__.update(self.__dict__)
        other._known = {}
        return other

    def of(self, need: tuple[int, ...], wall_s: int, nodes: int = 1, whole: bool = False) -> tuple[Floats, Bools]:
        """float64[P]: seconds until one task of `need` over all its `nodes`, which it may want `whole`, and estimate `wall_s` would start
        at each queue's tail, inf for never; bool[P]: where it would start at once. Shared: not to be written to."""
        key = (need, wall_s, nodes, whole)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_SHAPES:
                self._known.clear()
            waits = self._look(need, wall_s)
            for p in self._in_pieces(need, nodes, whole, waits):
                each = each_of(need, nodes, int(self.snapshot.largest[p, 0]) if whole else 0)
                waits[p] = _when_released(self.snapshot, p, tuple(nodes * n for n in each))
            waits.setflags(write=False)
            known = self._known[key] = waits, waits == 0.0
        return known

    def _look(self, need: tuple[int, ...], wall_s: int) -> Floats:
        asked = [k for k, n in enumerate(need) if n] or [0]
        ok = self._extra[asked[0]] >= need[asked[0]]
        for k in asked[1:]:
            ok &= self._extra[k] >= need[k]
        ok |= self._slack >= wall_s
        for k in asked:
            ok &= self._free[k] >= need[k]
        starts = self._t.copy()
        np.putmask(starts, ~ok, np.inf)
        if not len(starts):
            return starts
        waits: Floats = np.minimum.reduceat(starts, self._first)  # times ascend within a queue's rows
        return waits

    def _in_pieces(self, need: tuple[int, ...], nodes: int, whole: bool, waits: Floats) -> list[int]:
        """Where a task would start at once, were what is free not on too few nodes."""
        s = self.snapshot
        if not len(s.hole_nodes):
            return []
        fits = np.all(s.hole_free >= np.array(each_of(need, nodes), np.int64), axis=1)
        if whole:
            fits &= s.hole_free[:, 0] >= s.largest[self._holes_at, 0]
        found = np.bincount(self._holes_at, s.hole_nodes * fits, len(s.partitions))
        return [int(p) for p in np.flatnonzero((waits == 0.0) & (found < nodes) & (np.diff(s.hole_ptr) > 0))]


def _when_released(s: Snapshot, p: int, need: tuple[int, ...]) -> float:
    """Seconds until those that run at p have given back as much as is needed, or have all ended."""
    ends, held = _running(s, p)
    if not len(ends):
        return float(UNSEEN_S)
    order = np.argsort(ends, kind="stable")
    enough = (np.cumsum(held[order], axis=0) >= np.array(need, np.int64)).all(axis=1)
    return float(max(1, ends[order][int(enough.argmax()) if enough.any() else -1]))


def _running(s: Snapshot, p: int) -> tuple[Ints, Ints]:
    """Expected ends and needs of what runs at p, what the picture does not show among them."""
    running = slice(int(s.run_ptr[p]), int(s.run_ptr[p + 1]))
    ends, held = s.run_end_s[running], s.run_need[running]
    unseen = np.maximum(s.capacity[p] - s.free[p] - held.sum(axis=0), 0)
    if unseen.any():
        return np.append(ends, UNSEEN_S), np.concatenate((held, unseen[None]))
    return ends, held


def _profile(s: Snapshot, p: int) -> Profile:
    waiting = slice(int(s.wait_ptr[p]), int(s.wait_ptr[p + 1]))
    if waiting.start == waiting.stop and (s.free[p] >= s.capacity[p]).all():
        free = s.free[p : p + 1]
        return Profile(np.zeros(1, np.int64), free, np.full(1, FOREVER, np.int64), free)
    ends, held = _running(s, p)
    jobs = len(ends) + waiting.stop - waiting.start
    return forward(
        "easy" if s.easy[p] else "fcfs",
        0,
        s.free[p],
        ends,
        held,
        s.wait_need[waiting],
        s.wait_wall_s[waiting],
        max_steps=max(MIN_STEPS, min(MAX_STEPS, MAX_LOOKS // jobs)),
    )

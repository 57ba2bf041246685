"""How long a new job waits at every partition: one forward run of each queue, then a lookup for any shape of job."""

from __future__ import annotations

import numpy as np

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
    """Waits by the estimates of all jobs, of one snapshot. The rows of all forward runs lie one behind the other."""

    def __init__(self, snapshot: Snapshot) -> None:
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
        self._known: dict[tuple[tuple[int, ...], int], tuple[Floats, Bools]] = {}

    def fresh(self) -> Waits:
        """The same forward runs without the answers kept."""
        other = Waits.__new__(Waits)
        other.__dict__.update(self.__dict__)
        other._known = {}
        return other

    def of(self, need: tuple[int, ...], wall_s: int) -> tuple[Floats, Bools]:
        """float64[P]: seconds until one task of `need` and estimate `wall_s` would start at each queue's tail, inf for never;
        bool[P]: where it would start at once. Shared: not to be written to."""
        key = (need, wall_s)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_SHAPES:
                self._known.clear()
            waits = self._look(need, wall_s)
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
        waits.setflags(write=False)
        return waits


def _profile(s: Snapshot, p: int) -> Profile:
    running = slice(int(s.run_ptr[p]), int(s.run_ptr[p + 1]))
    waiting = slice(int(s.wait_ptr[p]), int(s.wait_ptr[p + 1]))
    if waiting.start == waiting.stop and (s.free[p] >= s.capacity[p]).all():
        free = s.free[p : p + 1]
        return Profile(np.zeros(1, np.int64), free, np.full(1, FOREVER, np.int64), free)
    ends, held = s.run_end_s[running], s.run_need[running]
    unseen = np.maximum(s.capacity[p] - s.free[p] - held.sum(axis=0), 0)
    if unseen.any():
        ends, held = np.append(ends, UNSEEN_S), np.concatenate((held, unseen[None]))
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

"""States made and read: arrays for the compiled kernel, lists for the plain one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tidegrid.scheduling.kernel import layout, lines
from tidegrid.scheduling.kernel.layout import NEED, PERSON, ROOM, State
from tidegrid.scheduling.kernel.policy import Policy

Ints = NDArray[np.int64]


def table(
    submit: Ints, estimate: Ints, run: Ints | None, need: Ints, user: Ints | None = None, planned: Ints | None = None
) -> Ints:
    """A table of jobs int64[n, NEED+K]: submit, estimate, run (s; None: not known), user (-1: not known) and planned int64[n], need int64[n] or [n,K]."""
    n = len(submit)
    need = np.asarray(need, np.int64).reshape(n, -1)
    jobs: Ints = np.zeros((n, NEED + need.shape[1]), np.int64)
    jobs[:, layout.SUBMIT] = submit
    jobs[:, layout.ESTIMATE] = estimate
    jobs[:, layout.RUN] = -1 if run is None else run
    jobs[:, layout.USER] = -1 if user is None else user
    jobs[:, layout.PLANNED] = -1 if planned is None else planned
    jobs[:, layout.START] = -1
    jobs[:, NEED:] = need
    return jobs


def build(
    jobs: Ints,
    capacity: Ints,
    policies: Sequence[Policy],
    *,
    users: int = 1,
    shared_history: bool = False,
    at_once: int | None = None,
    compiled: bool = False,
) -> State:
    """Sites of capacity int64[S,K] and one policy each, all free, over a table of jobs (`table`), which it writes to if compiled.

    users: how many there are; shared_history: a user's jobs everywhere tell about the next; at_once: how many jobs wait or run
    at one time at most, all sites together (all, by default; memory that is not used is not touched).
    """
    capacity = np.asarray(capacity, np.int64)
    sites, kinds = capacity.shape
    site: Ints = np.zeros((sites, ROOM + 3 * kinds), np.int64)
    site[:, layout.WAKE] = layout.FOREVER
    site[:, layout.HEAD] = -1
    site[:, ROOM : ROOM + kinds] = capacity
    site[:, ROOM + kinds : ROOM + 2 * kinds] = capacity
    site[:, layout.PAST] = 0 if shared_history else np.arange(sites) * users
    rows = (users if shared_history else users * sites) if any(p.looks_back for p in policies) else 0
    at_once = max(1, len(jobs) if at_once is None else at_once)
    waiting, running = _Pool(at_once, 2 * sites, kinds, 4 + kinds), _Pool(2 * at_once, 2 * sites, kinds, 1 + kinds)

    past = rows * PERSON
    num = np.empty(layout.POLICY * sites + past + waiting.slots + running.slots)
    num[: layout.POLICY * sites] = np.concatenate([p.words() for p in policies])
    num[layout.POLICY * sites : layout.POLICY * sites + past] = 0
    keys = layout.POLICY * sites + past

    head = np.zeros(layout.HEADER, np.int64)
    small = [head, site.reshape(-1), waiting.words, running.words]
    at = np.cumsum([0, *(len(part) for part in small)])
    started = int(at[-1])
    head[layout.KINDS], head[layout.JOB_ROW], head[layout.SITE_ROW] = kinds, NEED + kinds, ROOM + 3 * kinds
    head[layout.SITES], head[layout.WAITERS], head[layout.RUNNERS], head[layout.STARTED] = at[1], at[2], at[3], started
    head[layout.POLICIES], head[layout.HISTORY], head[layout.ON_THE_WAY] = 0, layout.POLICY * sites, sites
    profile = (5 * at_once + 4) * (1 + kinds) if any(p.backfill == "conservative" for p in policies) else 0
    head[layout.PROFILE] = started + at_once
    after = waiting.place(started + at_once + profile, keys)
    size = running.place(after, keys + waiting.slots)
    mem = np.empty(size, np.int64)
    mem[:started] = np.concatenate(small)
    if compiled:
        return State(np.ascontiguousarray(jobs, np.int64).reshape(-1), mem, num)
    return State(jobs.reshape(-1).tolist(), mem.tolist(), num.tolist())


class _Pool:
    """The words of a pool with room for `jobs` in all lines: neighbouring blocks hold more than half a block's worth together."""

    def __init__(self, jobs: int, count: int, kinds: int, width: int) -> None:
        self.blocks = 4 * jobs // lines.B + 2 * count + 2
        self.slots = self.blocks * lines.B
        self.words: Ints = np.full(lines.LINES + 2 * count, -1, np.int64)
        self.words[lines.LIMIT], self.words[lines.UNUSED] = self.blocks, 0
        self.words[lines.WIDTH], self.words[lines.ROW], self.words[lines.KINDS] = width, lines.FIGURE + kinds, kinds

    def place(self, at: int, keys: int) -> int:
        """It lies from `at` on, its keys from `keys` on; where it ends."""
        self.words[lines.SLOTS], self.words[lines.KEYS] = at, keys
        self.words[lines.BLOCKS] = at + self.slots * self.words[lines.WIDTH]
        return int(self.words[lines.BLOCKS] + self.blocks * self.words[lines.ROW])


def rows(st: State) -> Ints:
    """The table of jobs as it is now, int64[n, NEED+K]."""
    return np.asarray(st.job, np.int64).reshape(-1, int(st.mem[layout.JOB_ROW]))


def starts(st: State) -> Ints:
    """When each job of the table started, -1 for never."""
    return rows(st)[:, layout.START].copy()

"""Which waiting job is served first: by the order of the queue, and before all others who has waited for too long.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

import math

from tidegrid.scheduling.kernel.layout import (
    AGEING,
    ESTIMATE,
    FILL,
    GUARD,
    HALF_LIFE,
    IN_QUEUE,
    KINDS,
    NEED,
    ORDER,
    PATIENCE,
    PLANNED,
    RANKED_BY,
    ROOM,
    SHORTEST_FIRST,
    SUBMIT,
    USAGE,
    USAGE_AT,
    USER,
    WAITERS,
    WIDENESS,
    State,
    Words,
    history_at,
    job_at,
    policy_at,
    site_at,
    within,
)
from tidegrid.scheduling.kernel.lines import (
    BLOCKS,
    COUNT,
    JOB,
    NEXT,
    OLDEST,
    ROW,
    SEQ,
    SINCE,
    SLOTS,
    STALE,
    WIDTH,
    B,
    first,
    summarise,
)
from tidegrid.scheduling.kernel.orders import FAIR, FCFS, MOVING, RESPONSE, response, score


def size(st: State, s: int, need: Words, n: int) -> float:
    """Processors as the orders count them: of several kinds the dominant share, in units of the first."""
    largest = float(need[n])
    kinds = st.mem[KINDS]
    if kinds > 1:
        total = site_at(st, s) + ROOM + kinds
        for k in range(1, kinds):
            if st.mem[total + k] > 0:
                largest = max(largest, need[n + k] * (st.mem[total] / st.mem[total + k]))
    return largest


def usage_of(st: State, s: int, j: int, now: int) -> float:
    """Core-seconds that the job's user has used at the site, halved every half-life; of nobody known, none."""
    if st.job[job_at(st, j) + USER] < 0:
        return 0.0
    h = history_at(st, s, j)
    aged = (now - st.num[h + USAGE_AT]) / st.num[policy_at(st, s) + HALF_LIFE]
    return float(st.num[h + USAGE] * math.exp(-math.log(2.0) * max(aged, 0.0)))


def score_of(st: State, s: int, j: int, now: int) -> float:
    row = job_at(st, j)
    order = int(st.num[policy_at(st, s) + ORDER])
    time = int(st.job[row + ESTIMATE])
    if st.num[policy_at(st, s) + RANKED_BY] != 0.0:
        time = int(st.job[row + PLANNED])
    n = size(st, s, st.job, row + NEED)
    if order == RESPONSE:
        p, waited = policy_at(st, s), float(now - st.job[row + SUBMIT])
        return response(waited, time, n, st.num[p + PATIENCE], st.num[p + AGEING], st.num[p + WIDENESS])
    usage = 0.0
    if order == FAIR:
        usage = usage_of(st, s, j, now)
    return score(order, now, int(st.job[row + SUBMIT]), time, n, usage)


def key_of(st: State, s: int, j: int) -> float:
    """A job's place in the site's line, which is in the order of backfill where that has one of its own, else in the queue's if
    it does not move, else in that of arrivals."""
    row = job_at(st, j)
    fill = st.num[policy_at(st, s) + FILL]
    if fill == IN_QUEUE:
        if st.num[policy_at(st, s) + ORDER] < MOVING:
            return score_of(st, s, j, 0)
        return float(st.job[row + SUBMIT])
    if fill == SHORTEST_FIRST:
        return float(st.job[row + PLANNED])
    return float(st.job[row + PLANNED]) * size(st, s, st.job, row + NEED)


def slot_at(st: State, slot: int) -> int:
    """Where a waiting slot's words begin."""
    p = st.mem[WAITERS]
    return int(st.mem[p + SLOTS] + slot * st.mem[p + WIDTH])


def needs_at(st: State, slot: int) -> int:
    """Where a waiting slot's needs begin."""
    p = st.mem[WAITERS]
    return int(st.mem[p + SLOTS] + (slot + 1) * st.mem[p + WIDTH] - st.mem[KINDS])


def pick(st: State, s: int, now: int, best: int, slot: int) -> int:
    """Of two waiting slots the one that comes first; best: -1 for none."""
    if best < 0:
        return slot
    a, b = slot_at(st, best), slot_at(st, slot)
    x, y = score_of(st, s, int(st.mem[a + JOB]), now), score_of(st, s, int(st.mem[b + JOB]), now)
    if y < x or (y == x and st.mem[b + SEQ] < st.mem[a + SEQ]):
        return slot
    return best


def possible(st: State, s: int, slot: int) -> bool:
    """Whether the whole site could hold the job."""
    kinds = st.mem[KINDS]
    return within(st.mem, needs_at(st, slot), st.mem, site_at(st, s) + ROOM + kinds, kinds)


def choose_head(st: State, s: int, now: int) -> int:
    """The slot of the job that is served first, -1 where none is possible."""
    policy = policy_at(st, s)
    guard, order, fill = st.num[policy + GUARD], int(st.num[policy + ORDER]), int(st.num[policy + FILL])
    if guard > 0.0 and order != FCFS:
        slot = _oldest(st, s, now - int(guard))
        if slot >= 0:
            return slot
    if order == FCFS and fill != IN_QUEUE:
        return _oldest(st, s, now)
    m, p = st.mem, st.mem[WAITERS]
    row, blocks = m[p + ROW], m[p + BLOCKS]
    moving = order >= MOVING or fill != IN_QUEUE
    best, lowest, seq = -1, 0.0, 0
    b = first(m, p, s)
    while b >= 0:
        for slot in range(b * B, b * B + m[blocks + b * row + COUNT]):
            if possible(st, s, slot):
                if not moving:
                    return int(slot)
                a = slot_at(st, slot)
                x, q = score_of(st, s, int(m[a + JOB]), now), int(m[a + SEQ])
                if best < 0 or x < lowest or (x == lowest and q < seq):
                    best, lowest, seq = int(slot), x, q
        b = int(m[blocks + b * row + NEXT])
    return best


def choose_next(st: State, s: int, now: int, after: int) -> int:
    """The slot that comes next in the order of the queue behind that of `after` (-1: the first), -1 where there is none."""
    m, p = st.mem, st.mem[WAITERS]
    row, blocks = m[p + ROW], m[p + BLOCKS]
    best, lowest, seq = -1, 0.0, 0
    x0, q0 = 0.0, 0
    if after >= 0:
        a = slot_at(st, after)
        x0, q0 = score_of(st, s, int(m[a + JOB]), now), int(m[a + SEQ])
    b = first(m, p, s)
    while b >= 0:
        for slot in range(b * B, b * B + m[blocks + b * row + COUNT]):
            a = slot_at(st, slot)
            x, q = score_of(st, s, int(m[a + JOB]), now), int(m[a + SEQ])
            behind = after < 0 or x > x0 or (x == x0 and q > q0)
            if behind and (best < 0 or x < lowest or (x == lowest and q < seq)):
                best, lowest, seq = int(slot), x, q
        b = int(m[blocks + b * row + NEXT])
    return best


def _oldest(st: State, s: int, since: int) -> int:
    """The slot of the job that waits longest, if since `since` or earlier; else -1."""
    m, p = st.mem, st.mem[WAITERS]
    row, blocks = m[p + ROW], m[p + BLOCKS]
    best, seq = -1, 0
    b = first(m, p, s)
    while b >= 0:
        if m[blocks + b * row + OLDEST] <= since:
            if m[blocks + b * row + STALE] != 0:
                summarise(m, p, b)
            for slot in range(b * B, b * B + m[blocks + b * row + COUNT]):
                a = slot_at(st, slot)
                then, q = int(m[a + SINCE]), int(m[a + SEQ])
                if (then < since or (then == since and (best < 0 or q < seq))) and possible(st, s, slot):
                    best, seq, since = int(slot), q, then
        b = int(m[blocks + b * row + NEXT])
    return best

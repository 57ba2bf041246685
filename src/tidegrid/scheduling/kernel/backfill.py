"""EASY backfill: the reservation of the head, and who may pass it. Kernel source: plain Python over lists, or compiled over arrays."""

from __future__ import annotations

from tidegrid.scheduling.kernel.heads import needs_at, score_of, slot_at
from tidegrid.scheduling.kernel.layout import (
    DIRTY,
    EPOCH,
    ESTIMATE,
    FOREVER,
    GUARD,
    HEAD,
    KINDS,
    NEED,
    RESERVED_BY,
    ROOM,
    RUNNERS,
    SHADOW,
    SUBMIT,
    WAITERS,
    State,
    job_at,
    policy_at,
    site_at,
    within,
)
from tidegrid.scheduling.kernel.lines import (
    BARREN,
    BLOCKS,
    COUNT,
    FIGURE,
    JOB,
    KEYS,
    NEXT,
    ROW,
    SEQ,
    SHORTEST,
    SLOTS,
    STALE,
    TIME,
    WIDTH,
    B,
    first,
    summarise,
)
from tidegrid.scheduling.kernel.running import start_slot


def reserve(st: State, s: int, now: int, head: int) -> None:
    """Find when the head can start by the planned times, and what it leaves over then."""
    m, p, at, kinds = st.mem, st.mem[RUNNERS], site_at(st, s), st.mem[KINDS]
    row, blocks, w = m[p + ROW], m[p + BLOCKS], m[p + WIDTH]
    extra, need = at + ROOM + 2 * kinds, job_at(st, head) + NEED
    m[at + HEAD] = head
    m[at + DIRTY] = 0
    m[at + EPOCH] += 1
    m[at + SHADOW] = FOREVER
    for k in range(kinds):
        m[extra + k] = m[at + ROOM + k] - st.job[need + k]
    b = first(m, p, 2 * s + 1)
    while b >= 0:  # whole blocks, as long as they do not suffice
        enough = True
        for k in range(kinds):
            if m[extra + k] + m[blocks + b * row + FIGURE + k] < 0:
                enough = False
        if enough:
            break
        for k in range(kinds):
            m[extra + k] += m[blocks + b * row + FIGURE + k]
        b = int(m[blocks + b * row + NEXT])
    shadow = -1
    while b >= 0:
        for i in range(b * B, b * B + m[blocks + b * row + COUNT]):
            key = int(st.num[m[p + KEYS] + i])
            if 0 <= shadow < key:
                return
            enough = True
            a = m[p + SLOTS] + (i + 1) * w - kinds
            for k in range(kinds):
                m[extra + k] += m[a + k]
                if m[extra + k] < 0:
                    enough = False
            if enough and shadow < 0:
                shadow = max(key, now)
                m[at + SHADOW] = shadow
        b = int(m[blocks + b * row + NEXT])


def _may_pass(st: State, s: int, n: int, end: int) -> bool:
    """Whether a job of the needs at mem[n] that is planned to end at `end` can start now without moving the reservation."""
    at, kinds = site_at(st, s), st.mem[KINDS]
    if not within(st.mem, n, st.mem, at + ROOM, kinds):
        return False
    return end <= st.mem[at + SHADOW] or within(st.mem, n, st.mem, at + ROOM + 2 * kinds, kinds)


def _by_estimates(st: State, s: int, now: int) -> bool:
    """Whether what passes the head is taken to run as long as it asked for, and not as it is planned: where reservations go by
    estimates, a head that has waited beyond the guard is passed only by what is sure to end."""
    policy = policy_at(st, s)
    if st.num[policy + RESERVED_BY] == 0.0 or st.num[policy + GUARD] <= 0.0:
        return False
    head = job_at(st, st.mem[site_at(st, s) + HEAD])
    return bool(st.job[head + SUBMIT] <= now - int(st.num[policy + GUARD]))


def _length(st: State, a: int, by_estimates: bool) -> int:
    """Seconds that a job, whose waiting slot begins at `a`, is taken to run when it passes the head."""
    if by_estimates:
        return int(st.job[job_at(st, st.mem[a + JOB]) + ESTIMATE])
    return int(st.mem[a + TIME])


def _pass(st: State, s: int, slot: int, now: int, end: int, n: int) -> int:
    """Start a job that is planned to end at `end` before the head; as `start_slot`."""
    at, kinds, need = site_at(st, s), st.mem[KINDS], needs_at(st, slot)
    if end > st.mem[at + SHADOW]:
        for k in range(kinds):
            st.mem[at + ROOM + 2 * kinds + k] -= st.mem[need + k]
    if st.num[policy_at(st, s) + RESERVED_BY] != 0.0:
        st.mem[at + DIRTY] = 1  # by its estimate it may last beyond the reservation
    return start_slot(st, s, slot, now, n)


def fill_along_line(st: State, s: int, now: int, head: int, n: int) -> int:
    """Backfill in the order of the line; how many were started, with the n before. A block in which nothing could pass is passed
    over until something is freed."""
    m, p, kinds, site = st.mem, st.mem[WAITERS], st.mem[KINDS], site_at(st, s)
    row, blocks, slots, w = m[p + ROW], m[p + BLOCKS], m[p + SLOTS], m[p + WIDTH]
    epoch, room, extra, shadow = m[site + EPOCH], site + ROOM, site + ROOM + 2 * kinds, m[site + SHADOW]
    by_estimates = _by_estimates(st, s, now)
    b = first(m, p, s)
    while b >= 0:
        at = blocks + b * row
        after, i = int(m[at + NEXT]), 0
        if m[at + BARREN] != epoch and _may_pass(st, s, at + FIGURE, now + m[at + SHORTEST]):
            while 0 <= i < m[at + COUNT]:
                a = slots + (b * B + i) * w
                need = a + w - kinds
                if within(m, need, m, room, kinds) and m[a + JOB] != head:
                    end = now + _length(st, a, by_estimates)
                    if end <= shadow or within(m, need, m, extra, kinds):
                        after = int(m[at + NEXT])  # the block behind may have been joined to this one since
                        i = _pass(st, s, b * B + i, now, end, n)
                        n += 1
                        continue
                i += 1
            if i >= 0:
                if m[at + STALE] != 0:
                    summarise(m, p, b)
                m[at + BARREN] = epoch
                after = int(m[at + NEXT])
        b = after
    return n


def fill_by_rank(st: State, s: int, now: int, head: int, n: int) -> int:
    """Backfill in an order that moves: always the best of those that may pass."""
    m, p = st.mem, st.mem[WAITERS]
    row, blocks, by_estimates = m[p + ROW], m[p + BLOCKS], _by_estimates(st, s, now)
    while True:
        best, lowest, seq = -1, 0.0, 0
        b = first(m, p, s)
        while b >= 0:
            at = blocks + b * row
            if _may_pass(st, s, at + FIGURE, now + m[at + SHORTEST]):
                for slot in range(b * B, b * B + m[at + COUNT]):
                    a = slot_at(st, slot)
                    if m[a + JOB] != head and _may_pass(st, s, needs_at(st, slot), now + _length(st, a, by_estimates)):
                        x, q = score_of(st, s, int(m[a + JOB]), now), int(m[a + SEQ])
                        if best < 0 or x < lowest or (x == lowest and q < seq):
                            best, lowest, seq = int(slot), x, q
            b = int(m[at + NEXT])
        if best < 0:
            return n
        _pass(st, s, best, now, now + _length(st, slot_at(st, best), by_estimates), n)
        n += 1

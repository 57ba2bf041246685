"""When a job would start at a site if it came to the tail of its queue now: at once, or by running the queue ahead.

Every job is taken to run for the time it is planned with, nobody else arrives, and the queue backfills as EASY does in its own
order (FCFS where it does not backfill). This is what placement compares between sites.

How the queue is run ahead is in `outlook`; what comes of it may be kept for the next job.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from tidegrid.scheduling.kernel.backfill import reserve
from tidegrid.scheduling.kernel.heads import choose_head, needs_at, slot_at
from tidegrid.scheduling.kernel.layout import (
    BACKFILL,
    DIRTY,
    EASY,
    FOREVER,
    HEAD,
    KINDS,
    NEED,
    ROOM,
    RUNNERS,
    SENT,
    SHADOW,
    WAITING,
    State,
    Words,
    job_at,
    policy_at,
    site_at,
    within,
)
from tidegrid.scheduling.kernel.lines import BLOCKS, COUNT, FIGURE, JOB, KEYS, NEXT, ROW, SLOTS, WIDTH, B, first
from tidegrid.scheduling.kernel.outlook import BEGUN, FIRST, OUTLOOK, begins_by, look

SHUT, FREE, BEHIND = 0, 1, 2  # what `reserved` answers


def begins_now(st: State, s: int, now: int, j: int, planned: int) -> bool:
    """Whether job j, planned with `planned` s, would start at once behind all that wait at s; of those on the way there it does not
    know. The site has been scheduled."""
    at, kinds, need = site_at(st, s), st.mem[KINDS], job_at(st, j) + NEED
    if not within(st.job, need, st.mem, at + ROOM, kinds):
        return False
    known = reserved(st, s, now)
    if known != BEHIND:
        return known == FREE
    return bool(now + planned <= st.mem[at + SHADOW]) or within(st.job, need, st.mem, at + ROOM + 2 * kinds, kinds)


def reserved(st: State, s: int, now: int) -> int:
    """Who may start at once behind all that wait at s: nobody (SHUT), whoever fits (FREE), or who leaves to the queue's head what its
    reservation, then up to date, counts on (BEHIND). The site has been scheduled."""
    at = site_at(st, s)
    if st.mem[at + WAITING] == 0:
        return FREE
    if st.num[policy_at(st, s) + BACKFILL] != EASY:
        return SHUT
    slot = choose_head(st, s, now)
    if slot < 0:
        return FREE
    head = int(st.mem[slot_at(st, slot) + JOB])
    if st.mem[at + DIRTY] != 0 or st.mem[at + HEAD] != head:
        if within(st.mem, needs_at(st, slot), st.mem, at + ROOM, st.mem[KINDS]):
            return SHUT  # somebody arrived and has not been looked at yet
        reserve(st, s, now, head)
    return BEHIND


def begins(st: State, s: int, now: int, j: int, planned: int, limit: int, w: Words) -> int:
    """When job j, planned with `planned` s, would start at s: behind all that wait there, or at its own place if it waits there
    itself; at most `limit`, which ends the look ahead. w: scratch, `scratch` words for all that wait and run at s.

    Exact for EASY and FCFS queues in order of arrival; queues in other orders are run ahead in the order of their line.
    """
    if not _possible(st, s, j):
        return FOREVER
    at = room_at(st, s, now, j, limit, w, 0)
    if at == limit or st.mem[site_at(st, s) + WAITING] + st.mem[site_at(st, s) + SENT] == 0:
        return at
    look(st, s, now, j, w, 0)
    return begins_by(st, s, now, j, planned, limit, w, 0)


def begins_last(st: State, s: int, now: int, j: int, planned: int, limit: int, w: Words, o: int) -> int:
    """The same of a job that does not wait at s, by the outlook at w[o], which is renewed where it is out of date. The site has
    been scheduled since it changed, and `forget` been told; no more wait and run there than the outlook has room for."""
    if not _possible(st, s, j):
        return FOREVER
    at = room_at(st, s, now, j, limit, w, o)
    if at == limit or st.mem[site_at(st, s) + WAITING] + st.mem[site_at(st, s) + SENT] == 0:
        return at
    if not (w[o + BEGUN] == now or w[o + BEGUN] < now < w[o + FIRST]):
        look(st, s, now, -1, w, o)
    return begins_by(st, s, now, j, planned, limit, w, o)


def forget(w: Words, o: int) -> None:
    """The site has changed: the outlook at w[o] is no longer right."""
    w[o + BEGUN] = FOREVER


def _possible(st: State, s: int, j: int) -> bool:
    kinds = st.mem[KINDS]
    return within(st.job, job_at(st, j) + NEED, st.mem, site_at(st, s) + ROOM + kinds, kinds)


def room_at(st: State, s: int, now: int, j: int, limit: int, w: Words, o: int) -> int:
    """When what runs at s leaves enough free for job j, whoever waits: it cannot start before that, and does
    where nobody waits. At most `limit`; FOREVER where it never does before that."""
    m, p, at, kinds = st.mem, st.mem[RUNNERS], site_at(st, s) + ROOM, st.mem[KINDS]
    need = job_at(st, j) + NEED
    row, blocks, width = m[p + ROW], m[p + BLOCKS], m[p + WIDTH]
    enough, sums = True, o + OUTLOOK + 3 * kinds
    for k in range(kinds):
        w[sums + k] = m[at + k] - st.job[need + k]
        if w[sums + k] < 0:
            enough = False
    if enough:
        return now
    b = first(m, p, 2 * s + 1)
    while b >= 0:
        if max(int(st.num[m[p + KEYS] + b * B]), now + 1) >= limit:
            return limit
        enough, figure = True, blocks + b * row + FIGURE
        for k in range(kinds):
            if w[sums + k] + m[figure + k] < 0:
                enough = False
        if enough:
            for i in range(b * B, b * B + m[blocks + b * row + COUNT]):
                t = max(int(st.num[m[p + KEYS] + i]), now + 1)
                if t >= limit:
                    return limit
                free = True
                a = m[p + SLOTS] + (i + 1) * width - kinds
                for k in range(kinds):
                    w[sums + k] += m[a + k]
                    if w[sums + k] < 0:
                        free = False
                if free:
                    return t
        else:
            for k in range(kinds):
                w[sums + k] += m[figure + k]
        b = int(m[blocks + b * row + NEXT])
    return FOREVER

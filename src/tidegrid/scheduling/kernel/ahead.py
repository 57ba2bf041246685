"""When a job would start at a site if it came to the tail of its queue now: at once, or by running the queue ahead.

Every job is taken to run for the time it is planned with, nobody else arrives, and the queue backfills as EASY does in its own
order (FCFS where it does not backfill). This is what placement compares between sites.

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
    PLANNED,
    ROOM,
    RUNNERS,
    SHADOW,
    WAITERS,
    WAITING,
    State,
    Words,
    job_at,
    policy_at,
    site_at,
    within,
)
from tidegrid.scheduling.kernel.lines import BLOCKS, COUNT, JOB, KEYS, NEXT, ROW, SLOTS, WIDTH, B, first


def begins_now(st: State, s: int, now: int, j: int, planned: int) -> bool:
    """Whether job j, planned with `planned` s, would start at once behind all that wait at s. The site has been scheduled."""
    at, kinds, need = site_at(st, s), st.mem[KINDS], job_at(st, j) + NEED
    if not within(st.job, need, st.mem, at + ROOM, kinds):
        return False
    if st.mem[at + WAITING] == 0:
        return True
    if st.num[policy_at(st, s) + BACKFILL] != EASY:
        return False
    slot = choose_head(st, s, now)
    if slot < 0:
        return True
    head = int(st.mem[slot_at(st, slot) + JOB])
    if st.mem[at + DIRTY] != 0 or st.mem[at + HEAD] != head:
        if within(st.mem, needs_at(st, slot), st.mem, at + ROOM, kinds):
            return False  # somebody arrived and has not been looked at yet
        reserve(st, s, now, head)
    return bool(now + planned <= st.mem[at + SHADOW]) or within(st.job, need, st.mem, at + ROOM + 2 * kinds, kinds)


def begins(st: State, s: int, now: int, j: int, planned: int, limit: int, w: Words) -> int:
    """When job j, planned with `planned` s, would start at s: behind all that wait there, or at its own place if it waits there
    itself; at most `limit`, which ends the look ahead. w: scratch, `scratch` words for all that wait and run at s.

    Exact for EASY and FCFS queues in order of arrival; queues in other orders are run ahead in the order of their line.
    """
    m, kinds, at = st.mem, st.mem[KINDS], site_at(st, s)
    for k in range(kinds):
        if st.job[job_at(st, j) + NEED + k] > m[at + ROOM + kinds + k]:
            return FOREVER
    wide = 1 + kinds
    free = 0
    for k in range(kinds):
        w[free + k] = m[at + ROOM + k]
    runs = kinds + kinds  # behind: free, extra
    n = 0
    p = m[RUNNERS]
    row, blocks, slots, width = m[p + ROW], m[p + BLOCKS], m[p + SLOTS], m[p + WIDTH]
    b = first(m, p, 2 * s + 1)
    while b >= 0:
        for i in range(b * B, b * B + m[blocks + b * row + COUNT]):
            a = runs + n * wide
            w[a] = max(int(st.num[m[p + KEYS] + i]), now + 1)
            for k in range(kinds):
                w[a + 1 + k] = m[slots + (i + 1) * width - kinds + k]
            n += 1
        b = int(m[blocks + b * row + NEXT])
    p = m[WAITERS]
    row, blocks, slots, width = m[p + ROW], m[p + BLOCKS], m[p + SLOTS], m[p + WIDTH]
    queue = runs + (n + m[at + WAITING] + 1) * wide
    q = 0
    b = first(m, p, s)
    while b >= 0:
        for i in range(b * B, b * B + m[blocks + b * row + COUNT]):
            other = int(m[slots + i * width + JOB])
            if other == j:
                b = -1
                break
            w[queue + q] = other
            q += 1
        if b >= 0:
            b = int(m[blocks + b * row + NEXT])
    w[queue + q] = j
    return _run(st, s, now, j, planned, limit, w, runs, n, queue, q + 1)


def scratch(jobs: int, kinds: int) -> int:
    """Words of scratch for sites where at most `jobs` wait and run at one time."""
    return 2 * kinds + (jobs + 2) * (2 + kinds)


def _run(
    st: State, s: int, now: int, j: int, planned: int, limit: int, w: Words, runs: int, n: int, queue: int, q: int
) -> int:
    """The queue of q jobs, j the last, over n running ones, until j starts."""
    kinds, at = st.mem[KINDS], site_at(st, s)
    wide = 1 + kinds
    backfills = st.num[policy_at(st, s) + BACKFILL] != 0
    t = now
    while True:
        left, blocked, shadow = 0, False, FOREVER
        for i in range(q):
            job = int(w[queue + i])
            r = job_at(st, job)
            time = planned if job == j else int(st.job[r + PLANNED])
            goes = within(st.job, r + NEED, w, 0, kinds)
            if blocked and goes:
                goes = backfills
                if goes and t + time > shadow:
                    goes = within(st.job, r + NEED, w, kinds, kinds)
                    if goes:
                        for k in range(kinds):
                            w[kinds + k] -= st.job[r + NEED + k]
            elif not goes and not blocked and within(st.job, r + NEED, st.mem, at + ROOM + kinds, kinds):
                blocked = True
                shadow = _shadow(st, r + NEED, w, runs, n, kinds)
            if goes:
                if job == j:
                    return t
                for k in range(kinds):
                    w[k] -= st.job[r + NEED + k]
                n = _hold(st, r + NEED, t + max(time, 1), w, runs, n, kinds)
            else:
                w[queue + left] = job
                left += 1
        q = left
        if n == 0:
            return FOREVER
        t = int(w[runs])
        if t >= limit:
            return limit
        ended = 0
        while ended < n and w[runs + ended * wide] == t:
            for k in range(kinds):
                w[k] += w[runs + ended * wide + 1 + k]
            ended += 1
        for i in range((n - ended) * wide):
            w[runs + i] = w[runs + ended * wide + i]
        n -= ended


def _shadow(st: State, need: int, w: Words, runs: int, n: int, kinds: int) -> int:
    """When what st.job[need:] asks is free; what is then left over goes to w[kinds:]. Ties count."""
    wide, shadow = 1 + kinds, FOREVER
    for k in range(kinds):
        w[kinds + k] = w[k] - st.job[need + k]
    for i in range(n):
        a = runs + i * wide
        if w[a] > shadow:
            break
        enough = True
        for k in range(kinds):
            w[kinds + k] += w[a + 1 + k]
            if w[kinds + k] < 0:
                enough = False
        if enough and shadow == FOREVER:
            shadow = int(w[a])
    return shadow


def _hold(st: State, need: int, end: int, w: Words, runs: int, n: int, kinds: int) -> int:
    """A job that ends at `end` joins those that run, in order of their ends; how many there are."""
    wide = 1 + kinds
    i = n
    while i > 0 and w[runs + (i - 1) * wide] > end:
        for k in range(wide):
            w[runs + i * wide + k] = w[runs + (i - 1) * wide + k]
        i -= 1
    a = runs + i * wide
    w[a] = end
    for k in range(kinds):
        w[a + 1 + k] = st.job[need + k]
    return n + 1

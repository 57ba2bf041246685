"""The steps of a site: a job arrives, jobs end, jobs are started. The same source decides live and in the simulation.

At one instant: all ends, then all arrivals, then `schedule`. EASY: jobs start from the head of the queue while they fit; the
first that does not gets a reservation at its *shadow* instant, the earliest at which, by the planned times, enough is free; others
start now if they fit and either end by the shadow instant or take only what the reservation leaves over. At the shadow instant
every release counts, ties included. A job that the whole site could not hold is passed over: it blocks nobody.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from tidegrid.scheduling.kernel.backfill import fill_along_line, fill_by_rank, reserve
from tidegrid.scheduling.kernel.conservative import reserve_all
from tidegrid.scheduling.kernel.heads import choose_head, key_of, needs_at, slot_at
from tidegrid.scheduling.kernel.layout import (
    ARRIVAL,
    ARRIVED,
    BACKFILL,
    CONSERVATIVE,
    DIRTY,
    EXPECTED,
    FILL,
    FOREVER,
    HEAD,
    IN_QUEUE,
    KINDS,
    NEED,
    NONE,
    ON_THE_WAY,
    ORDER,
    PLANNED,
    ROOM,
    RUN,
    RUNNERS,
    SENT,
    START,
    STARTED,
    SUBMIT,
    WAITERS,
    WAITING,
    WAKE,
    State,
    job_at,
    policy_at,
    site_at,
    within,
)
from tidegrid.scheduling.kernel.lines import (
    BLOCKS,
    FIGURE,
    JOB,
    KEYS,
    NEXT,
    ROW,
    SLOTS,
    STALE,
    WIDTH,
    B,
    find,
    first,
    put,
    summarise,
    take,
)
from tidegrid.scheduling.kernel.orders import MOVING
from tidegrid.scheduling.kernel.running import give_back, outlived, start_slot
from tidegrid.scheduling.kernel.runs import plan


def enter(st: State, s: int, j: int) -> None:
    """Job j joins the queue of site s. Its SUBMIT, ESTIMATE, RUN, USER and needs are in its row."""
    at, row = site_at(st, s), job_at(st, j)
    planned, since, seq = plan(st, s, j, int(st.job[row + PLANNED])), int(st.job[row + SUBMIT]), int(st.mem[at + ARRIVED])
    st.job[row + PLANNED] = planned
    st.job[row + ARRIVAL] = seq
    st.job[row + START] = -1
    st.job[row + EXPECTED] = -1
    st.mem[at + ARRIVED] += 1
    st.mem[at + WAITING] += 1
    put(st.mem, st.num, st.mem[WAITERS], s, key_of(st, s, j), j, planned, since, seq, st.job, row + NEED)


def send(st: State, s: int, j: int, arrives: int) -> None:
    """Job j is on its way to site s. Of those that arrive at one time the lower number joins the queue first."""
    row = job_at(st, j)
    planned = plan(st, s, j, int(st.job[row + PLANNED]))
    st.mem[site_at(st, s) + SENT] += 1
    put(st.mem, st.num, st.mem[WAITERS], st.mem[ON_THE_WAY] + s, float(arrives), j, planned, arrives, j, st.job, row + NEED)


def arrive(st: State, s: int, now: int) -> int:
    """Those on their way to s that arrive by `now` join its queue; how many."""
    m, p, n, line = st.mem, st.mem[WAITERS], 0, int(st.mem[ON_THE_WAY] + s)
    b = first(m, p, line)
    while b >= 0 and st.num[m[p + KEYS] + b * B] <= now:
        j = int(m[m[p + SLOTS] + b * B * m[p + WIDTH] + JOB])
        take(m, st.num, p, line, b, 0)
        st.mem[site_at(st, s) + SENT] -= 1
        enter(st, s, j)
        n += 1
        b = first(m, p, line)
    return n


def withdraw(st: State, s: int, j: int) -> bool:
    """Take a waiting job out of the queue; False where it does not wait there."""
    p = st.mem[WAITERS]
    slot = find(st.mem, st.num, p, s, key_of(st, s, j), j)
    if slot < 0:
        return False
    take(st.mem, st.num, p, s, slot // B, slot % B)
    at = site_at(st, s)
    st.mem[at + WAITING] -= 1
    if st.mem[at + HEAD] == j:
        st.mem[at + DIRTY] = 1
    return True


def next_event(st: State, s: int) -> int:
    """When something happens at the site though nobody new comes; FOREVER for never."""
    p, at = st.mem[RUNNERS], site_at(st, s)
    b = first(st.mem, p, 2 * s)
    then = int(st.mem[at + WAKE])
    if b >= 0:
        then = min(int(st.num[st.mem[p + KEYS] + b * B]), then)
    if st.mem[at + SENT] > 0:
        p = st.mem[WAITERS]
        then = min(int(st.num[st.mem[p + KEYS] + first(st.mem, p, st.mem[ON_THE_WAY] + s) * B]), then)
    return then


def finish(st: State, s: int, now: int) -> int:
    """All jobs that end by `now` give back what they have; how many."""
    ended, p, at = 0, st.mem[RUNNERS], site_at(st, s)
    if st.mem[at + WAKE] <= now:
        st.mem[at + WAKE] = FOREVER
    keys, slots, w = st.mem[p + KEYS], st.mem[p + SLOTS], st.mem[p + WIDTH]
    b = first(st.mem, p, 2 * s)
    while b >= 0 and st.num[keys + b * B] <= now:
        j = int(st.mem[slots + b * B * w + JOB])
        take(st.mem, st.num, p, 2 * s, b, 0)
        give_back(st, s, j, int(st.job[job_at(st, j) + RUN]))
        ended += 1
        b = first(st.mem, p, 2 * s)
    return ended


def release(st: State, s: int, j: int, now: int) -> None:
    """A running job ends now, whatever was foreseen."""
    row, p = job_at(st, j), st.mem[RUNNERS]
    if st.job[row + RUN] >= 0:
        slot = find(st.mem, st.num, p, 2 * s, float(st.job[row + START] + st.job[row + RUN]), j)
        take(st.mem, st.num, p, 2 * s, slot // B, slot % B)
    give_back(st, s, j, now - int(st.job[row + START]))


def resize(st: State, s: int, k: int, change: int) -> None:
    """The site gets more of kind k, or less: what runs goes on, and free may be below 0 until it ends."""
    at = site_at(st, s)
    st.mem[at + ROOM + k] += change
    st.mem[at + ROOM + st.mem[KINDS] + k] += change
    st.mem[at + DIRTY] = 1


def schedule(st: State, s: int, now: int) -> int:
    """Start what may start now; how many jobs. `started` tells which, in the order of their starts."""
    at, policy, m = site_at(st, s), policy_at(st, s), st.mem
    if m[at + WAITING] == 0:
        return 0
    outlived(st, s, now)
    if st.num[policy + BACKFILL] == CONSERVATIVE:
        return reserve_all(st, s, now)
    if not _any_fits(st, s):
        return 0
    n, kinds = 0, m[KINDS]
    while True:
        slot = choose_head(st, s, now)
        if slot < 0:
            return n
        if not within(m, needs_at(st, slot), m, at + ROOM, kinds):
            break
        start_slot(st, s, slot, now, n)
        n += 1
        m[at + DIRTY] = 1
    if st.num[policy + BACKFILL] == NONE or m[at + WAITING] == 1:
        return n
    head = int(m[slot_at(st, slot) + JOB])
    if m[at + DIRTY] != 0 or m[at + HEAD] != head:
        reserve(st, s, now, head)
    if st.num[policy + FILL] == IN_QUEUE and st.num[policy + ORDER] >= MOVING:
        return fill_by_rank(st, s, now, head, n)
    return fill_along_line(st, s, now, head, n)


def started(st: State, i: int) -> int:
    """The i-th job that the last `schedule` started."""
    return int(st.mem[st.mem[STARTED] + i])


def _any_fits(st: State, s: int) -> bool:
    """Whether anything that waits may fit what is free; False only if nothing does."""
    m, p, room = st.mem, st.mem[WAITERS], site_at(st, s) + ROOM
    row, blocks, kinds = m[p + ROW], m[p + BLOCKS], m[KINDS]
    b = first(m, p, s)
    while b >= 0:
        at = blocks + b * row
        if within(m, at + FIGURE, m, room, kinds):
            if m[at + STALE] == 0:
                return True
            summarise(m, p, b)
            if within(m, at + FIGURE, m, room, kinds):
                return True
        b = int(m[at + NEXT])
    return False

"""Conservative backfill: every waiting job has a reservation, and none is moved back for another.

At every event each job in the order of the queue gives up its reservation for the earliest one that leaves all others' as they
are; those whose reservation begins now start. A reservation moves back only where a running job outlives its planned time.
The site's future is a profile: a list of instants and what is free from each to the next, by the planned times.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from tidegrid.scheduling.kernel.heads import choose_next, key_of
from tidegrid.scheduling.kernel.layout import (
    DIRTY,
    EXPECTED,
    FOREVER,
    KINDS,
    NEED,
    PLANNED,
    PROFILE,
    ROOM,
    RUNNERS,
    STARTED,
    WAITERS,
    WAKE,
    State,
    job_at,
    site_at,
    within,
)
from tidegrid.scheduling.kernel.lines import BLOCKS, COUNT, JOB, KEYS, NEXT, ROW, SLOTS, WIDTH, B, find, first
from tidegrid.scheduling.kernel.running import start_slot


def reserve_all(st: State, s: int, now: int) -> int:
    """Reserve for all that wait and start what may start now; how many, as `schedule`."""
    m, at, kinds = st.mem, site_at(st, s), st.mem[KINDS]
    count = _profile(st, s, now)
    m[at + DIRTY] = 0
    n, wake, slot = 0, FOREVER, -1
    while True:
        slot = choose_next(st, s, now, slot)
        if slot < 0:
            break
        j = int(m[m[m[WAITERS] + SLOTS] + slot * m[m[WAITERS] + WIDTH] + JOB])
        row = job_at(st, j)
        if within(st.job, row + NEED, m, at + ROOM + kinds, kinds):
            if st.job[row + EXPECTED] >= 0:
                count = _change(st, j, max(int(st.job[row + EXPECTED]), now), 1, count)
            then = _earliest(st, j, count)
            count = _change(st, j, then, -1, count)
            st.job[row + EXPECTED] = then
            if then == now:
                m[m[STARTED] + n] = j
                n += 1
            elif then < wake:
                wake = then
    for i in range(n):
        j = int(m[m[STARTED] + i])
        start_slot(st, s, find(m, st.num, m[WAITERS], s, key_of(st, s, j), j), now, i)
    m[at + WAKE] = wake
    return n


def _profile(st: State, s: int, now: int) -> int:
    """Write down what is free from now on; how many instants. What has outlived its estimate gives back a second from now."""
    m, p, at, kinds = st.mem, st.mem[RUNNERS], site_at(st, s), st.mem[KINDS]
    width, f = 1 + kinds, m[PROFILE]
    m[f] = now
    for k in range(kinds):
        m[f + 1 + k] = m[at + ROOM + k]
    count = 1
    b = first(m, p, 2 * s + 1)
    while b >= 0:
        for i in range(b * B, b * B + m[m[p + BLOCKS] + b * m[p + ROW] + COUNT]):
            then, e = max(int(st.num[m[p + KEYS] + i]), now + 1), f + count * width
            if m[e - width] != then:
                m[e] = then
                for k in range(1, width):
                    m[e + k] = m[e - width + k]
                count += 1
                e += width
            a = m[p + SLOTS] + (i + 1) * m[p + WIDTH] - kinds
            for k in range(kinds):
                m[e - kinds + k] += m[a + k]
        b = int(m[m[p + BLOCKS] + b * m[p + ROW] + NEXT])
    w = m[WAITERS]
    b = first(m, w, s)
    while b >= 0:
        for i in range(b * B, b * B + m[m[w + BLOCKS] + b * m[w + ROW] + COUNT]):
            j = int(m[m[w + SLOTS] + i * m[w + WIDTH] + JOB])
            then = int(st.job[job_at(st, j) + EXPECTED])
            if then >= 0:
                count = _change(st, j, max(then, now), -1, count)
        b = int(m[m[w + BLOCKS] + b * m[w + ROW] + NEXT])
    return count


def _cut(st: State, then: int, count: int) -> int:
    """See that an instant of the profile is at `then`; how many there are now."""
    m, width = st.mem, 1 + st.mem[KINDS]
    f = m[PROFILE]
    i = count
    while m[f + (i - 1) * width] > then:
        i -= 1
    if m[f + (i - 1) * width] == then:
        return count
    for x in range(f + count * width - 1, f + i * width - 1, -1):
        m[x + width] = m[x]
    m[f + i * width] = then
    for k in range(1, width):
        m[f + i * width + k] = m[f + (i - 1) * width + k]
    return count + 1


def _change(st: State, j: int, then: int, sign: int, count: int) -> int:
    """Give back (1) or reserve (-1) what the job needs, from `then` on as long as it is planned; how many instants there are."""
    m, kinds, row = st.mem, st.mem[KINDS], job_at(st, j)
    end, width, f = then + max(int(st.job[row + PLANNED]), 1), 1 + kinds, m[PROFILE]
    count = _cut(st, end, _cut(st, then, count))
    for e in range(f, f + count * width, width):
        if then <= m[e] < end:
            for k in range(kinds):
                m[e + 1 + k] += sign * st.job[row + NEED + k]
    return count


def _earliest(st: State, j: int, count: int) -> int:
    """The first instant of the profile from which on the job has what it needs, as long as it is planned. Once all has ended it has."""
    m, kinds, row = st.mem, st.mem[KINDS], job_at(st, j)
    planned, width, f = max(int(st.job[row + PLANNED]), 1), 1 + kinds, m[PROFILE]
    begin = 0
    i = 0
    while i < count and m[f + i * width] < m[f + begin * width] + planned:
        if within(st.job, row + NEED, m, f + i * width + 1, kinds):
            i += 1
        else:
            i += 1
            begin = i
    return int(m[f + min(begin, count - 1) * width])

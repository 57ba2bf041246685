"""A queue run ahead, kept to be asked again: the outlook on a site.

Who comes last holds up nobody before him. So the queue is run ahead without the job that is asked about, only as far as it takes to
answer, and at each instant it is noted who could still start then, from the tail. The notes serve every job that comes before the
site changes.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from tidegrid.scheduling.kernel.layout import (
    BACKFILL,
    FOREVER,
    KINDS,
    NEED,
    ON_THE_WAY,
    ROOM,
    RUNNERS,
    SENT,
    WAITERS,
    WAITING,
    State,
    Words,
    job_at,
    policy_at,
    site_at,
    within,
)
from tidegrid.scheduling.kernel.lines import BLOCKS, COUNT, JOB, KEYS, NEXT, ROW, SLOTS, TIME, WIDTH, B, first

# an outlook's words: the time it is from, the first planned end after that (until then it stays as it is); where there begin and end
# those that run, by their ends, and the queue; where the notes begin and how many they are; whether the reservation of the queue's
# head is known, and when it is. Then of each kind what is free, what the reservation leaves over, the least that anybody in the queue
# asks, and a sum. One that runs: its end and needs; one that waits: its time and needs; a note: an instant, by when one who starts then must end
# unless he takes only what is left over, and of each kind what is free and left over
BEGUN, FIRST, RUNS, RUNS_END, QUEUE, QUEUE_END, NOTED, NOTES, SHADOWED, SHADOW_AT, OUTLOOK = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10


def scratch(jobs: int, kinds: int) -> int:
    """Words of an outlook on a site where at most `jobs` wait and run at one time."""
    return OUTLOOK + 4 * kinds + (jobs + 2) * (4 + 4 * kinds)


def look(st: State, s: int, now: int, j: int, w: Words, o: int) -> None:
    """Begin the outlook at w[o] on the queue of s as it is now, as far as job j if it waits there; who is on the way comes last, as if
    there already."""
    m, kinds, at = st.mem, st.mem[KINDS], site_at(st, s)
    wide, room = 1 + kinds, o + OUTLOOK
    for k in range(kinds):
        w[room + k] = m[at + ROOM + k]
        w[room + kinds + k] = -1
    runs, n = room + 4 * kinds, 0
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
    queue = runs + (n + m[at + WAITING] + m[at + SENT]) * wide
    end = _copy_waiting(st, s, s, j, w, o, queue, queue)
    if end >= 0 and m[at + SENT] > 0:
        end = _copy_waiting(st, s, int(m[ON_THE_WAY]) + s, j, w, o, queue, end)
    end = abs(end)
    w[o + BEGUN], w[o + SHADOWED], w[o + NOTES] = now, 0, 0
    w[o + RUNS], w[o + RUNS_END], w[o + QUEUE], w[o + QUEUE_END] = runs, runs + n * wide, queue, end
    w[o + NOTED] = queue + (m[at + WAITING] + m[at + SENT]) * wide
    then = int(w[runs]) if n > 0 else FOREVER
    quiet = not _start_there(st, s, now, w, o)
    w[o + FIRST] = then if quiet else now  # what starts at once by the outlook though not in truth would start later, later


def _copy_waiting(st: State, s: int, line: int, j: int, w: Words, o: int, queue: int, end: int) -> int:
    """Copy those of a line that the whole site could hold, as far as job j, to w[end:]; where it ends, less than 0 where that is j."""
    m, kinds, at = st.mem, st.mem[KINDS], site_at(st, s)
    wide, least, p = 1 + kinds, o + OUTLOOK + 2 * kinds, m[WAITERS]
    row, blocks, slots, width = m[p + ROW], m[p + BLOCKS], m[p + SLOTS], m[p + WIDTH]
    b = first(m, p, line)
    while b >= 0:
        for i in range(b * B, b * B + m[blocks + b * row + COUNT]):
            a = slots + i * width
            if m[a + JOB] == j:
                return -end
            need = a + width - kinds
            if within(m, need, m, at + ROOM + kinds, kinds):
                w[end] = m[a + TIME]
                for k in range(kinds):
                    w[end + 1 + k] = m[need + k]
                    if end == queue or m[need + k] < w[least + k]:
                        w[least + k] = m[need + k]
                end += wide
        b = int(m[blocks + b * row + NEXT])
    return end


def begins_by(st: State, s: int, now: int, j: int, planned: int, limit: int, w: Words, o: int) -> int:
    """When job j, at the tail, starts by the outlook at w[o], which is carried on as far as needed; at most `limit`."""
    kinds, need = st.mem[KINDS], job_at(st, j) + NEED
    wide, note = 2 + 2 * kinds, w[o + NOTED]
    i, t = 0, now
    while True:
        if within(st.job, need, w, note + 2, kinds) and (
            t + planned <= w[note + 1] or within(st.job, need, w, note + 2 + kinds, kinds)
        ):
            return t
        i += 1
        note += wide
        if i < w[o + NOTES]:
            t = int(w[note])
            if t >= limit:
                return limit
            continue
        if w[o + RUNS] == w[o + RUNS_END]:
            return FOREVER
        t = int(w[w[o + RUNS]])
        if t >= limit:
            return limit
        _end_there(st, t, w, o)
        _start_there(st, s, t, w, o)


def _end_there(st: State, t: int, w: Words, o: int) -> None:
    """What ends at t by the outlook gives back what it has."""
    kinds = st.mem[KINDS]
    a, end = w[o + RUNS], w[o + RUNS_END]
    while a < end and w[a] == t:
        for k in range(kinds):
            w[o + OUTLOOK + k] += w[a + 1 + k]
        a += 1 + kinds
    w[o + RUNS] = a


def _start_there(st: State, s: int, t: int, w: Words, o: int) -> bool:
    """Start what the outlook's queue starts at t, and note who else could; whether anything was started."""
    kinds, free = st.mem[KINDS], o + OUTLOOK
    extra, wide = free + kinds, 1 + kinds
    a, end = w[o + QUEUE], w[o + QUEUE_END]
    head = a
    while a < end and within(w, a + 1, w, free, kinds):
        _hold(t, w, o, a, kinds)
        a += wide
    any_started = a > head
    w[o + QUEUE] = a
    backfills = st.num[policy_at(st, s) + BACKFILL] != 0
    until = -1
    if a == end:
        until = 2 * FOREVER
    elif backfills:
        if any_started or w[o + SHADOWED] == 0:
            w[o + SHADOW_AT] = _shadow(w, o, a, kinds)
            w[o + SHADOWED] = 1
        until = int(w[o + SHADOW_AT])
        if within(w, free + 2 * kinds, w, free, kinds):
            keep = a + wide
            for b in range(keep, end, wide):
                goes = within(w, b + 1, w, free, kinds)
                if goes and t + w[b] > until:
                    goes = within(w, b + 1, w, extra, kinds)
                    if goes:
                        for k in range(kinds):
                            w[extra + k] -= w[b + 1 + k]
                if goes:
                    _hold(t, w, o, b, kinds)
                    any_started = True
                else:
                    if keep < b:
                        for k in range(wide):
                            w[keep + k] = w[b + k]
                    keep += wide
            w[o + QUEUE_END] = keep
    note = w[o + NOTED] + w[o + NOTES] * (2 + 2 * kinds)
    w[note] = t
    w[note + 1] = until
    for k in range(2 * kinds):
        w[note + 2 + k] = w[free + k]
    w[o + NOTES] += 1
    return bool(any_started)


def _shadow(w: Words, o: int, head: int, kinds: int) -> int:
    """When what the job at w[head] asks is free by the outlook; what is then left over goes to its `extra`. Ties count. It stays
    right until that job starts: who passes it ends by then, or is taken from what is left over."""
    free, extra, shadow = o + OUTLOOK, o + OUTLOOK + kinds, FOREVER
    for k in range(kinds):
        w[extra + k] = w[free + k] - w[head + 1 + k]
    for a in range(w[o + RUNS], w[o + RUNS_END], 1 + kinds):
        if w[a] > shadow:
            break
        enough = True
        for k in range(kinds):
            w[extra + k] += w[a + 1 + k]
            if w[extra + k] < 0:
                enough = False
        if enough and shadow == FOREVER:
            shadow = int(w[a])
    return shadow


def _hold(t: int, w: Words, o: int, job: int, kinds: int) -> None:
    """The job at w[job] starts at t and joins those that run, in order of their ends."""
    wide, runs = 1 + kinds, w[o + RUNS]
    end = t + max(w[job], 1)
    a = w[o + RUNS_END]
    while a > runs and w[a - wide] > end:
        for k in range(wide):
            w[a + k] = w[a - wide + k]
        a -= wide
    w[a] = end
    for k in range(kinds):
        w[a + 1 + k] = w[job + 1 + k]
        w[o + OUTLOOK + k] -= w[job + 1 + k]
    w[o + RUNS_END] += wide

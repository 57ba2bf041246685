"""Ordered lines of jobs, kept as chains of small blocks: the waiting jobs of a site, and its running ones.

A block holds up to `B` slots in order, and for the whole block what lets a scan pass over it: of waiting jobs the smallest need
of each kind, the shortest time and the oldest job; of running jobs the sum of their needs. All lines of one pool share its
blocks, so that the lines of many sites take no more room than their jobs.

A pool lies in the two memories of a state: words m (int64) from `p` on, keys f (float64). Kernel source: plain Python over
lists, or compiled over arrays.
"""

from __future__ import annotations

from tidegrid.scheduling.kernel.layout import Numbers, Words

B = 32  # slots of a block

# a pool's words: where its slots and blocks begin in m and its keys in f, how many blocks there are, the words of a slot and of a
# block, the kinds; first block of the free ones, first never used; then first and last of each line
SLOTS, BLOCKS, KEYS, LIMIT, WIDTH, ROW, KINDS, FREE, UNUSED, LINES = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
# a block's words: its neighbours, how many slots are used, of waiting jobs the shortest time and the oldest, whether these are
# only bounds, and in which round nothing of it could start; then one figure a kind
NEXT, PREV, COUNT, SHORTEST, OLDEST, STALE, BARREN, FIGURE = 0, 1, 2, 3, 4, 5, 6, 7
# a slot's words: the job; of a waiting one also the time it is planned with, since when it waits, its place among arrivals; then
# its need of each kind, at the end
JOB, TIME, SINCE, SEQ = 0, 1, 2, 3
FEW = 2  # words of a running job's slot beside its needs, at most


def first(m: Words, p: int, line: int) -> int:
    """The line's first block, -1 where it is empty."""
    return int(m[p + LINES + 2 * line])


def _new_block(m: Words, p: int, line: int, before: int, after: int) -> int:
    """An empty block between two blocks of a line (-1: the line's end)."""
    row, blocks = m[p + ROW], m[p + BLOCKS]
    b = m[p + FREE]
    if b >= 0:
        m[p + FREE] = m[blocks + b * row + NEXT]
    else:
        b = m[p + UNUSED]
        if b >= m[p + LIMIT]:
            raise MemoryError("more jobs wait or run at one time than the state was made for")
        m[p + UNUSED] = b + 1
    at = blocks + b * row
    m[at + NEXT] = after
    m[at + PREV] = before
    m[at + COUNT] = 0
    m[at + BARREN] = -1
    if before >= 0:
        m[blocks + before * row + NEXT] = b
    else:
        m[p + LINES + 2 * line] = b
    if after >= 0:
        m[blocks + after * row + PREV] = b
    else:
        m[p + LINES + 2 * line + 1] = b
    return int(b)


def _drop_block(m: Words, p: int, line: int, b: int) -> None:
    row, blocks = m[p + ROW], m[p + BLOCKS]
    before, after = m[blocks + b * row + PREV], m[blocks + b * row + NEXT]
    if before >= 0:
        m[blocks + before * row + NEXT] = after
    else:
        m[p + LINES + 2 * line] = after
    if after >= 0:
        m[blocks + after * row + PREV] = before
    else:
        m[p + LINES + 2 * line + 1] = before
    m[blocks + b * row + NEXT] = m[p + FREE]
    m[p + FREE] = b


def _move(m: Words, f: Numbers, p: int, source: int, target: int, count: int) -> None:
    """Copy `count` slots from `source` on to `target` on, also where the two overlap."""
    w, keys, slots = m[p + WIDTH], m[p + KEYS], m[p + SLOTS]
    if source >= target:
        for x in range(keys + source, keys + source + count):
            f[x - source + target] = f[x]
        by = (source - target) * w
        for x in range(slots + source * w, slots + (source + count) * w):
            m[x - by] = m[x]
    else:
        for x in range(keys + source + count - 1, keys + source - 1, -1):
            f[x - source + target] = f[x]
        by = (target - source) * w
        for x in range(slots + (source + count) * w - 1, slots + source * w - 1, -1):
            m[x + by] = m[x]


def _later(m: Words, f: Numbers, p: int, slot: int, key: float, seq: int) -> bool:
    """Whether a slot's job comes after one of this key and place among arrivals (-1: any)."""
    other = f[m[p + KEYS] + slot]
    if other != key:
        return bool(other > key)
    return seq >= 0 and bool(m[m[p + SLOTS] + slot * m[p + WIDTH] + SEQ] > seq)


def put(
    m: Words, f: Numbers, p: int, line: int, key: float, job: int, time: int, since: int, seq: int, need: Words, at: int
) -> None:
    """Add a job in its order. need: its needs are need[at : at + kinds]; time, since, seq: of waiting jobs, -1 of running ones."""
    w, row, blocks, kinds = m[p + WIDTH], m[p + ROW], m[p + BLOCKS], m[p + KINDS]
    b = int(m[p + LINES + 2 * line + 1])
    if b < 0:
        b = _new_block(m, p, line, -1, -1)
    else:
        while m[blocks + b * row + PREV] >= 0 and _later(m, f, p, b * B, key, seq):
            b = int(m[blocks + b * row + PREV])
        if m[blocks + b * row + COUNT] == B:
            b = _room(m, f, p, line, b, key, seq)
    count = m[blocks + b * row + COUNT]
    i = int(b * B + count)
    while i > b * B and _later(m, f, p, i - 1, key, seq):
        i -= 1
    _move(m, f, p, i, i + 1, b * B + count - i)
    f[m[p + KEYS] + i] = key
    s = m[p + SLOTS] + i * w
    m[s] = job
    if seq >= 0:
        m[s + TIME] = time
        m[s + SINCE] = since
        m[s + SEQ] = seq
    for k in range(kinds):
        m[s + w - kinds + k] = need[at + k]
    _count_in(m, p, b, s, count == 0)
    m[blocks + b * row + COUNT] = count + 1
    m[blocks + b * row + BARREN] = -1


def _count_in(m: Words, p: int, b: int, s: int, alone: bool) -> None:
    """Bring the block's figures up to date with a job that came into the slot at s."""
    w, kinds, at = m[p + WIDTH], m[p + KINDS], m[p + BLOCKS] + b * m[p + ROW]
    if w > FEW + kinds:
        if alone or m[s + TIME] < m[at + SHORTEST]:
            m[at + SHORTEST] = m[s + TIME]
        if alone or m[s + SINCE] < m[at + OLDEST]:
            m[at + OLDEST] = m[s + SINCE]
        if alone:
            m[at + STALE] = 0
        for k in range(kinds):
            n = m[s + w - kinds + k]
            if alone or n < m[at + FIGURE + k]:
                m[at + FIGURE + k] = n
    else:
        for k in range(kinds):
            n = m[s + w - kinds + k]
            if not alone:
                n += m[at + FIGURE + k]
            m[at + FIGURE + k] = n


def _room(m: Words, f: Numbers, p: int, line: int, b: int, key: float, seq: int) -> int:
    """Where a full block `b` would take the job: a new block behind it, or the half of it that comes out right."""
    row, blocks = m[p + ROW], m[p + BLOCKS]
    fresh = _new_block(m, p, line, b, int(m[blocks + b * row + NEXT]))
    if not _later(m, f, p, b * B + B - 1, key, seq):
        return fresh  # it comes after all of them: mostly a line that grows at its end, whose blocks stay full
    half = B // 2
    _move(m, f, p, b * B + half, fresh * B, half)
    m[blocks + b * row + COUNT] = half
    m[blocks + fresh * row + COUNT] = half
    summarise(m, p, b)
    summarise(m, p, fresh)
    return b if _later(m, f, p, fresh * B, key, seq) else fresh


def summarise(m: Words, p: int, b: int) -> None:
    """Make a block's figures exact."""
    for i in range(m[m[p + BLOCKS] + b * m[p + ROW] + COUNT]):
        _count_in(m, p, b, m[p + SLOTS] + (b * B + i) * m[p + WIDTH], i == 0)


def take(m: Words, f: Numbers, p: int, line: int, b: int, i: int) -> int:
    """Remove slot i of block b. Returns where in `b` the job behind it now is, -1 where the block is gone.

    The figures of a block of waiting jobs stay bounds, and become exact when a scan asks for it (STALE).
    """
    w, kinds, row, blocks = m[p + WIDTH], m[p + KINDS], m[p + ROW], m[p + BLOCKS]
    at = blocks + b * row
    count = int(m[at + COUNT]) - 1
    if count == 0:
        _drop_block(m, p, line, b)
        return -1
    if w > FEW + kinds:
        m[at + STALE] = 1
    else:
        s = m[p + SLOTS] + (b * B + i + 1) * w - kinds
        for k in range(kinds):
            m[at + FIGURE + k] -= m[s + k]
    _move(m, f, p, b * B + i + 1, b * B + i, count - i)
    m[at + COUNT] = count
    if 2 * count <= B // 2:
        after, before = int(m[at + NEXT]), int(m[at + PREV])
        if after >= 0 and 2 * (m[blocks + after * row + COUNT] + count) <= B:
            _join(m, f, p, line, b, after, False)
        elif before >= 0 and 2 * (m[blocks + before * row + COUNT] + count) <= B:
            return i + _join(m, f, p, line, b, before, True)
    return i


def _join(m: Words, f: Numbers, p: int, line: int, b: int, other: int, front: bool) -> int:
    """Move what a neighbour holds to the front or the end of b; how many those were."""
    row, blocks = m[p + ROW], m[p + BLOCKS]
    count, more = int(m[blocks + b * row + COUNT]), int(m[blocks + other * row + COUNT])
    to = b * B + count
    if front:
        to = b * B
        _move(m, f, p, to, to + more, count)
    _move(m, f, p, other * B, to, more)
    m[blocks + b * row + COUNT] = count + more
    m[blocks + b * row + BARREN] = -1
    _drop_block(m, p, line, other)
    summarise(m, p, b)
    return more


def find(m: Words, f: Numbers, p: int, line: int, key: float, job: int) -> int:
    """The slot of a job by its key, -1 where the line has none such."""
    w, row, blocks, slots, keys = m[p + WIDTH], m[p + ROW], m[p + BLOCKS], m[p + SLOTS], m[p + KEYS]
    b = int(m[p + LINES + 2 * line])
    while b >= 0:
        last = b * B + m[blocks + b * row + COUNT] - 1
        if f[keys + last] >= key:
            for i in range(b * B, last + 1):
                if m[slots + i * w] == job:
                    return int(i)
            if f[keys + last] > key:
                return -1
        b = int(m[blocks + b * row + NEXT])
    return -1

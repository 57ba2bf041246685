"""What jobs that run hold, and when they are expected to end. Kernel source: plain Python over lists, or compiled over arrays."""

from __future__ import annotations

from tidegrid.scheduling.kernel.heads import slot_at, usage_of
from tidegrid.scheduling.kernel.layout import (
    DIRTY,
    ESTIMATE,
    EXPECTED,
    FILL,
    IN_QUEUE,
    KINDS,
    NEED,
    ORDER,
    PLANNED,
    PREDICTOR,
    PUT_OFF,
    PUTTING_OFF,
    RESERVED_BY,
    ROOM,
    RUN,
    RUNNERS,
    RUNNING,
    START,
    STARTED,
    USAGE,
    USAGE_AT,
    USER,
    WAITERS,
    WAITING,
    State,
    history_at,
    job_at,
    policy_at,
    site_at,
)
from tidegrid.scheduling.kernel.lines import (
    BLOCKS,
    COUNT,
    JOB,
    KEYS,
    NEXT,
    ROW,
    SHORTEST,
    SLOTS,
    STALE,
    TIME,
    WIDTH,
    B,
    find,
    first,
    put,
    take,
)
from tidegrid.scheduling.kernel.orders import FAIR, MOVING
from tidegrid.scheduling.kernel.runs import ALIKE, BY_QUANTILE, LAST_TWO, learn, plan, put_off


def start_slot(st: State, s: int, slot: int, now: int, n: int) -> int:
    """Start a waiting job as the n-th of this step; where in its block the one behind it now is, -1 where that is gone."""
    j = int(st.mem[slot_at(st, slot) + JOB])
    i = take(st.mem, st.num, st.mem[WAITERS], s, slot // B, slot % B)
    st.mem[site_at(st, s) + WAITING] -= 1
    start(st, s, j, now)
    st.mem[st.mem[STARTED] + n] = j
    return i


def start(st: State, s: int, j: int, now: int) -> None:
    """Job j, which is in no line, takes its share of the site from now on."""
    row = job_at(st, j)
    st.job[row + START] = now
    st.job[row + EXPECTED] = now + st.job[row + PLANNED]
    if st.num[policy_at(st, s) + RESERVED_BY] != 0.0:
        st.job[row + EXPECTED] = now + st.job[row + ESTIMATE]
    st.job[row + PUT_OFF] = 0
    hold(st, s, j)
    if st.num[policy_at(st, s) + ORDER] == FAIR:
        _use(st, s, j, now, int(st.job[row + PLANNED]))


def hold(st: State, s: int, j: int) -> None:
    """Job j runs, as START, RUN and EXPECTED say: count what it has."""
    at, row, p = site_at(st, s), job_at(st, j), st.mem[RUNNERS]
    for k in range(st.mem[KINDS]):
        st.mem[at + ROOM + k] -= st.job[row + NEED + k]
    st.mem[at + RUNNING] += 1
    if st.job[row + RUN] >= 0:
        end = float(st.job[row + START] + st.job[row + RUN])
        put(st.mem, st.num, p, 2 * s, end, j, -1, -1, -1, st.job, row + NEED)
    put(st.mem, st.num, p, 2 * s + 1, float(st.job[row + EXPECTED]), j, -1, -1, -1, st.job, row + NEED)


def give_back(st: State, s: int, j: int, ran: int) -> None:
    """Job j, which is no more in the line of actual ends, has run for `ran` seconds."""
    at, row, p, policy = site_at(st, s), job_at(st, j), st.mem[RUNNERS], policy_at(st, s)
    slot = find(st.mem, st.num, p, 2 * s + 1, float(st.job[row + EXPECTED]), j)
    take(st.mem, st.num, p, 2 * s + 1, slot // B, slot % B)
    for k in range(st.mem[KINDS]):
        st.mem[at + ROOM + k] += st.job[row + NEED + k]
    st.mem[at + RUNNING] -= 1
    st.mem[at + DIRTY] = 1
    predictor = st.num[policy + PREDICTOR]
    if predictor in (LAST_TWO, BY_QUANTILE, ALIKE):
        learn(st, s, j, ran)
    in_order_of_arrivals = st.num[policy + FILL] == IN_QUEUE and st.num[policy + ORDER] >= MOVING
    if predictor == ALIKE and in_order_of_arrivals and st.job[row + USER] >= 0:
        _plan_anew(st, s, j)
    if st.num[policy + ORDER] == FAIR:
        _use(st, s, j, int(st.job[row + START]) + ran, ran - int(st.job[row + PLANNED]))


def _plan_anew(st: State, s: int, ended: int) -> None:
    """Plan the waiting jobs of the user whose job has ended with what is known now. Their line is in the order of arrivals,
    for which it does not matter what they are planned with."""
    m, p, user = st.mem, st.mem[WAITERS], st.job[job_at(st, ended) + USER]
    row, blocks = m[p + ROW], m[p + BLOCKS]
    b = first(m, p, s)
    while b >= 0:
        at = blocks + b * row
        for slot in range(b * B, b * B + m[at + COUNT]):
            a = slot_at(st, slot)
            j = int(m[a + JOB])
            if st.job[job_at(st, j) + USER] == user:
                planned = plan(st, s, j, -1)
                st.job[job_at(st, j) + PLANNED] = planned
                m[a + TIME] = planned
                m[at + SHORTEST] = min(m[at + SHORTEST], planned)
                m[at + STALE] = 1
        b = int(m[at + NEXT])


def _use(st: State, s: int, j: int, now: int, seconds: int) -> None:
    """Charge the job's user with `seconds` of it (less than none: what was planned and not used)."""
    if st.job[job_at(st, j) + USER] < 0:
        return
    h = history_at(st, s, j)
    usage = usage_of(st, s, j, now) + float(seconds * st.job[job_at(st, j) + NEED])
    st.num[h + USAGE] = usage
    st.num[h + USAGE_AT] = float(now)


def outlived(st: State, s: int, now: int) -> None:
    """Put off the expected ends that have passed. One past its estimate stays: it may end at any moment."""
    m, p, at, how = st.mem, st.mem[RUNNERS], site_at(st, s), st.num[policy_at(st, s) + PUTTING_OFF]
    row, blocks, slots, w, line = m[p + ROW], m[p + BLOCKS], m[p + SLOTS], m[p + WIDTH], 2 * s + 1
    b = first(m, p, line)
    i = 0
    while b >= 0 and st.num[m[p + KEYS] + b * B + i] <= now:
        m[at + DIRTY] = 1
        j = int(m[slots + (b * B + i) * w + JOB])
        r = job_at(st, j)
        then, times, estimate = int(st.job[r + START]), int(st.job[r + PUT_OFF]), int(st.job[r + ESTIMATE])
        planned = int(st.job[r + EXPECTED]) - then
        while then + planned <= now and planned < estimate:
            planned = put_off(how, planned, estimate, times)
            times += 1
        if then + planned > now:
            st.job[r + EXPECTED] = then + planned
            st.job[r + PUT_OFF] = times
            take(m, st.num, p, line, b, i)
            put(m, st.num, p, line, float(then + planned), j, -1, -1, -1, st.job, r + NEED)
            b = first(m, p, line)
            i = 0
        else:
            i += 1
            if i == m[blocks + b * row + COUNT]:
                b = int(m[blocks + b * row + NEXT])
                i = 0

"""Which site a job goes to, and which waiting jobs go elsewhere: the broker of many sites' queues.

`home`: nowhere else. `earliest`: where the queue, run ahead, starts it first. `least`: where the least work is left, relative to the
site's size. `two`: the better of two sites drawn and home, by that. `tide`: a job waits at home, which holds its place in the
queue, and goes wherever it can start now without delaying what is reserved there; it waits elsewhere only if home is far behind.

A waiting job is moved only to start, so a place in a queue is never given up for a promise, and many moves cannot rush to one site:
each is carried out before the next is looked at. Sites that want money beyond the cheaper place, or time to bring the data there, are
weighed against the wait that they save.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from tidegrid.scheduling.kernel.ahead import begins, begins_last, begins_now, forget
from tidegrid.scheduling.kernel.layout import (
    ESTIMATE,
    FOREVER,
    KINDS,
    NEED,
    PLANNED,
    ROOM,
    RUNNING,
    SUBMIT,
    WAITERS,
    WAITING,
    State,
    Words,
    job_at,
    site_at,
    within,
)
from tidegrid.scheduling.kernel.ledger import is_open, settle
from tidegrid.scheduling.kernel.lines import BLOCKS, COUNT, JOB, NEXT, ROW, SLOTS, WIDTH, B, first
from tidegrid.scheduling.kernel.net import (
    AHEAD,
    DRAW,
    EARLIEST,
    FAIR,
    JOBS,
    KEPT_JOBS,
    LEAST,
    LEFT,
    MOVES,
    NOW_ALONE,
    NOW_HERE,
    PLACE,
    PRICE,
    REHOME_S,
    REHOME_SHARE,
    RULE,
    SITES,
    TIDE,
    TRAVELLERS,
    TWO,
    VALUE,
    WAY,
    Net,
    delay,
    home_of,
    ledger_at,
    outlook_at,
    place_of,
)
from tidegrid.scheduling.kernel.runs import plan
from tidegrid.scheduling.kernel.steps import enter, next_event, schedule, started, withdraw


def planned_at(st: State, s: int, j: int) -> int:
    """Seconds that job j would be planned with at s."""
    return plan(st, s, j, int(st.job[job_at(st, j) + PLANNED]))


def dearer(st: State, net: Net, j: int, a: int, b: int, planned: int) -> float:
    """What the job costs more at b than at a."""
    prices = int(net.num[PRICE])
    return float((net.num[prices + b] - net.num[prices + a]) * st.job[job_at(st, j) + NEED] * planned)


def choose(st: State, net: Net, now: int, j: int) -> int:
    """The site that a new job goes to."""
    rule, home = int(net.word[RULE]), home_of(net, j)
    if rule == EARLIEST:
        return _earliest(st, net, now, j, home, FOREVER)
    if rule == LEAST:
        best = home
        for s in range(net.word[SITES]):
            best = _emptier(st, net, j, best, s)
        return best
    if rule == TWO:
        best = _emptier(st, net, j, home, _draw(net))
        return _emptier(st, net, j, best, _draw(net))
    if rule == TIDE:
        s = where_now(st, net, now, j, -1)
        if s >= 0:
            return s
        planned = planned_at(st, home, j)
        here = begins_there(st, net, home, now, j, planned, FOREVER)
        limit = here - max(int(net.num[REHOME_S]), int((here - now) * net.num[REHOME_SHARE]))
        if here == FOREVER:
            limit = FOREVER
        if limit > now:
            return _earliest(st, net, now, j, home, limit)
    return home


def _earliest(st: State, net: Net, now: int, j: int, home: int, limit: int) -> int:
    """Where the job starts first, and before `limit`; home if nowhere does, or as soon there, else of equal ones the first. The site
    with least work left is looked at before the others: they need not be run ahead further than that."""
    best, sites, by_start = home, int(net.word[SITES]), net.word[RULE] == EARLIEST
    if limit == FOREVER and begins_now(st, home, now, j, planned_at(st, home, j)):
        return home
    guess, least, left = -1, 0.0, int(net.num[LEFT])
    for s in range(sites):
        if s != home and is_open(net, s):
            at = site_at(st, s) + ROOM + st.mem[KINDS]
            share = net.num[left + s] / max(st.mem[at], 1)
            if (guess < 0 or share < least) and within(st.job, job_at(st, j) + NEED, st.mem, at, st.mem[KINDS]):
                guess, least = s, share
    first_limit = limit
    if guess >= 0:
        at = _begins_there(st, net, now, j, home, guess, limit)
        if at < limit:
            best, limit = guess, at
    if first_limit == FOREVER:
        at = begins_there(st, net, home, now, j, planned_at(st, home, j), _after(limit))
        if at <= limit:
            best, limit = home, at
    for s in range(sites):
        if s == home or s == guess or not is_open(net, s):  # noqa: SIM109 - compiled source
            continue
        until = _after(limit)
        if by_start and (best == home or s > best):
            until = limit  # as early as that is not enough
        at = _begins_there(st, net, now, j, home, s, until)
        if at < limit or (at == limit and at < first_limit and best != home and s < best):
            best, limit = s, at
    return best


def begins_there(st: State, net: Net, s: int, now: int, j: int, planned: int, limit: int) -> int:
    """When job j, which does not wait at s, would start there: `begins` by the outlook that is kept, if that is large enough."""
    at = site_at(st, s)
    if st.mem[at + WAITING] + st.mem[at + RUNNING] > net.kept[KEPT_JOBS]:
        return begins(st, s, now, j, planned, limit, net.ahead)
    return begins_last(st, s, now, j, planned, limit, net.kept, outlook_at(net, s))


def changed(net: Net, s: int) -> None:
    """Something arrived, started, ended or went at s: the outlook on it is out of date."""
    if s < net.word[SITES]:
        forget(net.kept, outlook_at(net, s))


def _after(limit: int) -> int:
    """A limit for looks ahead that tells what begins at `limit` from what begins later."""
    return min(limit + 1, FOREVER)


def _begins_there(st: State, net: Net, now: int, j: int, home: int, s: int, limit: int) -> int:
    """When the job would start at s, its data brought there, at most `limit`; FOREVER where that is not worth what it costs more."""
    late = delay(net, j, home, s)
    if now + late >= limit:
        return limit
    planned = planned_at(st, s, j)
    at = now
    if not begins_now(st, s, now, j, planned):
        at = begins_there(st, net, s, now, j, planned, limit - late)
    if net.word[RULE] == TIDE and at + late < limit:
        more = dearer(st, net, j, home, s, planned)
        if more > 0.0 and (limit - at - late) * net.num[VALUE] <= more:
            return FOREVER
    return min(at + late, limit)


def _emptier(st: State, net: Net, j: int, a: int, b: int) -> int:
    """Of two sites the one with less work left for its size, a if they are equal or b cannot hold the job."""
    kinds = st.mem[KINDS]
    there = site_at(st, b) + ROOM + kinds
    if not within(st.job, job_at(st, j) + NEED, st.mem, there, kinds):
        return a
    left = int(net.num[LEFT])
    if net.num[left + b] / st.mem[there] < net.num[left + a] / max(st.mem[site_at(st, a) + ROOM + kinds], 1):
        return b
    return a


def _draw(net: Net) -> int:
    """A site, all alike likely."""
    net.word[DRAW] = (net.word[DRAW] * 1103515245 + 12345) & 0x7FFFFFFF
    return int(((net.word[DRAW] >> 8) * net.word[SITES]) >> 23)


def where_now(st: State, net: Net, now: int, j: int, here: int) -> int:
    """The site where the job can start now, behind all that wait there and in nobody's way; -1 for none. here: where it waits, -1 if
    it is new. Of several the one that costs least more, then that has the least of what the job does not ask for, then that it
    fills best; a new job stays at home rather than cost anything."""
    home = home_of(net, j)
    base = home if here < 0 else here
    best, cost, spare, left = -1, 0.0, 0, 0
    worth = -1.0  # of starting now, not known yet
    for s in range(net.word[SITES]):
        if s == here or (s != home and not is_open(net, s)):
            continue
        planned = planned_at(st, s, j)
        if not begins_now(st, s, now, j, planned):
            continue
        late = delay(net, j, base, s)
        more = dearer(st, net, j, base, s, planned) + late * net.num[VALUE]
        if late > 0 or more > 0.0:
            if worth < 0.0:
                planned_here = planned_at(st, base, j)
                if here < 0:
                    then = begins_there(st, net, base, now, j, planned_here, FOREVER)
                else:
                    then = begins(st, base, now, j, planned_here, FOREVER, net.ahead)
                worth = float(then - now)
            if worth <= 2.0 * late or worth * net.num[VALUE] <= more:
                continue
        unasked, rest = _spare(st, j, s)
        if best < 0 or more < cost or (more == cost and (unasked < spare or (unasked == spare and rest < left))):
            best, cost, spare, left = s, more, unasked, rest
    return best


def _spare(st: State, j: int, s: int) -> tuple[int, int]:
    """(how much the site has of kinds that the job does not ask for, as a number of kinds; what it would leave of the first kind)."""
    kinds, at, need = st.mem[KINDS], site_at(st, s) + ROOM, job_at(st, j) + NEED
    unasked = 0
    for k in range(1, kinds):
        if st.job[need + k] == 0 and st.mem[at + kinds + k] > 0:
            unasked += 1
    return unasked, int(st.mem[at] - st.job[need])


def join(st: State, net: Net, now: int, j: int, s: int) -> None:
    """Job j goes to the queue of site s, at once or when its data is there."""
    origin = place_of(net, j)
    late = delay(net, j, home_of(net, j) if origin < 0 else origin, s)
    net.word[net.word[PLACE] + j] = s
    net.num[int(net.num[LEFT]) + s] += work_of(st, j)
    if late > 0:
        way = net.word[WAY] + 2 * net.word[TRAVELLERS]
        net.word[way] = now + late
        net.word[way + 1] = j
        net.word[TRAVELLERS] += 1
    else:
        enter(st, s, j)
        run_site(st, net, s, now)


def work_of(st: State, j: int) -> float:
    """What it asks of the first kind times its estimate."""
    row = job_at(st, j)
    return float(st.job[row + NEED] * st.job[row + ESTIMATE])


def run_site(st: State, net: Net, s: int, now: int) -> int:
    """Start at s what may start; how many."""
    n = schedule(st, s, now)
    changed(net, s)
    if net.word[FAIR] != 0:
        sites = int(net.word[SITES])
        for i in range(n):
            j = started(st, i)
            if s < sites:
                net.num[ledger_at(net, home_of(net, j)) + NOW_HERE] -= 1.0
            else:
                net.num[ledger_at(net, s - sites) + NOW_ALONE] -= 1.0
                settle(st, net, j - int(net.word[JOBS]))
    net.word[net.word[AHEAD] + s] = next_event(st, s)
    return n


def sweep(st: State, net: Net, now: int) -> int:
    """Move waiting jobs to where they can start now, the one that waits longest first; how many were moved."""
    moved = 0
    while True:
        again = False
        n = _gather(st, net)
        for i in range(n):
            j = int(net.pick[i])
            here = place_of(net, j)
            s = where_now(st, net, now, j, here)
            if s < 0 or not withdraw(st, here, j):
                continue
            net.num[int(net.num[LEFT]) + here] -= work_of(st, j)
            join(st, net, now, j, s)
            run_site(st, net, here, now)
            moved += 1
            again = True
        if not again:
            break
    net.word[MOVES] += moved
    return moved


def _gather(st: State, net: Net) -> int:
    """Collect the waiting jobs for which some site has room, those first that wait longest; how many."""
    m, kinds, sites = st.mem, st.mem[KINDS], net.word[SITES]
    n = 0
    p = m[WAITERS]
    row, blocks, slots, width = m[p + ROW], m[p + BLOCKS], m[p + SLOTS], m[p + WIDTH]
    most = 0
    for s in range(sites):
        most = max(most, int(m[site_at(st, s) + ROOM]))
    if most <= 0:
        return 0
    for s in range(sites):
        if m[site_at(st, s) + WAITING] == 0:
            continue
        b = first(m, p, s)
        while b >= 0:
            for i in range(b * B, b * B + m[blocks + b * row + COUNT]):
                a = slots + i * width
                if m[a + width - kinds] <= most:
                    net.pick[n] = m[a + JOB]
                    n += 1
            b = int(m[blocks + b * row + NEXT])
    by_submit(st, net.pick, n)
    return n


def by_submit(st: State, pick: Words, n: int) -> None:
    """Sort the first n jobs by submission, then number: a heap of the latest."""
    for root in range(n // 2 - 1, -1, -1):
        _sink(st, pick, root, n)
    for end in range(n - 1, 0, -1):
        pick[0], pick[end] = pick[end], pick[0]
        _sink(st, pick, 0, end)


def _sink(st: State, pick: Words, root: int, n: int) -> None:
    while 2 * root + 1 < n:
        child = 2 * root + 1
        if child + 1 < n and _before(st, int(pick[child]), int(pick[child + 1])):
            child += 1
        if not _before(st, int(pick[root]), int(pick[child])):
            return
        pick[root], pick[child] = pick[child], pick[root]
        root = child


def _before(st: State, a: int, b: int) -> bool:
    x, y = st.job[job_at(st, a) + SUBMIT], st.job[job_at(st, b) + SUBMIT]
    return bool(x < y or (x == y and a < b))

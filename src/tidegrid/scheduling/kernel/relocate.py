"""Which waiting jobs go elsewhere, and where to: one look at all that wait in a network's queues.

A look asks of each job and site whether it would start there at once. Most of these questions are answered by a gate: of each site that
has room how much of the first kind, and what the reservation of its queue's head leaves over.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

import math

from tidegrid.scheduling.kernel.ahead import BEHIND, SHUT, reserved
from tidegrid.scheduling.kernel.broker import join, learn_of, planned_at, run_site, starts_now, without_wait, work_of
from tidegrid.scheduling.kernel.layout import (
    ESTIMATE,
    FOREVER,
    KINDS,
    NEED,
    ORDER,
    ROOM,
    SHADOW,
    START,
    SUBMIT,
    WAITERS,
    WAITING,
    State,
    Words,
    job_at,
    policy_at,
    site_at,
)
from tidegrid.scheduling.kernel.ledger import is_open
from tidegrid.scheduling.kernel.lines import BLOCKS, COUNT, JOB, NEXT, ROW, SLOTS, WIDTH, B, first
from tidegrid.scheduling.kernel.net import (
    FAIR,
    GATE,
    GATE_EXTRA,
    GATE_OLD,
    GATE_OPEN,
    GATE_ROOM,
    GATE_UNTIL,
    GATES,
    LEFT,
    LONGEST,
    LOOKED,
    MOVED,
    MOVES,
    MOVING,
    RISK,
    SECOND,
    SINCE,
    SITES,
    SURE,
    Net,
    delay,
    due,
    home_of,
    place_of,
    told_at,
)
from tidegrid.scheduling.kernel.orders import MOVING as IN_MOTION
from tidegrid.scheduling.kernel.steps import withdraw
from tidegrid.scheduling.kernel.worth import MOST_MOVES, SETTLE, STAY, moves


def open_gates(st: State, net: Net, now: int) -> None:
    """Bring the gates of all sites up to date, see net.GATE_ROOM."""
    for s in range(net.word[SITES]):
        gate = net.word[GATES] + s * GATE
        if net.word[gate + GATE_OLD] != 0 or st.num[policy_at(st, s) + ORDER] >= IN_MOTION:
            _set_gate(st, net, s, now)
        elif net.word[FAIR] != 0:
            net.word[gate + GATE_OPEN] = 1 if is_open(net, s) else 0


def _set_gate(st: State, net: Net, s: int, now: int) -> None:
    """Room, by when one must end that takes more than is left over, and what is left over, of site s, which has been scheduled."""
    at, kinds, gate = site_at(st, s), st.mem[KINDS], net.word[GATES] + s * GATE
    room = int(st.mem[at + ROOM])
    net.word[gate + GATE_OLD] = 0
    net.word[gate + GATE_ROOM], net.word[gate + GATE_UNTIL], net.word[gate + GATE_EXTRA] = room, FOREVER, room
    net.word[gate + GATE_OPEN] = 1 if is_open(net, s) else 0
    if room <= 0 or st.mem[at + WAITING] == 0:
        return
    known = reserved(st, s, now)
    if known == SHUT:
        net.word[gate + GATE_ROOM] = 0
    elif known == BEHIND:
        net.word[gate + GATE_UNTIL], net.word[gate + GATE_EXTRA] = st.mem[at + SHADOW], st.mem[at + ROOM + 2 * kinds]


def where_to(st: State, net: Net, now: int, j: int) -> int:
    """The site that a waiting job should go to, -1 for none: of those where it starts at once the best by score that keeps its deadline,
    else where it ends first; if that is worth it."""
    here, told = place_of(net, j), told_at(net, j)
    waited, most = now - net.num[told + SINCE], net.num[int(net.num[MOVING]) + MOST_MOVES]
    due_in = due(net, j) - now if due(net, j) < FOREVER else math.inf
    if net.num[told + MOVED] >= most or (waited < net.num[int(net.num[MOVING]) + SETTLE] and due_in == math.inf):
        return -1
    home, best, lowest, kept = home_of(net, j), -1, math.inf, False
    need, by_estimate, gate = st.job[job_at(st, j) + NEED], int(st.job[job_at(st, j) + ESTIMATE]), int(net.word[GATES]) - GATE
    for s in range(net.word[SITES]):
        gate += GATE
        if net.word[gate + GATE_ROOM] < need or s == here or (net.word[gate + GATE_OPEN] == 0 and s != home):
            continue
        planned = planned_at(st, s, j)
        if now + planned > net.word[gate + GATE_UNTIL] and need > net.word[gate + GATE_EXTRA]:
            continue
        if not starts_now(st, net, s, now, j, planned):
            continue
        late = delay(net, j, here, s)
        end = late + (by_estimate if net.word[SURE] != 0 else planned)
        at = end if end > due_in else without_wait(st, net, j, s, planned) + net.num[SECOND] * late
        keeps = end <= due_in
        if (keeps and not kept) or (keeps == kept and at < lowest):
            best, lowest, kept = s, float(at), keeps
    if best < 0:
        return -1
    planned, late, sure = planned_at(st, here, j), delay(net, j, here, best), net.word[SURE] != 0
    longest_here, longest_there = (by_estimate, by_estimate) if sure else (planned, planned_at(st, best, j))
    if not kept:
        lowest = without_wait(st, net, j, best, planned_at(st, best, j)) + net.num[SECOND] * late
    why = moves(
        waited, net.num[told + LONGEST], float(planned), without_wait(st, net, j, here, planned), float(planned_at(st, best, j) + late), lowest,
        due_in, float(longest_here), float(longest_there + late), sure, net.num[SECOND], net.num[RISK], net.num, int(net.num[MOVING]),
    )  # fmt: skip
    return best if why != STAY else -1


def sweep(st: State, net: Net, now: int) -> int:
    """Move waiting jobs to where they can start now, the one that waits longest first; how many were moved."""
    moved = 0
    net.word[LOOKED] = now
    open_gates(st, net, now)
    n = _gather(st, net, now)
    for i in range(n):
        j = int(net.pick[i])
        here = place_of(net, j)
        if st.job[job_at(st, j) + START] >= 0:
            continue  # by what was freed for it in this look
        s = where_to(st, net, now, j)
        if s < 0 or not withdraw(st, here, j):
            continue
        net.num[int(net.num[LEFT]) + here] -= work_of(st, j)
        net.num[told_at(net, j) + MOVED] += 1.0
        learn_of(net, now, j, here, False)
        join(st, net, now, j, s)
        run_site(st, net, here, now)
        _set_gate(st, net, s, now)
        _set_gate(st, net, here, now)
        moved += 1
    net.word[MOVES] += moved
    return moved


def _gather(st: State, net: Net, now: int) -> int:
    """Collect the waiting jobs that would go elsewhere as things are, those first that wait longest; how many."""
    m, kinds, sites = st.mem, st.mem[KINDS], net.word[SITES]
    n = 0
    p = m[WAITERS]
    row, blocks, slots, width = m[p + ROW], m[p + BLOCKS], m[p + SLOTS], m[p + WIDTH]
    most, second, widest = 0, 0, -1
    for s in range(sites):
        room = int(net.word[net.word[GATES] + s * GATE + GATE_ROOM])
        if room > most:
            most, second, widest = room, most, s
        elif room > second:
            second = room
    for s in range(sites):
        elsewhere = second if s == widest else most
        if m[site_at(st, s) + WAITING] == 0 or elsewhere <= 0:
            continue
        b = first(m, p, s)
        while b >= 0:
            for i in range(b * B, b * B + m[blocks + b * row + COUNT]):
                a = slots + i * width
                if m[a + width - kinds] <= elsewhere and where_to(st, net, now, int(m[a + JOB])) >= 0:
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

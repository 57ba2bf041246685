"""Logs replayed on a network: a loop over the steps of the sites and of the broker.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from tidegrid.scheduling.kernel.broker import (
    begins_there,
    changed,
    choose,
    join,
    planned_at,
    run_site,
    work_of,
)
from tidegrid.scheduling.kernel.layout import (
    FOREVER,
    KINDS,
    ROOM,
    RUNNERS,
    START,
    SUBMIT,
    WAITERS,
    WAITING,
    State,
    Words,
    job_at,
    site_at,
)
from tidegrid.scheduling.kernel.ledger import arrived, bring_up, known
from tidegrid.scheduling.kernel.lines import BLOCKS, COUNT, JOB, KEYS, NEXT, ROW, SLOTS, WIDTH, B, first
from tidegrid.scheduling.kernel.net import (
    AHEAD,
    EVERY,
    FAIR,
    JOBS,
    LEFT,
    LOOKED,
    NOW_HERE,
    RULE,
    SITES,
    TIDE,
    Net,
    home_of,
    ledger_at,
)
from tidegrid.scheduling.kernel.relocate import by_submit, sweep
from tidegrid.scheduling.kernel.steps import arrive, enter, finish, next_event, release, resize, withdraw

# a row of the outages, in order of time: when, which site, 1 for down and 0 for up again
WHEN, WHICH, DOWN, OUTAGE = 0, 1, 2, 3


def replay_network(
    st: State, net: Net, hi: int, outages: Words, capacity: Words, restarts: Words, said: Words, tell: bool
) -> int:
    """Run jobs 0 to hi, in order of SUBMIT, until all have ended; how many instants were looked at. Starts are in their rows.

    outages: int64[n * OUTAGE], flat, in order of time, the last one FOREVER; capacity: int64[S * K], what a site has again after one;
    restarts: int64[hi], counts how often an outage ended a job, which then begins anew, elsewhere or when the site is back; said:
    int64[hi] for the waits that a forward run gives where the jobs first go, where `tell`. The ledger's sites alone have no outages."""
    sites, fair, rule = int(net.word[SITES]), net.word[FAIR] != 0, net.word[RULE]
    lines = 2 * sites if fair else sites
    i, o, instants, last = 0, 0, 0, 0
    while True:
        now = FOREVER
        for s in range(lines):
            now = min(now, int(net.word[net.word[AHEAD] + s]))
        if i < hi:
            now = min(now, int(st.job[job_at(st, i) + SUBMIT]))
        if now >= FOREVER and _waiting(st, sites) == 0:
            return instants
        now = min(now, int(outages[o + WHEN]))
        if rule == TIDE and now < FOREVER and _waiting(st, sites) > 0:
            now = max(min(now, int(net.word[LOOKED] + net.num[EVERY])), last)
        if now >= FOREVER:
            return instants
        last = now
        instants += 1
        if fair:
            bring_up(net, now)
        freed = False
        for s in range(lines):
            if net.word[net.word[AHEAD] + s] <= now:
                if s < sites:
                    freed = True
                    _ends(st, net, s, now)
                finish(st, s, now)
                arrive(st, s, now)
                run_site(st, net, s, now)
        while outages[o + WHEN] <= now:
            freed = True
            if outages[o + DOWN] != 0:
                _goes_down(st, net, int(outages[o + WHICH]), now, restarts)
            else:
                s = int(outages[o + WHICH])
                for k in range(st.mem[KINDS]):
                    resize(st, s, k, int(capacity[s * st.mem[KINDS] + k]))
                run_site(st, net, s, now)
            o += OUTAGE
        while i < hi and st.job[job_at(st, i) + SUBMIT] == now:
            if fair:
                alone, home = sites + home_of(net, i), net.word[JOBS] + i
                arrived(st, net, i)
                enter(st, alone, int(home))
                run_site(st, net, int(alone), now)
            s = choose(st, net, now, i)
            if tell:
                said[i] = begins_there(st, net, s, now, i, planned_at(st, s, i), FOREVER) - now
            join(st, net, now, i, s)
            i += 1
        if rule == TIDE and (freed or now >= net.word[LOOKED] + net.num[EVERY]):
            sweep(st, net, now)


def _waiting(st: State, sites: int) -> int:
    n = 0
    for s in range(sites):
        n += st.mem[site_at(st, s) + WAITING]
    return int(n)


def _ends(st: State, net: Net, s: int, now: int) -> None:
    """Note the jobs of site s that end by `now`, before they do."""
    m, p = st.mem, st.mem[RUNNERS]
    row, blocks, slots, width = m[p + ROW], m[p + BLOCKS], m[p + SLOTS], m[p + WIDTH]
    b = first(m, p, 2 * s)
    while b >= 0:
        for i in range(b * B, b * B + m[blocks + b * row + COUNT]):
            if st.num[m[p + KEYS] + i] > now:
                return
            j = int(m[slots + i * width + JOB])
            net.num[int(net.num[LEFT]) + s] -= work_of(st, j)
            if net.word[FAIR] != 0:
                known(st, net, j, now)
                alone = int(net.word[SITES]) + home_of(net, j)
                net.word[net.word[AHEAD] + alone] = next_event(st, alone)
        b = int(m[blocks + b * row + NEXT])


def _goes_down(st: State, net: Net, s: int, now: int, restarts: Words) -> None:
    """Site s loses everything: what ran begins anew, and all its jobs are placed again."""
    kinds, at = st.mem[KINDS], site_at(st, s)
    n = _all_of(st, net, s)
    for i in range(n):
        j = int(net.pick[i])
        net.num[int(net.num[LEFT]) + s] -= work_of(st, j)
        if not withdraw(st, s, j):
            release(st, s, j, now)
            restarts[j] += 1
            st.job[job_at(st, j) + START] = -1
            if net.word[FAIR] != 0:
                net.num[ledger_at(net, home_of(net, j)) + NOW_HERE] += 1.0
    changed(net, s)
    for k in range(kinds):
        resize(st, s, k, -int(st.mem[at + ROOM + kinds + k]))
    net.word[net.word[AHEAD] + s] = next_event(st, s)
    for i in range(n):
        j = int(net.pick[i])
        join(st, net, now, j, choose(st, net, now, j))


def _all_of(st: State, net: Net, s: int) -> int:
    """Collect what runs and waits at s, in order of submission; how many."""
    n = _collect(st, net, st.mem[RUNNERS], 2 * s + 1, 0)
    n = _collect(st, net, st.mem[WAITERS], s, n)
    by_submit(st, net.pick, n)
    return n


def _collect(st: State, net: Net, p: int, line: int, n: int) -> int:
    m = st.mem
    row, blocks, slots, width = m[p + ROW], m[p + BLOCKS], m[p + SLOTS], m[p + WIDTH]
    b = first(m, p, line)
    while b >= 0:
        for i in range(b * B, b * B + m[blocks + b * row + COUNT]):
            net.pick[n] = m[slots + i * width + JOB]
            n += 1
        b = int(m[blocks + b * row + NEXT])
    return n

"""A log replayed on one site: a loop over the steps. Kernel source: plain Python over lists, or compiled over arrays."""

from __future__ import annotations

from tidegrid.scheduling.kernel.layout import (
    ARRIVAL,
    ARRIVED,
    FOREVER,
    JOB_ROW,
    KINDS,
    NEED,
    PLANNED,
    ROOM,
    SUBMIT,
    WAITING,
    State,
    job_at,
    site_at,
    within,
)
from tidegrid.scheduling.kernel.running import start
from tidegrid.scheduling.kernel.runs import plan
from tidegrid.scheduling.kernel.steps import enter, finish, next_event, schedule


def replay(st: State, s: int, lo: int, hi: int) -> int:
    """Run jobs lo to hi, in order of SUBMIT, until all have ended; how many instants were looked at. Starts are in their rows."""
    row, at, kinds = st.mem[JOB_ROW], site_at(st, s), st.mem[KINDS]
    i, instants = lo, 0
    while True:
        now = next_event(st, s)
        if i < hi and st.job[i * row + SUBMIT] <= now:
            now = int(st.job[i * row + SUBMIT])
        if now >= FOREVER:
            return instants
        instants += 1
        finish(st, s, now)
        if i < hi and st.job[i * row + SUBMIT] == now:
            alone = i + 1 == hi or st.job[(i + 1) * row + SUBMIT] > now
            if alone and st.mem[at + WAITING] == 0 and within(st.job, i * row + NEED, st.mem, at + ROOM, kinds):
                at_once(st, s, i, now)
                i += 1
                continue
            while i < hi and st.job[i * row + SUBMIT] == now:
                enter(st, s, i)
                i += 1
        schedule(st, s, now)


def at_once(st: State, s: int, j: int, now: int) -> None:
    """What `enter` and `schedule` do with a job that comes alone, finds nobody waiting and enough free."""
    row, at = job_at(st, j), site_at(st, s)
    st.job[row + PLANNED] = plan(st, s, j, int(st.job[row + PLANNED]))
    st.job[row + ARRIVAL] = st.mem[at + ARRIVED]
    st.mem[at + ARRIVED] += 1
    start(st, s, j, now)

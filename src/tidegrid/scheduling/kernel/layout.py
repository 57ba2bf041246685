"""The state of one or many sites as flat rows, and what stands in which word of a row.

One table of jobs for all sites: a job's number is its row. Times are whole seconds on one axis, needs whole units of each kind.
Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Words = Any  # int64[*], or a list of int
Numbers = Any  # float64[*], or a list of float
Figure = Any  # float64, or an array of them
FOREVER = 1 << 60  # later than any time, small enough to add to

# a job: when its wait began, the user's estimate, how long it will run (-1: not known, as live), its user (-1: not known); the rest is the
# kernel's own: its place among arrivals, the time it is planned with, its start (-1), the end expected by now (of a waiting job with a reservation: its start),
# how often that
# was put off; then its need of each kind
SUBMIT, ESTIMATE, RUN, USER, ARRIVAL, PLANNED, START, EXPECTED, PUT_OFF, NEED = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9

# the first words of `mem`: kinds, words of a job's row; where the sites' rows begin and how long one is, where policies and
# history begin in `num`, where the last step's starts begin, where the two pools are, where conservative
# backfill writes down what is free when; the first line, of the pool of those that wait, of who is on the way to a site
KINDS, JOB_ROW, SITES, SITE_ROW, POLICIES, HISTORY, STARTED, WAITERS, RUNNERS, PROFILE, ON_THE_WAY, HEADER = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
)  # fmt: skip

# a site: jobs that wait and run, arrivals so far, a time to be called at though nothing ends, whether anything was freed or
# moved since the reservation was made, how often that was; the job that holds the reservation, when it starts by the plan; where
# its users' history begins, how many jobs are on their way to it; then of each kind: what is free, what there is, what the
# reservation leaves over
WAITING, RUNNING, ARRIVED, WAKE, DIRTY, EPOCH, HEAD, SHADOW, PAST, SENT, ROOM = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10

# a user's history at a site: ended jobs, the last two run times, usage (core-seconds, decayed) and when it was worked out, and a
# ring of the latest: run times as shares of their estimates, and these
SEEN, LAST, BEFORE, USAGE, USAGE_AT, RING = 0, 1, 2, 3, 4, 5
RING_SIZE = 16
RING_ESTIMATE, PERSON = RING + RING_SIZE, RING + 2 * RING_SIZE

# the words of a site's policy; see policy.Policy
ORDER, FILL, BACKFILL, GUARD, PREDICTOR, RANKED_BY, QUANTILE, PUTTING_OFF, HALF_LIFE = 0, 1, 2, 3, 4, 5, 6, 7, 8
RESERVED_BY, PATIENCE, AGEING, WIDENESS, OWN_WORD, FADING, OTHER_ESTIMATE, POLICY = 9, 10, 11, 12, 13, 14, 15, 16

NONE, EASY, CONSERVATIVE = 0, 1, 2  # BACKFILL
IN_QUEUE, SHORTEST_FIRST, SMALLEST_FIRST = 0, 1, 2  # FILL


class State(NamedTuple):
    """job: int64, rows of jobs; mem: int64, everything else that is whole; num: float64, the rest."""

    job: Words
    mem: Words
    num: Numbers


def job_at(st: State, j: int) -> int:
    """Where the row of job j begins in st.job."""
    return int(j * st.mem[JOB_ROW])


def site_at(st: State, s: int) -> int:
    """Where the row of site s begins in st.mem."""
    return int(st.mem[SITES] + s * st.mem[SITE_ROW])


def policy_at(st: State, s: int) -> int:
    """Where the policy of site s begins in st.num."""
    return int(st.mem[POLICIES] + s * POLICY)


def history_at(st: State, s: int, j: int) -> int:
    """Where the history of the user of job j at site s begins in st.num."""
    user = st.mem[site_at(st, s) + PAST] + st.job[job_at(st, j) + USER]
    return int(st.mem[HISTORY] + user * PERSON)


def within(need: Words, n: int, room: Words, r: int, kinds: int) -> bool:
    """Whether need[n:] is at most room[r:] in every kind."""
    if need[n] > room[r]:
        return False
    for k in range(1, kinds):
        if need[n + k] > room[r + k]:
            return False
    return True

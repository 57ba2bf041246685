"""How long a job is planned to run: the user's estimate, or a prediction from the same user's jobs that have ended.

A prediction is never above the estimate. When a running job outlives it, the expected end moves out, again never beyond the
estimate; a job that outlives its estimate too may end at any moment. Last-2 (the mean of the user's last two) and the steps by
which it is put off are Tsafrir, Etsion and Feitelson's (2007).

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

import math

from tidegrid.scheduling.kernel.layout import (
    BEFORE,
    ESTIMATE,
    FADING,
    LAST,
    OTHER_ESTIMATE,
    OWN_WORD,
    PREDICTOR,
    QUANTILE,
    RING,
    RING_ESTIMATE,
    RING_SIZE,
    RUN,
    SEEN,
    USER,
    Numbers,
    State,
    history_at,
    job_at,
    policy_at,
)

BY_ESTIMATE, CLAIRVOYANT, LAST_TWO, BY_QUANTILE, GIVEN, ALIKE = 0, 1, 2, 3, 4, 5  # PREDICTOR; GIVEN: the caller has filled PLANNED
STEPS, DOUBLING, TO_ESTIMATE = 0, 1, 2  # PUTTING_OFF


def plan(st: State, s: int, j: int, given: int) -> int:
    """Seconds the job is planned with."""
    at, policy = job_at(st, j), policy_at(st, s)
    estimate = int(st.job[at + ESTIMATE])
    predictor = st.num[policy + PREDICTOR]
    if predictor == BY_ESTIMATE:
        return estimate
    if predictor == CLAIRVOYANT:
        return int(st.job[at + RUN])
    if predictor == GIVEN:
        return given if 0 < given < estimate else estimate
    if st.job[at + USER] < 0:
        return estimate
    h = history_at(st, s, j)
    seen = int(st.num[h + SEEN])
    if predictor == ALIKE:
        return max(1, min(int(_alike(st, h, policy, at)), estimate))
    if seen < 2:
        return estimate
    if predictor == LAST_TWO:
        mean = int((st.num[h + LAST] + st.num[h + BEFORE]) / 2.0)
        return max(1, min(mean, estimate))
    share = _quantile(st.num, h + RING, min(seen, RING_SIZE), st.num[policy + QUANTILE])
    return max(1, min(int(share * estimate), estimate))


def _alike(st: State, h: int, policy: int, at: int) -> float:
    """The geometric mean of the user's latest run times and of the estimate itself, which counts as OWN_WORD jobs. A job counts
    FADING times as much as the one that ended after it, and OTHER_ESTIMATE times that where its estimate was another."""
    estimate, seen = st.job[at + ESTIMATE], int(st.num[h + SEEN])
    total = st.num[policy + OWN_WORD]
    product = total * math.log(float(max(estimate, 1)))
    weight = 1.0
    for i in range(min(seen, RING_SIZE)):
        k = (seen - 1 - i) % RING_SIZE
        other, w = st.num[h + RING_ESTIMATE + k], weight
        if other != estimate:
            w *= st.num[policy + OTHER_ESTIMATE]
        total += w
        product += w * math.log(max(st.num[h + RING + k] * max(other, 1.0), 1.0))
        weight *= st.num[policy + FADING]
    return math.exp(product / total)


def _quantile(values: Numbers, at: int, n: int, q: float) -> float:
    """The smallest of n values that at least a share q of them do not exceed."""
    wanted = int(q * n)
    if wanted < q * n:
        wanted += 1
    best = 1.0
    for i in range(n):
        below = 0
        for k in range(n):
            if values[at + k] <= values[at + i]:
                below += 1
        if below >= wanted and values[at + i] < best:
            best = values[at + i]
    return float(best)


def learn(st: State, s: int, j: int, ran: int) -> None:
    """A job of the user, where that is known, has ended after `ran` seconds."""
    if st.job[job_at(st, j) + USER] < 0:
        return
    h = history_at(st, s, j)
    seen = int(st.num[h + SEEN])
    st.num[h + BEFORE] = st.num[h + LAST]
    st.num[h + LAST] = float(ran)
    estimate = st.job[job_at(st, j) + ESTIMATE]
    st.num[h + RING + seen % RING_SIZE] = ran / max(estimate, 1)
    st.num[h + RING_ESTIMATE + seen % RING_SIZE] = float(estimate)
    st.num[h + SEEN] = float(seen + 1)


def put_off(how: float, planned: int, estimate: int, times: int) -> int:
    """The time to plan a job with that has run for all of `planned` and goes on, the `times`-th time: at most the estimate."""
    if how == STEPS:
        step = 60
        if times == 1:
            step = 300
        elif times == 2:
            step = 900
        elif times == 3:
            step = 1800
        elif times == 4:
            step = 3600
        elif times >= 5:
            step = 7200 * (1 << min(times - 5, 8))
        return min(planned + step, estimate)
    if how == DOUBLING:
        return min(2 * max(planned, 1), estimate)
    return estimate

"""The policies that the default has to beat, as plain code with one resource kind: EASY, and WFP3 + SJBF + last-2 + guard.

Nothing of the product is imported. At every event (ends first, then submissions, then one pass) the queue is ranked anew: WFP3 is
(wait / estimate)^3 * processors, high first, and whoever has waited for longer than the guard comes before all others, oldest
first. Jobs start from the front; the first that does not fit gets a reservation at the instant by which, going by predictions,
enough processors are free, every release at that instant counted (EASY's tie rule). Others start if they end by then or use only what
the reserved job leaves over; with SJBF the shortest by prediction is tried first.

last-2 (Tsafrir et al., TPDS 2007): the mean run time of the user's last two jobs that have ended, at most the estimate, renewed while
the job waits; the estimate where there are none. A running job that outlives its prediction is taken to last to its estimate.
"""

from __future__ import annotations

import math

import numpy as np
from benchmarks.quality_logs import Ints, Log
from numba import njit

DAY = 86_400
GUARD_S = 5 * DAY


def easy(log: Log) -> Ints:
    """Start times, int64[J], under EASY: order of submission, backfill in that order, estimates."""
    return _schedule(log.submit, log.run, log.estimate, log.need, log.user, log.processors, False, 0)


def baseline(log: Log) -> Ints:
    """Start times, int64[J], under WFP3, shortest-first backfill, last-2 and the 5-day guard."""
    return _schedule(log.submit, log.run, log.estimate, log.need, log.user, log.processors, True, GUARD_S)


def clairvoyant(log: Log) -> Ints:
    """As `baseline`, but run times are known to order, reservation and backfill."""
    nobody = np.full(len(log), -1, np.int64)  # no prediction but the run time itself
    return _schedule(log.submit, log.run, np.maximum(log.run, 1), log.need, nobody, log.processors, True, GUARD_S)


def slowdowns(log: Log, start: Ints) -> np.ndarray:
    """Bounded slowdown of every job, float64[J]: max(1, (wait + run) / max(run, 10 s))."""
    return np.maximum(1.0, (start - log.submit + log.run) / np.maximum(log.run, 10))


def longest_wait_days(log: Log, start: Ints) -> float:
    return float((start - log.submit).max() / DAY)


@njit(cache=True)
def _schedule(submit, run, estimate, need, user, processors, wfp3, guard):
    jobs = len(submit)
    start = np.full(jobs, -1, np.int64)
    predicted = estimate.copy()
    last = np.full((max(user.max(), 0) + 1, 2), -1, np.int64)  # run times of each user's last two, newest first
    queue, queued = np.empty(jobs, np.int64), 0  # in order of submission
    running, ends = np.empty(processors, np.int64), np.empty(processors, np.int64)
    count, free, arrived = 0, processors, 0
    score = np.empty(jobs)
    while arrived < jobs or count > 0:
        now = submit[arrived] if arrived < jobs else np.int64(2**62)
        for i in range(count):
            now = min(now, ends[i])
        i = 0
        while i < count:
            if ends[i] > now:
                i += 1
                continue
            j = running[i]
            free += need[j]
            if user[j] >= 0:
                last[user[j], 1] = last[user[j], 0]
                last[user[j], 0] = run[j]
            count -= 1
            running[i], ends[i] = running[count], ends[count]
        while arrived < jobs and submit[arrived] == now:
            queue[queued] = arrived
            queued += 1
            arrived += 1
        for i in range(queued):
            j = queue[i]
            wait = now - submit[j]
            if not wfp3:
                score[i] = -float(j)
                continue
            if user[j] >= 0 and last[user[j], 1] >= 0:
                mean = (last[user[j], 0] + last[user[j], 1]) // 2
                predicted[j] = max(1, min(estimate[j], mean))
            if wait > guard:
                score[i] = 1e30 - float(j)
            else:
                score[i] = (wait / max(estimate[j], 1)) ** 3 * need[j]
        head = -1
        while queued > 0:
            head = 0
            for i in range(1, queued):
                if score[i] > score[head]:
                    head = i
            j = queue[head]
            if need[j] > free:
                break
            start[j] = now
            running[count], ends[count] = j, now + run[j]
            count += 1
            free -= need[j]
            for i in range(head, queued - 1):
                queue[i], score[i] = queue[i + 1], score[i + 1]
            queued -= 1
        if queued < 2 or free == 0:
            continue
        release = np.empty(count, np.int64)
        for i in range(count):
            j = running[i]
            release[i] = start[j] + predicted[j]
            if release[i] <= now:
                release[i] = max(now + 1, start[j] + estimate[j])
        shadow, left = now, free
        wanted = need[queue[head]]
        for i in np.argsort(release):
            if left >= wanted and release[i] > shadow:
                break
            left += need[running[i]]
            shadow = release[i]
        extra = left - wanted
        reserved = queue[head]
        while free > 0:
            best, shortest = -1, np.int64(2**62)
            for i in range(queued):
                j = queue[i]
                length = predicted[j] if wfp3 else i
                if j == reserved or length >= shortest or need[j] > free:
                    continue
                if now + predicted[j] <= shadow or need[j] <= extra:
                    best, shortest = i, length
            if best < 0:
                break
            j = queue[best]
            if now + predicted[j] > shadow:
                extra -= need[j]
            start[j] = now
            running[count], ends[count] = j, now + run[j]
            count += 1
            free -= need[j]
            for i in range(best, queued - 1):
                queue[i] = queue[i + 1]
            queued -= 1
    return start


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(math.log(v) for v in values) / len(values))

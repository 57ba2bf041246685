"""EASY as one writes it first, for numba: the peer that the kernel's speed is measured against.

A heap of ends, the running jobs in a list by expected end, the queue as one array that every event scans from its head.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def easy(submit: Any, run: Any, need: Any, estimate: Any, processors: int) -> Any:
    """Starts int64[n] of jobs in order of submit on an empty machine."""
    n = len(submit)
    start = np.full(n, -1, np.int64)
    end, job = np.empty(processors + 1, np.int64), np.empty(processors + 1, np.int64)
    expected, holder = np.empty(processors + 1, np.int64), np.empty(processors + 1, np.int64)
    queue = np.empty(n, np.int64)
    running, waiting, came, free = 0, 0, 0, processors
    while came < n or running > 0:
        now = 1 << 60
        if came < n:
            now = submit[came]
        if running > 0 and end[0] < now:
            now = end[0]
        while running > 0 and end[0] <= now:
            j = job[0]
            running -= 1
            last, at, i = end[running], job[running], 0
            while 2 * i + 1 < running:
                c = 2 * i + 1
                if c + 1 < running and end[c + 1] < end[c]:
                    c += 1
                if end[c] >= last:
                    break
                end[i], job[i] = end[c], job[c]
                i = c
            end[i], job[i] = last, at
            free += need[j]
            k = 0
            while holder[k] != j:
                k += 1
            while k < running:
                expected[k], holder[k] = expected[k + 1], holder[k + 1]
                k += 1
        while came < n and submit[came] == now:
            queue[waiting] = came
            waiting += 1
            came += 1
        shadow, extra, kept = -1, 0, 0
        for q in range(waiting):
            j = queue[q]
            fits = need[j] <= free
            if fits and shadow >= 0 and now + estimate[j] > shadow:
                fits = need[j] <= extra
                if fits:
                    extra -= need[j]
            if fits:
                start[j] = now
                free -= need[j]
                i, then = running, now + run[j]
                while i > 0 and end[(i - 1) // 2] > then:
                    end[i], job[i] = end[(i - 1) // 2], job[(i - 1) // 2]
                    i = (i - 1) // 2
                end[i], job[i] = then, j
                k, then = running, now + estimate[j]
                while k > 0 and expected[k - 1] > then:
                    expected[k], holder[k] = expected[k - 1], holder[k - 1]
                    k -= 1
                expected[k], holder[k] = then, j
                running += 1
                continue
            if shadow < 0:
                room, k = free, 0
                while room < need[j]:
                    room += need[holder[k]]
                    k += 1
                shadow = max(expected[k - 1], now)
                while k < running and expected[k] <= shadow:
                    room += need[holder[k]]
                    k += 1
                extra = room - need[j]
            queue[kept] = j
            kept += 1
        waiting = kept
    return start

"""The orders of a queue: which waiting job comes first. Scores are seconds-based formulas; the lowest comes first.

SJF and SAF are the shortest and the smallest (time x processors); WFP3 is Cobalt's, UNICEF and WFP3 as in Tang et al. (2009);
F1 to F4 are Carastan-Santos and de Camargo's (SC'17), of the estimate r, the processors n and the submit time s. Those that
change while a job waits are `moving`: they are worked out anew at every event.
"""

from __future__ import annotations

import math

FCFS, SJF, SAF, F1, F2, F3, F4 = 0, 1, 2, 3, 4, 5, 6
WFP3, UNICEF, XFACTOR, FAIR, RESPONSE = 10, 11, 12, 13, 14
MOVING = 10  # from here on


def response(waited: float, time: int, n: float, patience: float, ageing: float, wideness: float) -> float:
    """How long a job waits against what it takes: -(waited + patience)^ageing / (time * n^wideness), patience in seconds. With patience 0
    and wideness 1 it is the response ratio per processor; patience keeps small jobs ahead of what has waited only a little."""
    urgency, size = waited + patience, n
    if ageing == 1.5:
        urgency *= math.sqrt(urgency)  # much cheaper than a power
    elif ageing != 1.0:
        urgency = urgency**ageing
    if wideness != 1.0:
        size = n**wideness
    return -urgency / (max(time, 1) * size)


def score(order: int, now: int, since: int, time: int, n: float, usage: float) -> float:
    """Of a job that waits since `since`, planned to run `time` s on n processors, whose user has used `usage` lately."""
    if order == FCFS:
        return float(since)
    r = float(max(time, 1))
    if order == SJF:
        return float(time)
    if order == SAF:
        return time * n
    if order < MOVING:
        s = math.log10(float(max(since, 1)))
        if order == F1:
            return math.log10(r) * n + 870.0 * s
        if order == F2:
            return math.sqrt(r) * n + 25600.0 * s
        if order == F3:
            return r * n + 6.86e6 * s
        return r * math.sqrt(n) + 5.3e5 * s
    waited = float(now - since)
    if order == WFP3:
        ratio = waited / r
        return -(ratio * ratio * ratio * n)
    if order == UNICEF:
        return -waited / (math.log2(max(n, 2.0)) * r)
    if order == XFACTOR:
        return -(waited + r) / r
    return usage

"""What came of a forward run's waits at one place, as a small table that learns: the chance to start within a minute, and the
quantiles of the wait as shares of what the run gave. What it is and how it learns is told in `forecasts`.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

import math

from tidegrid.scheduling.kernel.layout import Numbers
from tidegrid.scheduling.kernel.worth import WAIT_P50_SHARE, WAIT_P90_SHARE

SOON_S = 60.0  # "at once"

# A table: for values F of a forward run from a minute to three days, four times as long each, a row of what is added to the log odds
# of a start within a minute and to the logarithms of the two shares, and how much was seen. Zeros: nothing is known.
NODES, FIRST_S, RATIO = 7, 60.0, 4.0
SOON, P50, P90, SEEN, NODE = 0, 1, 2, 3, 4
TABLE = NODES * NODE
STEP, LEAST_STEP, BEGUN = 2.0, 0.01, 8.0
LEAST_SOON_STEP = 0.1  # of the chance, whose observations are mostly alike


def place(forecast: float) -> float:
    """Where F lies among the nodes, on the scale of logarithms: 0 to NODES - 1; ends are held."""
    x = math.log(max(forecast, 1.0) / FIRST_S) / math.log(RATIO)
    return min(max(x, 0.0), NODES - 1.0)


def looked_up(num: Numbers, at: int, what: int, x: float) -> float:
    """One of a row's values at x, of the table that begins at num[at]."""
    low = min(int(x), NODES - 2)
    a = num[at + low * NODE + what]
    return float(a + (num[at + (low + 1) * NODE + what] - a) * (x - low))


def soon(num: Numbers, at: int, forecast: float) -> float:
    """The chance to start within a minute."""
    odds = SOON_S * math.exp(looked_up(num, at, SOON, place(forecast)))
    return odds / (odds + forecast)


def median(num: Numbers, at: int, forecast: float) -> float:
    """p50 of a wait that is longer than a minute."""
    return forecast * (WAIT_P50_SHARE * math.exp(looked_up(num, at, P50, place(forecast))))


def at_most(num: Numbers, at: int, p50: float) -> float:
    """A forecast above which the median is above p50, whatever the table says below."""
    above = math.inf
    for k in range(NODES - 1, -1, -1):
        low = at + k * NODE + P50
        share = WAIT_P50_SHARE * math.exp(num[low] if k == NODES - 1 else min(num[low], num[low + NODE]))
        node = FIRST_S * RATIO**k
        if p50 / share > node:
            return min(p50 / share, above)
        above = node
    return min(p50 / (WAIT_P50_SHARE * math.exp(num[at + P50])), above)


def longest(num: Numbers, at: int, forecast: float) -> float:
    """p90 of it."""
    return max(forecast * (WAIT_P90_SHARE * math.exp(looked_up(num, at, P90, place(forecast)))), median(num, at, forecast))


def learn(num: Numbers, at: int, what: int, forecast: float, held: bool, said: float) -> None:
    """The table that begins at num[at] after something said of a job with this forecast > 0 is known to have held or not. what: SOON, of
    which the chance `said` was given, P50 or P90."""
    x = place(forecast)
    low = min(int(x), NODES - 2)
    for k in range(2):
        weight = x - low if k == 1 else 1.0 - (x - low)
        row = at + (low + k) * NODE
        step = STEP / (BEGUN + num[row + SEEN])
        came = 1.0 if held else 0.0
        if what == SOON:
            num[row + SEEN] += weight
            num[row + SOON] += weight * max(step, LEAST_SOON_STEP) * (came - said)
        else:
            num[row + what] += weight * max(step, LEAST_STEP) * ((0.5 if what == P50 else 0.9) - came)

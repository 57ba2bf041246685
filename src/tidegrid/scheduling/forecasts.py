"""What a forward run of a queue has turned out to be worth: from the wait it gives to a distribution, learned at each partition.

A forward run takes every job to last as long as its estimate. For a job that it starts at once it is right (nothing is left to
chance). For the others it gives one number F, and what came of such numbers at that partition is kept in a small table: the chance
to start within a minute all the same, and the median and 90 % quantile of wait / F of those that did not. Between the table's values of F
it is interpolated. Whether what was said held moves the quantiles by a step that shrinks with the number seen and never vanishes
(Robbins and Monro's stochastic approximation, on the quantiles as they were said, as in adaptive conformal inference), so that the
table follows a partition that changes. With nothing seen it says what is known of
queues in general: jobs run about half as long as estimated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegrid.scheduling.kernel import chances
from tidegrid.scheduling.kernel.chances import P50, P90, SOON, SOON_S
from tidegrid.scheduling.kernel.worth import WAIT_P50_SHARE, WAIT_P90_SHARE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Values of F (s) that a table has rows for: from a minute to three days.
NODES: Floats = np.array([chances.FIRST_S * chances.RATIO**k for k in range(chances.NODES)])
_AT: Floats = np.log(NODES)


def cold(partitions: int) -> Floats:
    """The table of partitions of which nothing is known yet: float64[P, len(NODES), 4]."""
    return np.zeros((partitions, chances.NODES, chances.NODE))


def look_up(table: Floats, forecast_s: Floats) -> tuple[Floats, Floats, Floats]:
    """(chance to start within a minute, p50, p90) float64[P] of waits in seconds for the forward runs' F float64[P], at partitions
    with these tables float64[P, len(NODES), 4]. The quantiles are those of a wait that is longer than a minute; all are 0, and the
    chance 1, where F is 0. An infinite F stays so."""
    low, part = _place(np.where(np.isfinite(forecast_s), forecast_s, 1.0))
    p = np.arange(len(table))
    rows = table[p, low] + (table[p, low + 1] - table[p, low]) * part[:, None]
    odds = SOON_S * np.exp(rows[:, SOON])
    p50: Floats = forecast_s * (WAIT_P50_SHARE * np.exp(rows[:, P50]))
    p90: Floats = np.maximum(forecast_s * (WAIT_P90_SHARE * np.exp(rows[:, P90])), p50)
    soon: Floats = odds / (odds + forecast_s)
    return soon, p50, p90


def learn(table: Floats, what: int, forecast_s: float, held: bool, said: float = 0.0) -> Floats:
    """One partition's table float64[len(NODES), 4] after something said of a job with F = `forecast_s` > 0 is known to have held or not;
    a new table. what: SOON, when it has begun, of which the chance `said` was given; P50 or P90, when it has begun within what was
    said, or still waits beyond it: what is late is learned when it is late, not when it begins. Quantiles are told only of jobs that
    did not begin within a minute."""
    if forecast_s <= 0:
        return table
    out: Floats = table.copy()
    chances.learn(out.reshape(-1), 0, what, forecast_s, held, said)
    return out


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of one job where it was sent, and what is known of its wait: forecast_s: F; soon, p50, p90 as said; waited_s, until it
    began or, where it has not `begun`, until now."""

    place: str
    forecast_s: float
    soon: float
    p50: float
    p90: float
    waited_s: float
    begun: bool


def from_past(past: Iterable[Said]) -> dict[str, Floats]:
    """The tables of the places of these jobs, oldest first, from the beginning."""
    tables: dict[str, Floats] = {}
    for s in past:
        table = tables.get(s.place)
        if table is None:
            table = cold(1)[0]
        at_once = s.begun and s.waited_s <= SOON_S
        if at_once or s.waited_s > SOON_S:
            table = learn(table, SOON, s.forecast_s, at_once, s.soon)
        if not at_once:
            for what, said in ((P50, s.p50), (P90, s.p90)):
                if s.begun or s.waited_s > said:
                    table = learn(table, what, s.forecast_s, s.waited_s <= said)
        tables[s.place] = table
    return tables


def version(table: Floats) -> str:
    """Of a table, or tables: a hash of its content, to be named with what was forecast by it."""
    return hashlib.sha256(np.ascontiguousarray(table).astype("<f8").tobytes()).hexdigest()[:12]


def _place(forecast_s: Floats) -> tuple[Ints, Floats]:
    """(the node below, the part of the way to the next) of each F, on the scale of logarithms; ends are held."""
    x = np.clip(np.log(np.maximum(forecast_s, 1.0)), _AT[0], _AT[-1])
    low = np.minimum((x - _AT[0]) // (_AT[1] - _AT[0]), len(_AT) - 2).astype(np.int64)
    return low, (x - _AT[low]) / (_AT[1] - _AT[0])

"""How good forecasts of waits are on a log: what would have been said of every job when it came, learned as the log went on."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegrid.scheduling import forecasts
from tidegrid.scheduling.kernel.chances import P50, P90, SOON, SOON_S

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def told(submit: Ints, wait: Ints, forward: Ints) -> tuple[Floats, Floats, Floats, str]:
    """(chance to start within a minute, p50, p90) float64[n] as said of each job when it came, and the version of the last table.

    submit, wait, forward int64[n] (s), in order of submission: when each came, how long it waited, and the wait that a forward run gave.
    Nothing is used before it is known."""
    n = len(submit)
    table = forecasts.cold(1)[0]
    soon, p50, p90 = np.ones(n), np.zeros(n), np.zeros(n)
    known: list[tuple[float, int, int, bool, float]] = []
    for i in np.flatnonzero(forward > 0).tolist():
        came, waited = float(submit[i]), float(wait[i])
        while known and known[0][0] <= came:
            _, j, what, held, chance = heapq.heappop(known)
            table = forecasts.learn(table, what, float(forward[j]), held, chance)
        a, b, c = forecasts.look_up(table[None], forward[i : i + 1].astype(np.float64))
        soon[i], p50[i], p90[i] = a[0], b[0], c[0]
        at_once = waited <= SOON_S
        heapq.heappush(known, (came + min(waited, SOON_S), i, SOON, at_once, soon[i]))
        if not at_once:
            for what, said in ((P50, p50[i]), (P90, p90[i])):
                heapq.heappush(known, (came + min(waited, said), i, what, waited <= said, 0.0))
    return soon, p50, p90, forecasts.version(table)


def judged(wait: Ints, forward: Ints, soon: Floats, p50: Floats, p90: Floats) -> dict[str, Any]:
    """Brier scores of "starts within a minute", coverage of the quantiles and median absolute errors over waits above a minute, beside
    the forward run alone (F as it is, a start within a minute where it says so) and its half."""
    came = wait <= SOON_S
    late = ~came
    plain = np.where(forward <= SOON_S, 1.0, 0.0)

    def error(said: Any) -> float:
        return float(np.median(np.abs(wait - said)[late])) if late.any() else 0.0

    return {
        "jobs": len(wait), "started_at_once": float(came.mean()),
        "brier": float(((soon - came) ** 2).mean()), "brier_forward": float(((plain - came) ** 2).mean()),
        "coverage_p50": float((wait <= p50)[late].mean()), "coverage_p90": float((wait <= p90)[late].mean()),
        "median_error_s": error(p50), "median_error_forward_s": error(forward), "median_error_half_forward_s": error(forward / 2),
    }  # fmt: skip

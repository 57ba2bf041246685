"""How good predictions were: said before a run, held against what came, beside simpler ways of saying it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run in the order of their ends. p50_s, p90_s: what had been said; source: on what ground (`runtime.Prediction`), empty: nothing
    was said; peak_mib, peak_p90_mib: None where nobody measured, or nothing was said."""

    partition: str
    run_s: float
    wall_s: float
    source: str = ""
    p50_s: float | None = None
    p90_s: float | None = None
    peak_mib: float | None = None
    peak_p90_mib: float | None = None


def score(p50: Sequence[float], p90: Sequence[float], came: Sequence[float]) -> dict[str, Any]:
    """n; mdape: median of |said / came - 1|; p90_coverage: the share that stayed within p90. None where there is no run."""
    if not len(came):
        return {"n": 0, "mdape": None, "p90_coverage": None}
    said, most, seconds = (np.array(v, np.float64) for v in (p50, p90, came))
    return {
        "n": len(seconds),
        "mdape": round(float(np.median(np.abs(said / seconds - 1))), 4),
        "p90_coverage": round(float(np.mean(seconds <= most)), 4),
    }


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What was said from history, all and by partition; and for the same runs the wall time asked for, and mean and p90 of the
    application's runs before. first: runs that were placed before any was known."""
    told: list[Outcome] = []
    means: list[tuple[float, float]] = []
    before: list[float] = []
    first = 0
    for o in outcomes:
        if o.run_s <= 0:
            continue
        if o.source == "history" and o.p50_s is not None and o.p90_s is not None:
            told.append(o)
            means.append((float(np.mean(before)), float(np.quantile(before, 0.9))) if before else (o.wall_s, o.wall_s))
        elif o.source:
            first += 1
        before.append(o.run_s)
    came, walls = [o.run_s for o in told], [o.wall_s for o in told]
    peaks = [o for o in told if o.peak_mib and o.peak_p90_mib is not None]
    covered = [(o.peak_mib or 0) <= (o.peak_p90_mib or 0) for o in peaks]
    return {
        "runs": len(before),
        "first": first,
        "predicted": _of(told),
        "wall_time_asked": score(walls, walls, came),
        "mean_of_application": score([m for m, _ in means], [m for _, m in means], came),
        "partitions": [
            {"partition": p, **_of([o for o in told if o.partition == p])} for p in sorted({o.partition for o in told})
        ],
        "peak_memory": {"n": len(peaks), "p90_coverage": round(math.fsum(covered) / len(covered), 4) if covered else None},
    }


def _of(told: Sequence[Outcome]) -> dict[str, Any]:
    return score([o.p50_s or 0.0 for o in told], [o.p90_s or 0.0 for o in told], [o.run_s for o in told])

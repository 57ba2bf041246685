"""The same log again, a little different: shaken, or at another load."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tidegrid.domain.errors import InvalidInput
from tidegrid.simulation.traces.trace import Trace


def offered(k: Trace) -> float:
    """Work over processors x time from the first submit to the last, of a log under convention K; 0 where all come at once."""
    span = int(k.submit[-1] - k.submit[0]) if len(k) else 0
    return float((k.run * k.processors).sum(dtype=np.float64)) / (span * (k.header.processors or 1)) if span else 0.0


def at_load(k: Trace, load: float) -> Trace:
    """Its submit times drawn together or apart so that the load is `load`. Raises InvalidInput `sweep.load` where that cannot be."""
    now = offered(k)
    if not now or not load > 0:
        raise InvalidInput("sweep.load", f"no load of {load} can be made of a log whose load is {now:.3g}", hint="give a load above 0")
    return replace(k, submit=np.rint(k.submit * (now / load)).astype(np.int64))


def shaken(k: Trace, rng: np.random.Generator, most_s: int) -> Trace:
    """Each job sent up to `most_s` seconds earlier or later, then in the order of their times again; none before second 0."""
    moved = np.maximum(0, k.submit + rng.integers(-most_s, most_s + 1, len(k)))
    out = replace(k, submit=moved).sorted()
    return replace(out, submit=out.submit - out.submit[0]) if len(out) else out

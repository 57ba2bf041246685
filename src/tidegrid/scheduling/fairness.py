"""Whether a site has gained by the network: what its own users have waited, against what they would have waited with the site alone.

The same account as the simulator's ledger keeps event by event (`kernel.ledger`), made from what is stored: the site's own jobs, wherever
they ran, are run again on the site alone by its queue. A job that has not ended in truth is taken to run there until its estimate.
Pure; times in seconds on one axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegrid.scheduling.kernel import ledger, replay
from tidegrid.scheduling.kernel.build import build, starts, table
from tidegrid.scheduling.kernel.policy import POLICIES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
SHORTEST_S = 10  # runs count as at least so long in a bounded slowdown
MARGIN, LOAN_S = 0.05, 600.0


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """A site's own jobs, int64[n]: submit, start and end (-1: not yet), estimate (s); need int64[n,K]."""

    submit: Ints
    start: Ints
    end: Ints
    estimate: Ints
    need: Ints


@dataclass(frozen=True, slots=True)
class Standing:
    """jobs: that fit the site alone; waited_s, alone_s: what they have waited so far, all together, and would have alone; slowdown,
    alone_slowdown: the same of bounded slowdowns, of those that have ended and would have started alone; processors: what the loan
    is by; by: what may not be worse, "" for nothing."""

    jobs: int
    waited_s: float
    alone_s: float
    slowdown: float
    alone_slowdown: float
    processors: float
    by: str = ""

    @property
    def takes_guests(self) -> bool:
        """Whether its own users have gained: by a margin of what they would have waited, up to a loan."""
        loan = LOAN_S * self.processors
        if self.by and not ledger.gains(self.alone_s - self.waited_s, self.alone_s, MARGIN, loan):
            return False
        return self.by != "slowdown" or ledger.gains(self.alone_slowdown - self.slowdown, self.alone_slowdown, MARGIN, loan / ledger.SLOW_LOAN)


def standing(own: Own, capacity: Sequence[int], now: int, *, processors: float, by: str = "", queue: str = "easy") -> Standing:
    """What a site with this capacity (of each kind) and queue gained until now (s)."""
    fits = (own.need <= np.asarray(capacity)).all(axis=1) & (own.submit <= now)
    order = np.flatnonzero(fits)[np.argsort(own.submit[fits], kind="stable")]
    submit, start, end, estimate = (v[order] for v in (own.submit, own.start, own.end, own.estimate))
    if not len(order):
        return Standing(0, 0.0, 0.0, 0.0, 0.0, processors, by)
    ended = (end >= 0) & (start >= 0)
    so_far = np.where(start >= 0, now - start, 0)
    run = np.maximum(np.where(ended, end - start, np.maximum(estimate, so_far)), 1)
    st = build(table(submit, np.maximum(estimate, run), run, own.need[order]), np.array([list(capacity)]), [POLICIES[queue]])
    replay.replay(st, 0, 0, len(order))
    alone = starts(st)
    waited = np.where(start >= 0, np.minimum(start, now), now) - submit
    waited_alone = np.minimum(alone, now) - submit
    both = ended & (alone <= now)
    slow, slow_alone = (slowdowns(w[both], run[both]) for w in (start - submit, alone - submit))
    return Standing(len(order), float(waited.sum()), float(waited_alone.sum()), float(slow.sum()), float(slow_alone.sum()), processors, by)


def slowdowns(wait: Ints, run: Ints) -> Floats:
    """Bounded slowdowns: (wait + run) / max(run, SHORTEST_S), at least 1."""
    out: Floats = np.maximum(1.0, (wait + run) / np.maximum(run, SHORTEST_S))
    return out

"""Policies of a queue by name, and as the words that the kernel reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tidegrid.scheduling.kernel import layout, orders, runs

ORDERS: Mapping[str, int] = {
    "fcfs": orders.FCFS, "sjf": orders.SJF, "saf": orders.SAF, "wfp3": orders.WFP3, "unicef": orders.UNICEF,
    "f1": orders.F1, "f2": orders.F2, "f3": orders.F3, "f4": orders.F4, "xfactor": orders.XFACTOR, "fair": orders.FAIR,
    "response": orders.RESPONSE,
}  # fmt: skip
BACKFILLS: Mapping[str, int] = {"none": layout.NONE, "easy": layout.EASY, "conservative": layout.CONSERVATIVE}
FILLS: Mapping[str, int] = {
    "queue": layout.IN_QUEUE, "shortest": layout.SHORTEST_FIRST, "smallest": layout.SMALLEST_FIRST,
}  # fmt: skip
PREDICTORS: Mapping[str, int] = {
    "estimate": runs.BY_ESTIMATE, "clairvoyant": runs.CLAIRVOYANT, "last2": runs.LAST_TWO, "quantile": runs.BY_QUANTILE,
    "given": runs.GIVEN, "alike": runs.ALIKE,
}  # fmt: skip
PUT_OFFS: Mapping[str, int] = {"steps": runs.STEPS, "doubling": runs.DOUBLING, "estimate": runs.TO_ESTIMATE}
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Policy:
    """One cluster's queue.

    order: who comes first (ORDERS); backfill: who may pass a head that does not fit (BACKFILLS), in which order (FILLS); guard_s:
    a job that has waited longer comes first, 0 for never; predictor: the time that jobs are planned with (PREDICTORS), put_off:
    what becomes of it when a job outlives it; by_planned: orders look at that time too, not at the estimate; quantile: of
    run time as a share of the estimate, for that predictor; half_life_s: of a user's usage, for the order `fair`.
    sure: reservations count on estimates, not on planned times, which only say who may pass; patience_s, ageing, wideness: of the
    order `response` (`orders.response`); own_word, fading, other_estimate: of the predictor `alike` (`runs`).
    """

    order: str = "fcfs"
    backfill: str = "easy"
    fill: str = "queue"
    guard_s: float = 0.0
    predictor: str = "estimate"
    put_off: str = "estimate"
    by_planned: bool = False
    quantile: float = 0.5
    half_life_s: float = 7.0 * DAY
    sure: bool = False
    patience_s: float = 14_400.0
    ageing: float = 1.5
    wideness: float = 1.0
    own_word: float = 4.0
    fading: float = 0.9
    other_estimate: float = 0.5

    @property
    def looks_back(self) -> bool:
        """Whether it needs the users' history."""
        return self.order == "fair" or self.predictor in ("last2", "quantile", "alike")

    def words(self) -> NDArray[np.float64]:
        """float64[POLICY], as `layout` has them."""
        words = np.zeros(layout.POLICY)
        words[layout.ORDER] = ORDERS[self.order]
        words[layout.FILL] = FILLS[self.fill]
        words[layout.BACKFILL] = BACKFILLS[self.backfill]
        words[layout.GUARD] = self.guard_s
        words[layout.PREDICTOR] = PREDICTORS[self.predictor]
        words[layout.RANKED_BY] = self.by_planned
        words[layout.QUANTILE] = self.quantile
        words[layout.PUTTING_OFF] = PUT_OFFS[self.put_off]
        words[layout.HALF_LIFE] = self.half_life_s
        words[layout.RESERVED_BY] = self.sure
        words[layout.PATIENCE], words[layout.AGEING], words[layout.WIDENESS] = self.patience_s, self.ageing, self.wideness
        words[layout.OWN_WORD], words[layout.FADING] = self.own_word, self.fading
        words[layout.OTHER_ESTIMATE] = self.other_estimate
        return words


_EASY = Policy()
DEFAULT = Policy(order="response", predictor="alike", by_planned=True, put_off="estimate", sure=True, guard_s=5.0 * DAY)
"""What a cluster has that says nothing else; docs/decisions tell how it was chosen."""
POLICIES: Mapping[str, Policy] = {
    "default": DEFAULT,
    "fcfs": Policy(backfill="none"),
    "easy": _EASY,
    "conservative": Policy(backfill="conservative"),
    "easy-sjbf": Policy(fill="shortest"),
    "easy++": Policy(fill="shortest", predictor="last2"),
    **{name: Policy(order=name) for name in ORDERS if name not in ("fcfs", "response")},
    "wfp3-last2": Policy(order="wfp3", fill="shortest", predictor="last2", guard_s=5.0 * DAY),
}


def clairvoyant(policy: Policy) -> Policy:
    """The same with run times known beforehand, in plans and orders alike."""
    return replace(policy, predictor="clairvoyant", by_planned=True, sure=False)

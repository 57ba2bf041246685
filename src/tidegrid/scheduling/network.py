"""Network policies by name, and the broker's memory for a set of sites: the same live and in the simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tidegrid.scheduling.fairness import LOAN_S, MARGIN
from tidegrid.scheduling.kernel import chances, net, outlook
from tidegrid.scheduling.moving import Rules
from tidegrid.scheduling.objective import PRESETS, Objective

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Fairness = Literal["none", "wait", "slowdown"]

KEPT_JOBS = 1024  # a site where more wait and run is run ahead anew for each job that comes

RULES: Mapping[str, int] = {
    "home": net.HOME_ONLY, "earliest": net.EARLIEST, "least-work": net.LEAST, "two-choices": net.TWO, "tide": net.TIDE,
}  # fmt: skip
FAIRNESS: Mapping[Fairness, int] = {"none": 0, "wait": 1, "slowdown": 2}


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """rule: one of RULES; of `tide` objective: the weights of its score, as live; moving: when waiting jobs go elsewhere, as live, and
    how often (s) they are looked at where nothing happens; fair: what no site's own users may lose by the network, as means over all
    their jobs: nothing, their waits, or waits and bounded slowdowns; margin: share of their waits alone that a site's users must
    have gained before it takes guests; loan_s: seconds of waiting a processor that a site may lend before it has gained."""

    rule: str = "tide"
    objective: Objective = PRESETS["balanced"]
    moving: Rules = field(default_factory=Rules)
    every: int = 60
    fair: Fairness = "none"
    margin: float = MARGIN
    loan_s: float = LOAN_S


POLICIES: Mapping[str, NetworkPolicy] = {
    **{name: NetworkPolicy(rule=name) for name in RULES},
    **{name: NetworkPolicy(objective=o) for name, o in PRESETS.items()},
    "tide-fair": NetworkPolicy(fair="wait"),
    "tide-fair-slowdown": NetworkPolicy(fair="slowdown"),
}


def broker(
    policy: NetworkPolicy,
    home: Ints,
    processors: Sequence[int],
    *,
    kinds: int = 1,
    price: Floats | None = None,
    cost: Floats | None = None,
    delay_s: Floats | None = None,
    s_per_byte: Floats | None = None,
    bytes_: Floats | None = None,
    deadline: Floats | None = None,
    seed: int = 1,
    compiled: bool = False,
) -> net.Net:
    """The memory of a broker for jobs int64[J] with these homes and sites with so many processors. price float64[S]: of a
    processor (unit of the first kind) and second, cost likewise, the operator's; deadline float64[J], FOREVER for none; delay_s, s_per_byte float64[S,S]: from row to column; bytes_ float64[J]."""
    jobs, sites = len(home), len(processors)
    fair = FAIRNESS[policy.fair]
    place = np.full(jobs, -1, np.int64)
    ended = np.zeros(jobs if fair else 0, np.int64)
    head = np.zeros(net.WORDS, np.int64)
    words = [head, place, np.asarray(home, np.int64), ended, np.full(2 * sites, 1 << 60, np.int64), np.ones(net.GATE * sites, np.int64)]
    at = np.cumsum([0, *(len(part) for part in words)])
    head[net.RULE], head[net.SITES], head[net.JOBS], head[net.FAIR], head[net.DRAW] = RULES[policy.rule], sites, jobs, fair, seed
    head[net.SURE] = policy.objective.sure
    head[net.PLACE], head[net.HOME], head[net.AHEAD], head[net.GATES] = at[1], at[2], at[4], at[5]

    figures = np.full(net.FIGURES, -1.0)
    o, moving = policy.objective, policy.moving.words()
    figures[net.SECOND], figures[net.RISK], figures[net.EVERY] = o.time / 3600, o.risk, policy.every
    figures[net.PRICE_WEIGHT], figures[net.COST_WEIGHT] = o.price, o.cost
    figures[net.MARGIN], figures[net.UPTO], figures[net.CARRIED] = policy.margin, 0.0, 0.0
    ledger = np.zeros((sites, net.LEDGER_ROW))
    ledger[:, net.LOAN_ROW] = policy.loan_s * np.asarray(processors, np.float64)
    parts = [figures]

    def rows(word: int, table: Any) -> None:
        figures[word] = sum(map(len, parts))
        parts.append(np.asarray(table, np.float64).reshape(-1))

    none = np.zeros(sites)
    rows(net.PRICE, none if price is None else price)
    rows(net.COST, none if cost is None else cost)
    rows(net.LEFT, none)
    rows(net.LEDGER, ledger)
    rows(net.MOVING, moving)
    if policy.rule == "tide":
        rows(net.TABLES, np.zeros(sites * chances.TABLE))
        rows(net.TOLD, np.zeros(jobs * net.TOLD_ROW))
    if delay_s is not None or s_per_byte is not None:
        pairs = np.zeros(sites * sites)
        rows(net.DELAY, pairs if delay_s is None else delay_s)
        rows(net.PER_BYTE, pairs if s_per_byte is None else s_per_byte)
        if bytes_ is not None and s_per_byte is not None:
            rows(net.BYTES, bytes_)
    if deadline is not None:
        rows(net.DEADLINE, deadline)
    word, num = np.concatenate(words), np.concatenate(parts)
    look: Ints = np.zeros(outlook.scratch(jobs, kinds), np.int64)
    pick: Ints = np.zeros(jobs + 1, np.int64)
    most = min(jobs, KEPT_JOBS)
    kept: Ints = np.zeros(net.KEPT + sites * outlook.scratch(most, kinds), np.int64)
    kept[net.KEPT_JOBS], kept[net.KEPT_ROW] = most, outlook.scratch(most, kinds)
    kept[net.KEPT :: outlook.scratch(most, kinds)] = 1 << 60  # no outlook yet
    if compiled:
        return net.Net(word, num, look, pick, kept)
    plain: list[Any] = [word.tolist(), num.tolist(), look.tolist(), pick.tolist(), kept.tolist()]
    return net.Net(*plain)

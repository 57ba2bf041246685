"""Network policies by name, and the broker's memory for a set of sites: the same live and in the simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tidegrid.scheduling.kernel import net, outlook

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
    """rule: one of RULES; fair: what no site's own users may lose by the network, as means over all their jobs: nothing, their
    waits, or waits and bounded slowdowns; value: of a second that a job waits, in the unit of the sites' prices; rehome_s,
    rehome_share: a job waits elsewhere only if it starts there that much earlier, and by that share of its wait at home;
    margin: share of their waits alone that a site's users must have gained before it takes guests; loan_s: seconds of waiting
    a processor that a site may lend before it has gained."""

    rule: str = "tide"
    fair: Fairness = "none"
    value: float = 0.0
    rehome_s: int = 21_600
    rehome_share: float = 0.75
    margin: float = 0.05
    loan_s: float = 600.0


POLICIES: Mapping[str, NetworkPolicy] = {
    **{name: NetworkPolicy(rule=name) for name in RULES},
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
    delay_s: Floats | None = None,
    s_per_byte: Floats | None = None,
    bytes_: Floats | None = None,
    seed: int = 1,
    compiled: bool = False,
) -> net.Net:
    """The memory of a broker for jobs int64[J] with these homes and sites with so many processors. price float64[S]: of a
    processor (unit of the first kind) and second; delay_s, s_per_byte float64[S,S]: from row to column; bytes_ float64[J]."""
    jobs, sites = len(home), len(processors)
    fair = FAIRNESS[policy.fair]
    place = np.full(jobs, -1, np.int64)
    ended = np.zeros(jobs if fair else 0, np.int64)
    head = np.zeros(net.WORDS, np.int64)
    words = [head, place, np.asarray(home, np.int64), ended, np.full(2 * sites, 1 << 60, np.int64), np.zeros(2 * jobs, np.int64)]
    at = np.cumsum([0, *(len(part) for part in words)])
    head[net.RULE], head[net.SITES], head[net.JOBS], head[net.FAIR], head[net.DRAW] = RULES[policy.rule], sites, jobs, fair, seed
    head[net.PLACE], head[net.HOME], head[net.AHEAD], head[net.WAY] = at[1], at[2], at[4], at[5]

    figures = np.full(net.FIGURES, -1.0)
    ledger = np.zeros((sites, net.LEDGER_ROW))
    ledger[:, net.LOAN_ROW] = policy.loan_s * np.asarray(processors, np.float64)
    parts = [figures, np.zeros(sites) if price is None else np.asarray(price, np.float64), np.zeros(sites), ledger.reshape(-1)]
    figures[net.VALUE], figures[net.REHOME_S], figures[net.REHOME_SHARE] = policy.value, policy.rehome_s, policy.rehome_share
    figures[net.MARGIN], figures[net.UPTO] = policy.margin, 0.0
    figures[net.PRICE], figures[net.LEFT] = len(figures), len(figures) + sites
    figures[net.LEDGER] = len(figures) + 2 * sites
    after = len(figures) + 2 * sites + ledger.size
    if delay_s is not None or s_per_byte is not None:
        for at_word, table in ((net.DELAY, delay_s), (net.PER_BYTE, s_per_byte)):
            figures[at_word] = after
            parts.append(np.zeros(sites * sites) if table is None else np.asarray(table, np.float64).reshape(-1))
            after += sites * sites
        if bytes_ is not None and s_per_byte is not None:
            figures[net.BYTES] = after
            parts.append(np.asarray(bytes_, np.float64))
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

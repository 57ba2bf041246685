"""What a job's owner wants, as rows of weights over one score in micro-yuan:

score = price * expected price + cost * operator's marginal cost + value_of_time * (wait + staging + run at p50
        + risk * what p90 adds to wait and run)

Lower is better. A row is data: a new wish is a new row, not a new formula.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tidegrid.domain.errors import InvalidInput

VERSION = 2


@dataclass(frozen=True, slots=True)
class Objective:
    """price, cost: factors on micro-yuan; time: yuan per hour; risk: share of the spread that counts as time; sure: deadlines
    are kept at p90, not only at p50."""

    price: float
    time: float
    cost: float = 0.0
    risk: float = 0.0
    sure: bool = False


# Where the owner asks for the cheapest or the fastest, the operator's cost only decides between equals.
PRESETS: Mapping[str, Objective] = {
    "balanced": Objective(price=1.0, time=5.0, cost=1.0),
    "cheapest": Objective(price=1.0, time=0.001, cost=0.001),
    "fastest": Objective(price=0.001, time=1000.0, cost=0.001, risk=0.5),
    "deadline": Objective(price=1.0, time=0.05, cost=0.1, risk=1.0, sure=True),
    "budget": Objective(price=0.01, time=100.0, cost=0.01),
    "patient": Objective(price=1.0, time=0.02, cost=1.0),
}


def lookup(name: str, overrides: Mapping[str, Objective] | None) -> Objective:
    """InvalidInput objective.unknown where no row has that name."""
    row = (overrides or {}).get(name) or PRESETS.get(name)
    if row is None:
        raise InvalidInput("objective.unknown", f"there is no objective {name!r}", hint="one of " + ", ".join(PRESETS))
    return row


def policy_hash(overrides: Mapping[str, Objective] | None, settings: Mapping[str, float]) -> str:
    """Names the policy: version, weights and settings, 16 hex digits of SHA-256."""
    rows = {name: asdict(row) for name, row in {**PRESETS, **(overrides or {})}.items()}
    text = json.dumps({"version": VERSION, "rows": rows, "settings": dict(settings)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

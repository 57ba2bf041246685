"""Machine cards: what a partition's node can do, as `apps/machine_card.py` measured it there. JSON in, a checked value out.

Every value has the tier it comes from, and none is 0 for want of a measurement: what could not be had is None, and NaN in arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tidegrid.catalog.yamldoc import content_hash
from tidegrid.domain.errors import InvalidInput

SCHEMA = 1
MAX_VALUES = 2000


class Tier(StrEnum):
    MEASURED = "measured"
    SAMPLED = "sampled"
    EXACT = "exact"
    SIMULATED = "simulated"
    MODELLED = "modelled"
    ESTIMATED = "estimated"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Value:
    """value: None exactly where the tier is unavailable; error: half the span of `n` repetitions, in `unit`."""

    value: float | None
    unit: str
    tier: Tier
    error: float | None = None
    n: int = 0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "unit": self.unit, "tier": self.tier.value, "error": self.error, "n": self.n,
                "note": self.note}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MachineCard:
    """host: arch, cpu_model, cores, memory_mib and so on; values by name; body: the JSON it was made from; hash: of that."""

    host: Mapping[str, Any]
    values: Mapping[str, Value]
    cpu_s: float
    body: Mapping[str, Any]
    hash: str

    def number(self, name: str) -> float:
        """A value as float64; NaN where it is unavailable."""
        found = self.values.get(name)
        return math.nan if found is None or found.value is None else float(found.value)

    def numbers(self, names: tuple[str, ...]) -> tuple[float, ...]:
        return tuple(self.number(n) for n in names)


def parse(body: Any) -> MachineCard:
    """InvalidInput (card.invalid) says which value is wrong."""
    if not isinstance(body, Mapping) or body.get("schema") != SCHEMA:
        raise _bad(f"schema is {body.get('schema') if isinstance(body, Mapping) else None!r}, this program reads {SCHEMA}")
    host, given = body.get("host"), body.get("values")
    if not isinstance(host, Mapping) or not isinstance(given, Mapping) or not 0 < len(given) <= MAX_VALUES:
        raise _bad(f"host and values are mappings, with 1 to {MAX_VALUES} values")
    values = {str(name): _value(str(name), v) for name, v in given.items()}
    cpu = body.get("cpu_s")
    return MachineCard(host, values, float(cpu) if isinstance(cpu, int | float) and _number(cpu) else math.nan, body, content_hash(body))


def _value(name: str, v: Any) -> Value:
    if not isinstance(v, Mapping):
        raise _bad(f"{name} is no mapping")
    if v.get("tier") not in set(Tier):
        raise _bad(f"{name}: tier {v.get('tier')!r} is none of {', '.join(Tier)}")
    tier, value, error, n = Tier(v["tier"]), v.get("value"), v.get("error"), v.get("n", 0)
    if (tier is Tier.UNAVAILABLE) != (value is None):
        raise _bad(f"{name}: a value is null exactly where its tier is unavailable")
    if value is not None and not _number(value):
        raise _bad(f"{name}: value {value!r} is no finite number")
    if error is not None and not (_number(error) and error >= 0):
        raise _bad(f"{name}: error {error!r} is no number of at least 0")
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise _bad(f"{name}: n {n!r} is no count")
    return Value(value, str(v.get("unit", "")), tier, error, n, str(v.get("note", ""))[:300])


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _bad(why: str) -> InvalidInput:
    return InvalidInput("card.invalid", f"this is no machine card: {why}", hint="measure one with `tide machine-card`")

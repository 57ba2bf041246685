"""Rates: what an hour of each resource costs on one partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.money import PRICE_UNIT, parse_price

FIELDS = ("core_hour", "gpu_hour", "memory_gib_hour")


@dataclass(frozen=True, slots=True)
class Rates:
    """1e-8 yuan per core-hour, per GPU-hour and per GiB-hour of allocated memory; none negative."""

    core_hour: int
    gpu_hour: int = 0
    memory_gib_hour: int = 0

    def __post_init__(self) -> None:
        for field in FIELDS:
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
                raise InvalidInput(
                    "price.malformed", f"{field} is {value!r}", hint="a count of 1e-8 yuan, not negative"
                )

    def as_tuple(self) -> tuple[int, int, int]:
        return (self.core_hour, self.gpu_hour, self.memory_gib_hour)


def parse_rates(document: Mapping[str, object], what: str = "rates") -> Rates:
    """Rates from yuan as text: `{core_hour: "0.06", gpu_hour: "4.5"}`. What is not named costs nothing, but core_hour
    must be named: InvalidInput price.missing; unknown names and negative prices: price.malformed."""
    if unknown := sorted(set(document) - set(FIELDS)):
        raise InvalidInput(
            "price.malformed", f"{what}: unknown price {unknown[0]!r}", hint="prices: " + ", ".join(FIELDS)
        )
    if "core_hour" not in document:
        raise InvalidInput("price.missing", f"{what}: there is no core_hour", hint='write core_hour: "0" if it is free')
    values = {field: parse_price(document[field], f"{what}.{field}") for field in FIELDS if field in document}
    return Rates(**values)


def format_price(price: int) -> str:
    """1e-8 yuan as yuan, exactly, two to eight decimals: 6000000 is `0.06`."""
    whole, rest = divmod(price, PRICE_UNIT)
    digits = f"{rest:08d}".rstrip("0")
    return f"{whole}.{digits:0<2}"

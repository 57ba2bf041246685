"""The price book: what each partition sells for and what it costs, immutable and named by its content hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from tidegrid.domain.errors import InvalidInput, NotFound
from tidegrid.rating.rates import FIELDS, Rates

SCHEMA = 1


class Supply(StrEnum):
    """Where capacity comes from."""

    CO_BUILT = "co_built"  # owned: its fixed cost is paid anyway, the cost rates are the marginal ones
    PURCHASED = "purchased"  # paid as used: the cost rates are the partner's price


@dataclass(frozen=True, slots=True)
class Line:
    """sell: what customers pay; cost: what an hour of use costs the operator at the margin."""

    sell: Rates
    cost: Rates
    supply: Supply = Supply.CO_BUILT


@dataclass(frozen=True, slots=True)
class PriceBook:
    """lines: by "cluster/partition". One currency a book."""

    lines: Mapping[str, Line]
    currency: str = "CNY"

    def __post_init__(self) -> None:
        for key in self.lines:
            cluster, slash, partition = key.partition("/")
            if not (cluster and slash and partition):
                raise InvalidInput("price.malformed", f"{key!r} names no partition", hint="write cluster/partition")
        object.__setattr__(self, "lines", MappingProxyType(dict(sorted(self.lines.items()))))

    def line(self, partition: str) -> Line:
        """The prices of "cluster/partition"; NotFound price.missing where it has none: never a price of 0."""
        try:
            return self.lines[partition]
        except KeyError:
            raise NotFound(
                "price.missing",
                f"price book {self.hash[:12]} has no price for {partition}",
                hint="add it to the network file's price book and apply it",
                details={"partition": partition, "book": self.hash},
            ) from None

    def sell(self, partition: str) -> Rates:
        return self.line(partition).sell

    def cost(self, partition: str) -> Rates:
        return self.line(partition).cost

    def supply(self, partition: str) -> Supply:
        return self.line(partition).supply

    def to_json(self) -> str:
        """Canonical: equal books give equal text. Prices are integers of 1e-8 of the currency."""
        body = {
            "schema": SCHEMA,
            "currency": self.currency,
            "lines": {
                key: {"sell": _rates(line.sell), "cost": _rates(line.cost), "supply": line.supply.value}
                for key, line in self.lines.items()
            },
        }
        return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical text, in hex: the book's version."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @staticmethod
    def from_json(text: str) -> PriceBook:
        """InvalidInput price.malformed where `text` is no price book of this schema."""
        try:
            body: dict[str, Any] = json.loads(text)
            if body["schema"] != SCHEMA:
                raise ValueError(f"schema {body['schema']}, not {SCHEMA}")
            lines = {
                key: Line(Rates(**line["sell"]), Rates(**line["cost"]), Supply(line["supply"]))
                for key, line in body["lines"].items()
            }
            return PriceBook(lines, body["currency"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput("price.malformed", f"this is no price book: {error}") from None


def _rates(rates: Rates) -> dict[str, int]:
    return dict(zip(FIELDS, rates.as_tuple(), strict=True))

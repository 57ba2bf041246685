"""Exact money: int64 micro-yuan amounts, prices in 1e-8 yuan, one rounding rule.

A currency stands on every amount; Tidegrid's books are kept in CNY.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from tidegrid.domain.errors import InvalidInput

MICRO = 1_000_000
PRICE_UNIT = 100_000_000  # prices are counted in 1e-8 yuan
MS_PER_HOUR = 3_600_000


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """amount: integer micro-units of `currency`."""

    amount: int
    currency: str = "CNY"

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise InvalidInput("money.currency", f"cannot combine {self.currency} with {other.currency}")
        return other.amount

    def __str__(self) -> str:
        return f"{format_amount(self.amount)} {self.currency}"


def div_half_up(numerator: int, denominator: int) -> int:
    """numerator / denominator rounded half away from zero; denominator > 0."""
    sign = -1 if numerator < 0 else 1
    return sign * ((2 * abs(numerator) + denominator) // (2 * denominator))


def parse_decimal(text: object, unit: int, what: str) -> int:
    """An exact count of 1/unit; InvalidInput (money.malformed) where `text` is no decimal or finer than the unit."""
    try:
        if isinstance(text, bool):
            raise InvalidOperation
        value = Decimal(str(text)) * unit
    except ArithmeticError:  # no decimal, or beyond what decimals hold
        raise InvalidInput("money.malformed", f"{what}: {text!r} is not a decimal number") from None
    if not value.is_finite() or value != value.to_integral_value() or abs(value) >= 1 << 62:
        raise InvalidInput("money.malformed", f"{what}: {text!r} is too fine or too large", hint=f"steps of 1/{unit}")
    return int(value)


def parse_amount(text: object, what: str = "amount") -> int:
    """Yuan as text -> micro-yuan."""
    return parse_decimal(text, MICRO, what)


def parse_price(text: object, what: str = "price") -> int:
    """Yuan per unit as text -> 1e-8 yuan per unit."""
    return parse_decimal(text, PRICE_UNIT, what)


def format_amount(micro: int) -> str:
    """Micro-yuan -> yuan with two to six decimals: 1500000 is `1.50`."""
    sign, micro = ("-" if micro < 0 else ""), abs(micro)
    whole, rest = divmod(micro, MICRO)
    digits = f"{rest:06d}".rstrip("0")
    return f"{sign}{whole}.{digits:0<2}"


def charge(quantity_ms: int, price: int) -> int:
    """Micro-yuan for `quantity_ms` resource-milliseconds at `price` (1e-8 yuan per resource-hour), rounded half up."""
    return div_half_up(quantity_ms * price, MS_PER_HOUR * (PRICE_UNIT // MICRO))

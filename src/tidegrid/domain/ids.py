"""64-bit time-ordered ids, shown as a prefix and 13 base32 characters.

An id holds 41 bits of milliseconds since 2020-01-01 UTC and 22 random bits, so that ids made later sort later and
fit a signed 64-bit column. Clock and randomness are passed in.
"""

from __future__ import annotations

from collections.abc import Callable

from tidegrid.domain.errors import InvalidInput

EPOCH_US = 1_577_836_800_000_000
_RANDOM_BITS = 22
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32: no i, l, o, u
_VALUE = {c: i for i, c in enumerate(_ALPHABET)}
WIDTH = 13


class Ids:
    """Generator of strictly increasing ids, also when the clock stands still or steps back.

    now_us: microseconds UTC; random_bits: a function from a number of bits to a random integer.
    """

    def __init__(self, now_us: Callable[[], int], random_bits: Callable[[int], int]) -> None:
        self._now_us = now_us
        self._random_bits = random_bits
        self._last = 0

    def new(self) -> int:
        """The next id."""
        stamp = max(0, (self._now_us() - EPOCH_US) // 1000)
        fresh = (stamp << _RANDOM_BITS) | self._random_bits(_RANDOM_BITS)
        self._last = fresh if fresh > self._last else self._last + 1
        return self._last


def created_us(id_: int) -> int:
    """Microseconds UTC at which `id_` was made, to the millisecond."""
    return EPOCH_US + (id_ >> _RANDOM_BITS) * 1000


def b32(id_: int) -> str:
    """13 characters that sort as the ids do."""
    out = []
    for _ in range(WIDTH):
        out.append(_ALPHABET[id_ & 31])
        id_ >>= 5
    return "".join(reversed(out))


def unb32(text: str) -> int:
    """The id behind `b32`'s text; ValueError where it is none."""
    if len(text) != WIDTH:
        raise ValueError(text)
    value = 0
    for c in text:
        if c not in _VALUE:
            raise ValueError(text)
        value = (value << 5) | _VALUE[c]
    if value >= 1 << 63:
        raise ValueError(text)
    return value


def show(prefix: str, id_: int) -> str:
    """`show("job", 1)` is `job-0000000000001`."""
    return f"{prefix}-{b32(id_)}"


def parse(prefix: str, text: str) -> int:
    """The id shown as `text`; InvalidInput (id.malformed) where the prefix or the characters are wrong."""
    head, dash, tail = text.strip().lower().partition("-")
    try:
        if not dash or head != prefix:
            raise ValueError(text)
        return unb32(tail)
    except ValueError:
        raise InvalidInput(
            "id.malformed", f"{text!r} is not a {prefix} id", hint=f"ids look like {show(prefix, 1)}"
        ) from None

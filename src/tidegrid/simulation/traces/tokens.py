"""Numbers out of a table of text, column by column, without a Python object a cell.

The whole text is one array of bytes. Where the words begin and end is found with masks; a column's words are then read eight bytes
at a time as one 64-bit number each, whose bytes are checked to be digits and folded into a value by three multiplications
(the known "SIMD within a register" way to read eight digits). That is some twenty array operations a column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_PAD = 24  # bytes before the text, so that reading back from the first word stays inside
_ZEROES = np.uint64(0x3030303030303030)
_HIGH = np.uint64(0xF0F0F0F0F0F0F0F0)
_SIX = np.uint64(0x0606060606060606)
_MINUS, _PLUS, _DOT, _NEWLINE = 45, 43, 46, 10


@dataclass(frozen=True, eq=False)
class Table:
    """Words of a text of lines. `begin` and `end` (exclusive) are positions in `text`, one a word; `line` is where each line starts in words."""

    text: npt.NDArray[np.uint8]
    words: Words
    begin: Ints
    end: Ints
    line: Ints
    dots: Ints

    @property
    def lines(self) -> int:
        return len(self.line) - 1

    def counts(self) -> Ints:
        """Words on each line."""
        return np.diff(self.line)

    def word(self, at: int) -> str:
        return self.text[self.begin[at] : self.end[at]].tobytes().decode("ascii", "backslashreplace")


def split(body: bytes) -> Table:
    """Find the words: runs of bytes above 32. The text needs no newline at its end."""
    tail = b"" if body.endswith(b"\n") else b"\n"
    room = -(len(body) + len(tail) + _PAD) % 8 + 8
    raw = b"".join((b" " * _PAD, body, tail, b" " * room))
    text = np.frombuffer(raw, np.uint8)
    inside = (text > 32).view(np.int8)
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    begin, end = edges[0::2], edges[1::2]
    newlines = np.flatnonzero(text == _NEWLINE)
    line = np.concatenate((np.zeros(1, np.int64), np.searchsorted(begin, newlines)))
    return Table(text, np.frombuffer(raw, "<u8"), begin, end, line, np.flatnonzero(text == _DOT))


def integers(table: Table, begin: Ints, end: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The words as whole numbers: (values, which are none). A sign is allowed; more than 18 digits are no number here."""
    first = table.text[begin]
    if len(begin) and int((end - begin).max()) <= 2 and int((end - begin).min()) > 0:
        return _short(first, table.text[end - 1], end - begin == 2)
    negative = first == _MINUS
    begin = begin + (negative | (first == _PLUS))
    length = end - begin
    value, bad = _eight(table.words, end, length)
    if len(length) and int(length.max()) > 8:
        longer = np.flatnonzero(length > 8)
        high, wrong = _eight(table.words, end[longer] - 8, length[longer] - 8)
        top, more = _eight(table.words, end[longer] - 16, length[longer] - 16)
        value[longer] += high * 10**8 + np.minimum(top, 99) * 10**16
        bad[longer] |= wrong | more | (length[longer] > 18)
    np.negative(value, out=value, where=negative)
    return value, bad | (length <= 0)


def decimals(table: Table, begin: Ints, end: Ints) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The same with a point allowed; at most 18 digits before and after it."""
    at = np.searchsorted(table.dots, begin)
    dot = np.where(at < len(table.dots), table.dots[np.minimum(at, len(table.dots) - 1)], end) if len(table.dots) else end
    pointed = dot < end
    stop = np.where(pointed, dot, end)
    whole, bad = integers(table, begin, stop)
    value = whole.astype(np.float64)
    rows = np.flatnonzero(pointed & (dot + 1 < end))
    part, wrong = integers(table, dot[rows] + 1, end[rows])
    minus = np.where(table.text[begin[rows]] == _MINUS, -1.0, 1.0)
    value[rows] += minus * part / 10.0 ** (end[rows] - dot[rows] - 1)
    sign = table.text[dot[rows] + 1]
    bad[rows] |= wrong | (sign == _MINUS) | (sign == _PLUS)
    return value, bad


def _short(first: npt.NDArray[np.uint8], last: npt.NDArray[np.uint8], two: npt.NDArray[np.bool_]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Words of one or two bytes: most columns of most logs hold nothing else, many of them -1 throughout."""
    ones, tens = last.astype(np.int64) - 48, first.astype(np.int64) - 48
    signed = two & ((first == _MINUS) | (first == _PLUS))
    value = np.where(two & ~signed, ones + 10 * tens, np.where(two & (first == _MINUS), -ones, ones))
    bad = (ones < 0) | (ones > 9) | (two & ~signed & ((tens < 0) | (tens > 9)))
    return value, bad


def _eight(words: Words, end: Ints, length: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The last up to eight bytes before `end` as a number; a word of no bytes is 0."""
    start = end - 8
    slot, shift = start >> 3, ((start & 7) << 3).astype(np.uint64)
    low = words[slot] >> shift
    # A shift by 64 is not defined; in two steps it is.
    chunk = low | ((words[slot + 1] << np.uint64(1)) << (np.uint64(63) - shift))
    missing = (np.clip(8 - length, 0, 8) << 3).astype(np.uint64)
    half = missing >> np.uint64(1)
    chunk = ((chunk >> half) >> (missing - half)) << half << (missing - half)
    zeroes = ~((((~np.uint64(0)) >> half) >> (missing - half)) << half << (missing - half)) & _ZEROES
    chunk |= zeroes
    bad = ((chunk & _HIGH) | (((chunk + _SIX) & _HIGH) >> np.uint64(4))) != np.uint64(0x3333333333333333)
    d = chunk - _ZEROES
    d = (d * np.uint64(10)) + (d >> np.uint64(8))
    one = (d & np.uint64(0x000000FF000000FF)) * np.uint64(0x000F424000000064)
    two = ((d >> np.uint64(16)) & np.uint64(0x000000FF000000FF)) * np.uint64(0x0000271000000001)
    return ((one + two) >> np.uint64(32)).astype(np.int64), bad

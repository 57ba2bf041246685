"""Sets of array task numbers, written as Slurm writes them: `0-4,7,9-10`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tidegrid.domain.errors import InvalidInput

MAX_TASKS = 1000
_RANGE = re.compile(r"^(\d+)(?:-(\d+)(?::(\d+))?)?$")


def compress(tasks: Iterable[int]) -> str:
    """`[0, 1, 2, 7]` -> `0-2,7`; an empty set is the empty text."""
    out: list[str] = []
    start = last = -2
    for t in [*sorted(set(tasks)), -9]:
        if t == last + 1:
            last = t
            continue
        if start >= 0:
            out.append(str(start) if start == last else f"{start}-{last}")
        start = last = t
    return ",".join(out)


def expand(text: str) -> tuple[int, ...]:
    """`0-2,7` -> `(0, 1, 2, 7)`; InvalidInput (array.malformed) otherwise."""
    tasks: set[int] = set()
    for piece in text.split(",") if text else []:
        match = _RANGE.match(piece.strip())
        if match is None:
            raise InvalidInput("array.malformed", f"{text!r} is no array range", hint="write 0-9, 0-9:2 or 1,3,5")
        low = int(match[1])
        high, step = int(match[2] or low), int(match[3] or 1)
        if high < low or step < 1 or (high - low) // step > 1_000_000:
            raise InvalidInput("array.malformed", f"{piece!r} in {text!r} is empty or too long")
        tasks.update(range(low, high + 1, step))
    return tuple(sorted(tasks))


def parse_array(text: str) -> tuple[tuple[int, ...], int]:
    """`0-99%10` -> the tasks and the throttle (0: none)."""
    body, percent, limit = text.partition("%")
    if percent and (not limit.isdigit() or int(limit) < 1):
        raise InvalidInput("array.malformed", f"{text!r}: the throttle after % is a number above 0")
    tasks = expand(body)
    if not tasks:
        raise InvalidInput("array.malformed", f"{text!r} names no task")
    return tasks, int(limit) if percent else 0

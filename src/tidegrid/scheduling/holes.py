"""Whether what is free in a partition lies on nodes that can use it: eight free GPUs on eight nodes are none for a task of eight.

A partition's holes are its nodes on which something is free, like ones together: rows (nodes, what is free on each of them, in the
order of the snapshot's kinds). No rows: nobody knows, and what is free counts as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import le

Row = tuple[int, tuple[int, ...]]


def each_of(need: Sequence[int], nodes: int, cores: int = 0) -> tuple[int, ...]:
    """What one of its nodes must have for a task whose need over all of them is `need`; cores: of a node, where it wants them whole."""
    first, *rest = (-(-n // nodes) for n in need)
    return max(first, cores), *rest


def hold(holes: Sequence[Row], each: Sequence[int], nodes: int) -> bool:
    """Whether so many nodes have `each`; also where nobody knows."""
    return not holes or sum(n for n, free in holes if _within(each, free)) >= nodes


def take(holes: Sequence[Row], each: Sequence[int], seats: int) -> list[Row]:
    """The holes left when so many times `each` is taken, as far as there is room: of the nodes with least left first, full ones before
    others are begun."""
    out: list[Row] = []
    for n, free in sorted(holes, key=lambda row: (row[1][::-1], row[0])):
        a_node = min((f // x for f, x in zip(free, each, strict=True) if x > 0), default=0) if seats and _within(each, free) else 0
        taken = min(seats, n * a_node)
        full, part = divmod(taken, a_node) if a_node else (0, 0)
        for count, tasks in ((full, a_node), (1 if part else 0, part), (n - full - bool(part), 0)):
            if count:
                out.append((count, tuple(f - tasks * x for f, x in zip(free, each, strict=True))))
        seats -= taken
    return out


def _within(need: Sequence[int], room: Sequence[int]) -> bool:
    return all(map(le, need, room))

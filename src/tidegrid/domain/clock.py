"""Time: int64 microseconds UTC, read from an injected clock."""

from __future__ import annotations

from typing import Protocol

SECOND = 1_000_000
HOUR = 3600 * SECOND


class Clock(Protocol):
    """Where time comes from. Implementations live in `launch`; tests pass their own."""

    def now(self) -> int:
        """Microseconds UTC; never earlier than an earlier answer of the same clock."""
        ...

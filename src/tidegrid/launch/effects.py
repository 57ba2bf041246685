"""The wall clock and true randomness, as the rooms below take them."""

from __future__ import annotations

import secrets
import threading
import time

from tidegrid.domain.clock import SECOND
from tidegrid.domain.errors import Conflict
from tidegrid.domain.ids import Ids

TOLERANCE = 2 * SECOND


class SteadyClock:
    """The wall clock, made steady: when the machine's clock steps back, time goes on by the monotonic clock until the
    wall has caught up. stepped_back: how far it is behind now, in microseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wall = time.time_ns() // 1000
        self._mono = time.monotonic_ns() // 1000
        self.stepped_back = 0

    def now(self) -> int:
        wall, mono = time.time_ns() // 1000, time.monotonic_ns() // 1000
        with self._lock:
            steady = self._wall + (mono - self._mono)
            self.stepped_back = max(0, steady - wall) if steady - wall > TOLERANCE else 0
            # Small corrections of the wall clock are followed, but never backwards.
            self._wall, self._mono = (max(wall, self._wall), mono) if not self.stepped_back else (steady, mono)
            return self._wall


def new_ids(clock: SteadyClock) -> Ids:
    return Ids(clock.now, secrets.randbits)


def check_clock(now: int, newest: int, *, accept: bool) -> None:
    """Conflict (clock.stepped_back) where the machine's clock is behind what the database already holds."""
    behind = newest - now
    if behind <= TOLERANCE or accept:
        return
    raise Conflict(
        "clock.stepped_back",
        f"this machine's clock is {behind / SECOND:.1f} s behind the newest event in the database",
        hint="set the clock right; or start with --accept-clock if it is right now and was wrong before",
        details={"behind_seconds": behind / SECOND},
    )

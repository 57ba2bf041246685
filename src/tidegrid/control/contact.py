"""What a server remembers of a cluster between two looks, and how its attempts are called there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from tidegrid.connectors.contract import Listed, NodeLoad, Observation
from tidegrid.control.orphans import Sightings
from tidegrid.domain.clock import SECOND
from tidegrid.domain.ids import b32, unb32

STROKE_S, BETWEEN_S = 2.0, 0.3  # at most so long all else waits while permits are given that are no longer apart than this
LOOK_S = 0.1  # between two looks at the marks of what is starting
MOVING_S = 5.0  # after something came, started or ended, what waits may start
STARTING = 30 * SECOND  # how long after its cluster called it running a job's mark is looked for so often


def native_name(attempt_id: int) -> str:
    """The attempt's name at its cluster."""
    return f"tg-{b32(attempt_id)}"


def attempt_of(name: str) -> int | None:
    """The attempt behind a native name; None for a job that is not ours."""
    try:
        return unb32(name[3:]) if name.startswith("tg-") else None
    except ValueError:
        return None


@dataclass
class Contact:
    """What this process remembers of a cluster between ticks; nothing here is needed after a restart."""

    failures: int = 0
    last_answer: float = 0.0  # monotonic
    answered: bool = False
    silent: bool = False
    cancelled: dict[int, int] = field(default_factory=dict)  # attempt -> when its cancel was last sent
    old_marks: set[str] = field(default_factory=set)  # listed in an earlier tick, of attempts that are over
    given: list[tuple[int, int, int]] = field(default_factory=list)  # permits to record
    written_at: int = 0
    hour: int = 0  # of the site's clock at the last answer: closed hours are journalled when it turns
    loads: tuple[NodeLoad, ...] = ()
    loads_at: int = 0  # when they were asked for (µs): what was taken before that is in them
    sightings: Sightings = field(default_factory=Sightings)
    stuck: dict[int, tuple[str, str, float]] = field(default_factory=dict)  # attempt -> code, the site's word, since
    again: dict[str, int] = field(default_factory=dict)  # marks of another start -> since when they are held back
    asked: tuple[float, float] = (-1e9, -1e9)  # when it was asked last, and when it had answered; monotonic
    permitted: tuple[float, float] = (-1e9, -1e9)  # when the first of the last permits at a stroke was given, and the last; monotonic
    starting: bool = False  # something runs there whose mark is still to come, or may soon run
    sent: float = -1e9  # when it last took a job, monotonic
    listing: frozenset[tuple[str, tuple[int, ...], tuple[int, ...]]] = frozenset()  # what waited and ran at the last answer
    changed: float = 0.0  # when that was last another, monotonic

    def answers(self, seen: Observation, loads_at: int) -> None:
        """It has answered, and what the answer means is committed."""
        self.failures, self.answered = 0, True
        self.last_answer = asyncio.get_running_loop().time()
        self.loads, self.loads_at = seen.loads, loads_at
        self.stuck = self._stuck(seen.jobs)
        self.starting = self._starting(seen)

    def _stuck(self, listed: Iterable[Listed]) -> dict[int, tuple[str, str, float]]:
        """Attempts that the site says it will not start, each since it first said so."""
        out = {}
        for job in listed:
            if job.stuck and job.waiting and (id_ := attempt_of(job.name)) is not None:
                was = self.stuck.get(id_)
                out[id_] = (job.stuck, job.says, was[2] if was is not None and was[0] == job.stuck else self.last_answer)
        return out

    def _starting(self, seen: Observation) -> bool:
        listing = frozenset((j.name, j.waiting, j.running) for j in seen.jobs)
        if listing != self.listing:
            self.listing, self.changed = listing, self.last_answer
        if self.last_answer - self.changed < MOVING_S and any(j.waiting for j in seen.jobs):
            return True
        return self.sent > self.asked[0] or self.sightings.starting(seen.site_time_us, STARTING)

    def took(self) -> None:
        """It has just taken a job, which may start at once."""
        self.sent, self.starting = asyncio.get_running_loop().time(), True

    def permits(self) -> None:
        """Permits are being given now."""
        now = asyncio.get_running_loop().time()
        first, last = self.permitted
        self.permitted = (first if now - last < BETWEEN_S else now, now)

    async def let_start(self, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        """Wait a little while many are being let start, as where a wave of jobs begins; not where jobs start all the time."""
        now = asyncio.get_running_loop().time
        while now() < min(self.permitted[0] + STROKE_S, self.permitted[1] + BETWEEN_S):
            await asyncio.sleep(LOOK_S / 2)
            if meanwhile is not None:
                await meanwhile()

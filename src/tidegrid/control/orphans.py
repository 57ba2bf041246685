"""Jobs that had started and that their controller does not know any more.

A controller that was killed forgets the starts of its last seconds. Its nodes abort such jobs when they register with it again,
without a trace in queue or accounting: nobody will ever tell of their end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegrid.domain.attempt import Attempt, Ended, Reason, Witness


@dataclass
class Sightings:
    """When attempts were listed last, and since when they are missing, in microseconds of the site's clock. Of this process
    only: after a restart the time of being missing begins anew."""

    last: dict[int, int] = field(default_factory=dict)
    missing: dict[int, int] = field(default_factory=dict)

    def seen(self, attempt: int, at: int) -> None:
        self.last[attempt] = at
        self.missing.pop(attempt, None)

    def missing_for(self, attempt: int, at: int) -> int:
        """How long it has been missing now; the first time it is said to be: 0."""
        return at - self.missing.setdefault(attempt, at)

    def prune(self, live: set[int]) -> None:
        for table in (self.last, self.missing):
            for attempt in table.keys() - live:
                del table[attempt]


def ends(a: Attempt, sightings: Sightings, now: int) -> list[Ended]:
    """An end for each execution of an attempt that no node can still run: of its node, for that is where it was lost.

    It is billed provisionally to its last sign of life: its listing, or its own mark where it was never listed.
    """
    found = []
    for e in a.executions:
        if e.ended or e.gave_up or e.app_exit is not None:
            continue
        life = max(t for t in (sightings.last.get(a.id), e.started_at, 0) if t is not None)
        end = min(life, now) if life else now
        found.append(
            Ended(e.task, e.restart, e.native_id, Reason.NODE_FAIL, None, e.started_at, end, Witness.PROVISIONAL)
        )
    return found

"""Jobs that had started and that their controller does not know any more, and jobs that ended and that it still runs.

A controller that was killed forgets the starts of its last seconds. Its nodes abort such jobs when they register with it again,
without a trace in queue or accounting: nobody will ever tell of their end. It forgets ends as well, and then holds an allocation in
which nothing runs until its wall time is over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tidegrid.connectors.contract import Listed
from tidegrid.domain.attempt import Attempt, Ended, GivenBack, Reason, Witness

NEVER = 1 << 62


@dataclass
class Sightings:
    """When attempts were listed last, and since when they are missing, in microseconds of the site's clock. Of this process
    only: after a restart the time of being missing begins anew."""

    last: dict[int, int] = field(default_factory=dict)
    missing: dict[int, int] = field(default_factory=dict)
    done: dict[int, int] = field(default_factory=dict)  # since when something of it is known to have said that it ended
    bare: dict[tuple[int, int], int] = field(default_factory=dict)  # attempt, task: since when it runs there, and shows no mark
    early: set[tuple[int, int]] = field(default_factory=set)  # whose marks were seen before anybody said that they run

    def seen(self, attempt: int, at: int) -> None:
        self.last[attempt] = at
        self.missing.pop(attempt, None)

    def missing_for(self, attempt: int, at: int) -> int:
        """How long it has been missing now; the first time it is said to be: 0."""
        return at - self.missing.setdefault(attempt, at)

    def outlived(self, listed: Collection[int], at: int, patience: int) -> set[int]:
        """Listed attempts of which something said that long ago that it ended."""
        return {i for i, since in self.done.items() if i in listed and at - since >= patience}

    def unmarked(self, listed: Mapping[int, Listed], marked: set[tuple[int, int]], at: int, patience: int) -> set[int]:
        """Attempts of which a task is said to run, so long already that its prologue must have done something, if it began."""
        running = {(i, t) for i, job in listed.items() for t in job.running}
        for key in self.bare.keys() - running:
            del self.bare[key]
        for key in running:
            self.bare.setdefault(key, NEVER if key in self.early else at)
        self.early -= running
        self.heard(marked)
        return {key[0] for key, since in self.bare.items() if at - since >= patience}

    def heard(self, marked: Iterable[tuple[int, int]]) -> None:
        """Tasks whose mark was seen."""
        for key in marked:
            if key in self.bare:
                self.bare[key] = NEVER
            else:
                self.early.add(key)

    def starting(self, at: int, patience: int) -> bool:
        """Whether a task is said to run, not for long yet, and has shown no mark."""
        return any(at - since < patience for since in self.bare.values() if since != NEVER)

    def prune(self, live: set[int]) -> None:
        for table in (self.last, self.missing, self.done):
            for attempt in table.keys() - live:
                del table[attempt]
        self.early = {key for key in self.early if key[0] in live}


def ends(a: Attempt, sightings: Sightings, now: int) -> list[Ended]:
    """An end for each execution of an attempt that no node can still run: of its node, for that is where it was lost.

    It is billed provisionally to its last sign of life: its listing, or its own mark where it was never listed. What left no mark
    has not begun, for the mark comes first, and stays until it was seen.
    """
    found = []
    for e in a.executions:
        if e.ended or e.gave_up or e.app_exit is not None:
            continue
        if not (e.marked or e.permitted):
            found.append(Ended(e.task, e.restart, e.native_id, Reason.NODE_FAIL, None, None, now, Witness.PROVISIONAL))
            continue
        life = max(t for t in (sightings.last.get(a.id), e.started_at, 0) if t is not None)
        end = min(life, now) if life else now
        found.append(
            Ended(e.task, e.restart, e.native_id, Reason.NODE_FAIL, None, e.started_at, end, Witness.PROVISIONAL)
        )
    return found


def to_give_back(a: Attempt, running: Collection[int]) -> list[GivenBack]:
    """Executions that said that they ended, and that their cluster shows as running; not where it runs the task again."""
    return [
        GivenBack(e.task, e.restart)
        for e in a.last().values()
        if e.app_exit is not None and not e.ended and e.task in running
    ]


def never_began(a: Attempt, running: Collection[int]) -> tuple[int, ...]:
    """Tasks that their cluster says run, and of which no prologue was ever heard."""
    heard = {e.task for e in a.executions if e.marked or e.nonce or e.ended or e.gave_up or e.app_exit is not None}
    return tuple(sorted(set(running) - heard))

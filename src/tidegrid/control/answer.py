"""A cluster's answer as it is read: what its controller lists and has on record, and what its spool says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tidegrid.connectors.contract import Listed, Observation, SpoolEntry
from tidegrid.control.contact import attempt_of
from tidegrid.domain.attempt import AppExited, Attempt, Ended, Evidence, GaveUp, Marked, Permitted, State, unsettled
from tidegrid.domain.ranges import expand
from tidegrid.store import attempts


@dataclass(frozen=True)
class Answer:
    """What one tick was told. spool: without the marks that were permitted; evidence: by attempt."""

    seen: Observation
    spool: Sequence[SpoolEntry]
    evidence: Mapping[int, list[Evidence]]
    began: int  # when it was asked for, µs
    loads_at: int  # when its loads were, µs

    @cached_property
    def listed(self) -> dict[int, Listed]:
        """Ours, by attempt."""
        return {i: j for j in self.seen.jobs if (i := attempt_of(j.name)) is not None}

    def differs(self, row: attempts.Row) -> bool:
        """Whether the listing says anything of a live attempt that its row does not say already."""
        job, state = self.listed.get(row["id"]), row["state"]
        if job is None:
            return not self.seen.more and state != State.SUBMITTING
        if row["native_id"] != job.native_id or row["absent"] or row["cancel_wanted"]:
            return True
        if state not in (State.QUEUED, State.RUNNING) or (job.running and state != State.RUNNING):
            return True
        known = row["tasks"]
        return known != "0" and bool({*job.waiting, *job.running} - set(expand(known)))


def ended_unheard(a: Attempt, evs: Iterable[Evidence]) -> tuple[int, ...]:
    """Tasks that their site says have ended, not because we asked, and that nothing said began: no prologue's file either."""
    began = {e.task for e in evs if isinstance(e, (Marked, GaveUp, AppExited, Permitted))}
    return tuple(sorted({e.task for e in evs if isinstance(e, Ended) and unsettled(a, e)} - began))

"""A run whose prologue left before the application is no failure of the job: its tasks are placed again, and it is free."""

from __future__ import annotations

from typing import Any

import pytest

from tidegrid.domain.attempt import (
    PROLOGUE_BOUND_US,
    PROLOGUE_REFUSED,
    AppExited,
    Attempt,
    Ended,
    Marked,
    Reason,
    State,
    Unsure,
    Witness,
    step,
)
from tidegrid.domain.job import part_done


def _after(*evidence: Any) -> Attempt:
    a = Attempt(1)
    for ev in evidence:
        a = step(a, ev).attempt
    return a


def _ended(exit_code: int = PROLOGUE_REFUSED, ms: int = 20, reason: Reason = Reason.FAILED) -> Ended:
    return Ended(0, 0, "7", reason, exit_code, 1_000_000, 1_000_000 + ms * 1000)


def test_refused_by_a_tombstone_that_the_server_did_not_live_to_commit() -> None:
    # The submission was late; a server won the fence and was killed before it could say so; the job came, and left.
    a = _after(Unsure("no answer yet"), _ended())
    assert a.state is State.ENDED and a.reason is Reason.REFUSED and not a.may_have_started
    assert not part_done(Reason.REFUSED, started=False, restartable=False, refusals=1, max_refusals=4)


@pytest.mark.parametrize(
    "evidence",
    [
        (Marked(0, 0, "n", "7", 1), _ended()),  # its mark was seen: the application may have started, and 75 is its own
        (Marked(0, 0, "n", "7", 1), AppExited(0, 0, 75), _ended()),
        (_ended(exit_code=1),),
        (_ended(ms=PROLOGUE_BOUND_US // 1000 + 1),),
        (_ended(reason=Reason.TIMEOUT),),
    ],
)
def test_everything_else_is_the_jobs_own_end(evidence: tuple[Any, ...]) -> None:
    a = _after(*evidence)
    assert a.state is State.ENDED and a.reason in (Reason.FAILED, Reason.TIMEOUT) and a.may_have_started


def test_told_again_it_is_nothing_new() -> None:
    a = Attempt(1, tasks="0-1")
    a = step(a, _ended()).attempt
    assert a.live and step(a, _ended()).anomalies == ()


def test_a_mark_that_is_listed_after_the_end_changes_no_time() -> None:
    """The job can write there what it likes: the times of a run that the cluster saw end are the cluster's."""
    start, end = 77_000_000, 230_000_000
    ended = Ended(0, 0, "11", Reason.OK, 0, start, end, Witness.ACCOUNTING)
    a = Attempt(1, tasks="0-1")
    for ev in (ended, Marked(0, 0, "n1", "11", 1_000_000), Marked(0, 0, "n1", "11", 999_000_000)):
        a = step(a, ev).attempt
        e = a.execution(0)
        assert e is not None and (e.started_at, e.ended_at) == (start, end)

"""A controller that was killed forgets what it acknowledged and started in its last seconds, and gives the ids out again.

Each case was seen on a real Slurm 22.05 whose slurmctld got SIGKILL (`make chaos-slurm`).
"""

from __future__ import annotations

from typing import Any

from tidegrid.domain.attempt import (
    AppExited,
    Attempt,
    DeclaredDead,
    Ended,
    GaveUp,
    GivenBack,
    Marked,
    Permitted,
    Reason,
    Started,
    State,
    Withdrawn,
    Witness,
    step,
)
from tidegrid.domain.job import part_done

SECOND = 1_000_000


def after(*evidence: Any, **attempt: Any) -> Attempt:
    a = Attempt(1, **attempt)
    for ev in evidence:
        a = step(a, ev).attempt
    return a


def ended(reason: Reason, start_s: int, end_s: int, code: int | None = None, restart: int = 0) -> Ended:
    return Ended(0, restart, "7", reason, code, start_s * SECOND, end_s * SECOND)


def mark(at_s: float) -> Marked:
    return Marked(0, 0, "nonce", "7", int(at_s * SECOND))


def test_nodes_that_remember_the_id_launch_nothing_and_the_job_goes_elsewhere() -> None:
    # sacct: CANCELLED by 0, started and ended in the same second; slurmctld: "Duplicate jobid on nodes alpha1"
    a = after(ended(Reason.CANCELLED, 62, 62))
    assert (a.state, a.reason) == (State.ENDED, Reason.REFUSED)
    assert not a.may_have_started
    assert not part_done(a.reason, started=False, restartable=False, refusals=1, max_refusals=4)


def test_a_cancelled_job_that_ran_stays_cancelled() -> None:
    assert after(mark(61.1), ended(Reason.CANCELLED, 61, 62)).reason is Reason.CANCELLED
    assert after(ended(Reason.CANCELLED, 40, 62)).reason is Reason.CANCELLED


def test_a_relaunch_of_what_had_succeeded_does_not_undo_it() -> None:
    a = after(mark(52.4), AppExited(0, 0, 0), ended(Reason.CANCELLED, 62, 62))
    assert (a.state, a.reason) == (State.ENDED, Reason.OK)
    e = a.executions[0]
    assert (e.exit_code, e.started_at, e.ended_at) == (0, 62 * SECOND, 62 * SECOND)  # the bill is the witness's


def test_a_relaunch_that_the_fence_refused_is_not_the_jobs_own_failure() -> None:
    first = (mark(52.4), Started(0, 0, "7", 52 * SECOND, Witness.CONTROLLER))
    assert after(*first, ended(Reason.FAILED, 62, 62, 75)).reason is Reason.NODE_FAIL
    assert after(*first, AppExited(0, 0, 3), ended(Reason.FAILED, 62, 62, 75)).executions[0].exit_code == 3


def test_a_job_that_ended_before_its_node_was_lost_has_ended_by_itself() -> None:
    # the controller forgot its end, found it missing from its node, and called that a failure of the node
    a = after(mark(52.4), AppExited(0, 0, 0), ended(Reason.NODE_FAIL, 52, 70))
    assert (a.reason, a.executions[0].ended_at) == (Reason.OK, 70 * SECOND)
    assert after(mark(52.4), ended(Reason.NODE_FAIL, 52, 70)).reason is Reason.NODE_FAIL


def test_a_mark_shortly_after_the_start_is_of_the_same_launch() -> None:
    a = after(mark(60.2), Permitted(0, 0), ended(Reason.FAILED, 60, 75, 75))
    assert (a.reason, a.executions[0].exit_code) == (Reason.FAILED, 75)


def test_the_order_of_mark_and_second_start_does_not_matter() -> None:
    second = Started(0, 0, "7", 62 * SECOND, Witness.CONTROLLER)
    for evidence in ((mark(52.4), second), (second, mark(52.4))):
        a = after(*evidence, AppExited(0, 0, 0), ended(Reason.CANCELLED, 62, 62))
        assert a.reason is Reason.OK, evidence


def test_a_licensed_second_launch_of_a_controller_that_forgot_the_first_is_the_one_it_tells_of() -> None:
    """squeue and the log of ends know one launch of the id, with no restart: the first run was cut short and is in no record."""
    marks = (mark(52.4), Permitted(0, 0), Marked(0, 1, "other", "7", int(61.3 * SECOND)), Permitted(0, 1), AppExited(0, 1, 0))
    told = (Started(0, 0, "7", 60 * SECOND, Witness.CONTROLLER), ended(Reason.OK, 60, 68, 0))
    a = after(*marks, *told, restartable=True)
    first, second = sorted(a.executions, key=lambda e: e.restart)
    assert (a.state, a.reason) == (State.ENDED, Reason.OK)
    assert (second.started_at, second.ended_at, second.reason) == (60 * SECOND, 68 * SECOND, Reason.OK)
    assert first.ended_at == first.started_at and (first.reason, first.source) == (Reason.NODE_FAIL, Witness.PROVISIONAL)
    # a record of the first launch stays that of the first
    a = after(*marks, ended(Reason.NODE_FAIL, 52, 60), restartable=True)
    assert a.execution(0, 0).ended_at == 60 * SECOND and not a.execution(0, 1).ended and a.state is State.RUNNING


def test_an_application_that_its_dying_node_stopped_did_not_end_by_itself() -> None:
    """A node that is taken down sends SIGTERM first: the mark says 143, and the job goes on elsewhere."""
    a = after(mark(52.4), AppExited(0, 0, 143), ended(Reason.NODE_FAIL, 52, 60), restartable=True)
    assert (a.state, a.reason) == (State.ENDED, Reason.NODE_FAIL)
    assert not part_done(a.reason, started=True, restartable=True, refusals=0, max_refusals=4)
    assert after(mark(52.4), AppExited(0, 0, 3), ended(Reason.NODE_FAIL, 52, 60)).reason is Reason.FAILED


def test_an_allocation_that_outlived_its_application_is_given_back_and_the_job_has_succeeded() -> None:
    done = (mark(61.1), AppExited(0, 0, 0))
    for reason in (Reason.CANCELLED, Reason.TIMEOUT):
        a = after(*done, GivenBack(0, 0), ended(reason, 61, 90))
        assert (a.reason, a.executions[0].exit_code) == (Reason.OK, 0)
        assert after(*done, ended(reason, 61, 90)).reason is reason, "an application may end well when it is told to end"
    assert after(mark(61.1), GivenBack(0, 0), ended(Reason.CANCELLED, 61, 90)).reason is Reason.CANCELLED
    assert after(*done, GivenBack(0, 0), ended(Reason.OOM, 61, 90)).reason is Reason.OOM


def test_what_had_shown_itself_began_whatever_its_controller_remembers() -> None:
    """Accounting has an end without a start: of what left no mark, it is true."""
    def end(reason: Reason) -> Ended:
        return Ended(0, 0, "7", reason, 0, None, 70 * SECOND, Witness.ACCOUNTING)

    assert after(end(Reason.NODE_FAIL)).reason is Reason.REFUSED
    a = after(mark(61.5), Permitted(0, 0), end(Reason.FAILED), movable=True)
    e = a.executions[0]
    assert (a.reason, e.started_at, e.ended_at, e.source) == (
        Reason.NODE_FAIL, int(61.5 * SECOND), 70 * SECOND, Witness.PROVISIONAL,
    )  # fmt: skip
    assert after(mark(61.5), end(Reason.FAILED)).reason is Reason.NODE_FAIL, "it waits for no permit"
    assert after(mark(61.5), AppExited(0, 0, 0), end(Reason.NODE_FAIL)).reason is Reason.OK, "its own word"
    assert after(mark(61.5), end(Reason.CANCELLED)).reason is Reason.CANCELLED
    gave_up = after(mark(61.5), GaveUp(0, 0, "n"), end(Reason.FAILED), movable=True)
    assert gave_up.reason is Reason.REFUSED and gave_up.executions[0].started_at is None


def test_what_gave_up_is_over_with_the_attempt_that_is_withdrawn() -> None:
    a = after(GaveUp(0, 0, "n"), Withdrawn("silent"), movable=True)
    assert [e.reason for e in a.executions] == [a.reason] == [Reason.WITHDRAWN]


def test_what_waited_for_its_permit_on_a_dead_cluster_never_ran() -> None:
    began = Started(0, 0, "7", 60 * SECOND, Witness.CONTROLLER)
    dead = DeclaredDead(61 * SECOND, "declared dead")
    assert after(began, dead, movable=True).reason is Reason.WITHDRAWN
    assert after(began, mark(60.5), dead, movable=True).reason is Reason.LOST, "a permit may have been given, and not recorded"
    assert after(began, dead).reason is Reason.LOST
    assert after(dead, movable=True).reason is Reason.WITHDRAWN
    assert after(dead).reason is Reason.LOST, "it may have begun since its cluster was heard last"
    assert after(began, dead, movable=True, restartable=True).reason is Reason.LOST, "it may start on the site's lease"

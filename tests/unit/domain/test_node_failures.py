"""A node that fails under a job: what the job still said of itself does not hide it."""

from __future__ import annotations

import pytest

from tidegrid.domain.attempt import (
    AppExited,
    Attempt,
    Ended,
    Marked,
    Permitted,
    Reason,
    Seen,
    State,
    Witness,
    step,
)

T = 1_800_000_000_000_000


def ended(app_exit: int | None) -> Attempt:
    a = Attempt(1, state=State.QUEUED, native_id="7", movable=True)
    told = [Seen("7", (0,)), Marked(0, 0, "n", "7", T), Permitted(0, 0)]
    if app_exit is not None:
        told.append(AppExited(0, 0, app_exit))
    for piece in [*told, Ended(0, 0, "7", Reason.NODE_FAIL, None, T, T + 60_000_000, Witness.CONTROLLER)]:
        a = step(a, piece).attempt
    return a


@pytest.mark.parametrize("code", [None, 143, 137, 129])
def test_what_the_failing_node_killed_is_a_node_failure(code: int | None) -> None:
    assert ended(code).reason is Reason.NODE_FAIL


@pytest.mark.parametrize(("code", "reason"), [(0, Reason.OK), (3, Reason.FAILED)])
def test_what_had_ended_by_itself_before_keeps_its_own_word(code: int, reason: Reason) -> None:
    assert ended(code).reason is reason

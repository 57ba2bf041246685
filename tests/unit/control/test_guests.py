"""A site's own jobs as they waited and ran, from stored rows."""

from __future__ import annotations

from typing import Any

from tidegrid.control.guests import own

S = 1_000_000


def row(attempt: int, task: int | None, came: int, start: int | None = None, end: int | None = None, **more: Any) -> dict[str, Any]:
    return {"id": attempt, "job_id": 7, "done": False, "tasks": "0-2", "created_at": came * S, "cores": 2, "memory_mib": 64, "gpus": 0, "wall_s": 60, "open": True,
            "task": task, "started_at": None if start is None else start * S, "ended_at": None if end is None else end * S, **more}  # fmt: skip


def test_tasks_of_a_partly_started_array_that_wait_count_too() -> None:
    found = own([row(1, 0, 10, 12, 30), row(1, 2, 10, 20)])
    told = sorted(zip(found.submit.tolist(), found.start.tolist(), found.end.tolist(), strict=True))
    assert told == [(10, -1, -1), (10, 12, 30), (10, 20, -1)]
    assert found.need.tolist() == [[2, 64, 0]] * 3 and found.estimate.tolist() == [60] * 3


def test_a_job_that_was_moved_and_started_again_waited_from_its_first_attempt_to_its_first_start() -> None:
    rows = [row(3, 0, 50, 60, None, tasks="0"), row(2, 0, 20, 30, 40, tasks="0"), row(1, None, 10, tasks="0")]
    found = own(rows)
    assert (found.submit.tolist(), found.start.tolist(), found.end.tolist()) == ([10], [30], [-1]), "it runs again"


def test_what_was_given_back_is_one_task_still_and_what_its_part_settled_none() -> None:
    """Two of four were given back unstarted, in a part of their own; and one that was cancelled while others go on."""
    rows = [row(2, 2, 20, 25, tasks="2-3"), row(2, 3, 20, 26, tasks="2-3"), row(1, 0, 10, 11, 30, tasks="0-3", done=True), row(1, 1, 10, 11, 30, tasks="0-3", done=True)]
    found = own(rows)
    assert sorted(zip(found.submit.tolist(), found.start.tolist(), strict=True)) == [(10, 11), (10, 11), (10, 25), (10, 26)]
    assert own([row(1, 0, 10, 11, 30, tasks="0-1", done=True)]).start.tolist() == [11]


def test_only_so_many_tasks_count() -> None:
    assert len(own([row(k, None, 10, tasks="0-9", job_id=k) for k in range(9, 0, -1)], most=25).submit) == 30, "whole attempts"


def test_what_was_never_begun_counts_only_while_it_may_be() -> None:
    assert own([row(1, None, 10, tasks="0", open=False)]).submit.tolist() == []
    assert own([]).need.shape == (0, 3)

"""A site's own jobs as they waited and ran, from stored rows."""

from __future__ import annotations

from typing import Any

from tidegrid.control.guests import own

S = 1_000_000


def row(attempt: int, task: int | None, came: int, start: int | None = None, end: int | None = None, **more: Any) -> dict[str, Any]:
    return {"id": attempt, "part_id": 7, "tasks": "0-2", "created_at": came * S, "cores": 2, "memory_mib": 64, "gpus": 0, "wall_s": 60, "open": True,
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


def test_what_was_never_begun_counts_only_while_it_may_be() -> None:
    assert own([row(1, None, 10, tasks="0", open=False)]).submit.tolist() == []
    assert own([]).need.shape == (0, 3)

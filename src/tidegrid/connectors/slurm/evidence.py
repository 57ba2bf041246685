"""From the rows of squeue and sacct to what the contract speaks of. Pure: the same rows and cursor give the same answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidegrid.connectors.contract import Listed, Record
from tidegrid.connectors.slurm.commands import AccountRow, QueueRow
from tidegrid.connectors.slurm.cursor import Cursor
from tidegrid.connectors.slurm.refusals import stuck
from tidegrid.domain.attempt import Ended, Reason, Started, Witness

SECOND = 1_000_000

ENDS: dict[str, Reason] = {
    "COMPLETED": Reason.OK,
    "FAILED": Reason.FAILED,
    "TIMEOUT": Reason.TIMEOUT,
    "OUT_OF_MEMORY": Reason.OOM,
    "NODE_FAIL": Reason.NODE_FAIL,
    "BOOT_FAIL": Reason.NODE_FAIL,
    "LAUNCH_FAILED": Reason.NODE_FAIL,
    "RECONFIG_FAIL": Reason.NODE_FAIL,
    "PREEMPTED": Reason.PREEMPTED,
    "REQUEUED": Reason.PREEMPTED,  # in accounting only: an end that the site made, and will start again
    "CANCELLED": Reason.CANCELLED,
    "DEADLINE": Reason.CANCELLED,
    "REVOKED": Reason.CANCELLED,
}
WAITING = frozenset(
    ["PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "POWER_UP_NODE"]
)
STOPPED_S = 5  # how much later than `KillWait` says a node may have stopped a job
WITH_CODE = frozenset({Reason.OK, Reason.FAILED})


@dataclass
class _Job:
    native_id: int
    waiting: set[int] = field(default_factory=set)
    running: set[int] = field(default_factory=set)
    again: set[tuple[int, int]] = field(default_factory=set)
    stuck: str = ""
    says: str = ""


def interpret(
    queue: Sequence[QueueRow],
    accounted: Sequence[AccountRow] | None,
    cursor: Cursor,
    now_s: int,
    *,
    grace_s: int = 30,
    kept_s: int = 300,
    kill_wait_s: int = 30,
) -> tuple[tuple[Listed, ...], tuple[Record, ...]]:
    """Jobs and records of one answer; the cursor is changed to match.

    accounted: None where there is no accounting, or no answer of it: then the controller is the witness of ends. With
    accounting it is so only for ends that accounting has not told within `grace_s` seconds. kept_s: for how long the controller
    shows what ended. kill_wait_s: how long what was told to stop goes on where its end is accounted already.
    """
    records: list[Record] = []
    before = set(cursor.started)
    live = {(r.base, t): (r.name, r.submitted or 0) for r in queue if r.state not in ENDS for t in r.tasks or ()}
    statuses = {(r.base, t, r.end): r.status for r in queue if r.state in ENDS and r.end for t in r.tasks or ()}
    stopping = _stopping(queue, accounted or (), now_s - kill_wait_s - STOPPED_S)
    if stopping:  # read again until told
        cursor.upto = min(cursor.upto, *(end for _, end in stopping))
    _from_accounting(accounted or (), stopping, cursor, before, live, statuses, records)
    jobs: dict[str, _Job] = {}
    now_running = set()
    for row in queue:
        tasks = row.tasks or ()  # a cancelled rest of an array has none: see `_vanished`
        job = jobs.setdefault(row.name, _Job(row.base))
        if job.native_id != row.base and row.state in ENDS:
            job = _Job(row.base)  # an older submission of the same name: its ends count, the listing is the live one's
        elif job.native_id != row.base:
            job = jobs[row.name] = _Job(row.base)
        for task in tasks:
            key = (row.base, task)
            if row.state in WAITING:
                job.waiting.add(task)
                if not job.stuck and (code := stuck(row.reason)):
                    job.stuck, job.says = code, row.reason
            elif row.state not in ENDS:
                if row.state == "COMPLETING" and row.end and _told(cursor, key, row.end):
                    continue
                job.running.add(task)
                now_running.add(key)
                if row.restarts:
                    job.again.add((task, row.restarts))
                if key not in before and row.start:
                    at = row.start * SECOND
                    records.append(Record(row.name, Started(task, row.restarts, str(row.base), at, Witness.CONTROLLER)))
            elif row.end is None or _told(cursor, key, row.end):
                continue
            elif accounted is not None and now_s - row.end < grace_s:
                (job.running if row.allocated else job.waiting).add(task)
                if key in before:
                    now_running.add(key)
            else:
                _by_controller(row, task, key in before, records)
                cursor.controlled.add(key, row.end)
    for row, missing, end in _vanished(queue, cursor, now_s, kept_s):
        if accounted is not None and row.tasks is None and now_s - end < grace_s:
            jobs.setdefault(row.name, _Job(row.base)).waiting |= missing
            continue
        for task in sorted(missing):
            cursor.controlled.add((row.base, task), end)
            event = Ended(
                task, 0, str(row.base), Reason.CANCELLED, None, None, end * SECOND, Witness.CONTROLLER
            )
            records.append(Record(row.name, event))
    cursor.started = now_running
    cursor.prune({r.base for r in queue})
    listed = tuple(
        Listed(name, str(j.native_id), tuple(sorted(j.waiting)), tuple(sorted(j.running)), j.stuck, j.says, tuple(sorted(j.again)))
        for name, j in jobs.items()
        if j.waiting or j.running
    )
    return listed, tuple(records)


def _told(cursor: Cursor, key: tuple[int, int], second: int) -> bool:
    return cursor.accounted.has(key, second) or cursor.controlled.has(key, second)


def _stopping(queue: Sequence[QueueRow], rows: Sequence[AccountRow], since: int) -> set[tuple[tuple[int, int], int]]:
    """(task, second of its end) of what accounting says was stopped, and what may still run: accounting has the end as soon as the
    job is told to stop, and its processes have `KillWait` to do so. What ended by itself is over."""
    listed = {
        (r.base, t): r.start or 0 for r in queue if r.state not in ENDS and r.state not in WAITING for t in r.tasks or ()
    }
    return {
        ((row.base, task), row.end)
        for row in rows
        if row.end > since and ENDS.get(row.state, Reason.FAILED) not in WITH_CODE
        for task in row.tasks
        if listed.get((row.base, task), row.end + 1) <= row.end
    }


def _from_accounting(
    rows: Sequence[AccountRow],
    stopping: set[tuple[tuple[int, int], int]],
    cursor: Cursor,
    before: set[tuple[int, int]],
    live: dict[tuple[int, int], tuple[str, int]],
    statuses: dict[tuple[int, int, int], int],
    records: list[Record],
) -> None:
    """stopping: what is not told yet; live: what is listed and has not ended, with its name and the second of its submission; statuses: raw wait statuses that the controller shows, by array's id, task and second of the end."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i].end, i))
    last = {(rows[i].base, t): i for i in order for t in rows[i].tasks}
    for i in order:
        row = rows[i]
        for task in row.tasks:
            key = (row.base, task)
            start = row.start if row.allocated else None
            if (key, row.end) in stopping:
                continue
            if cursor.accounted.has(key, row.end) and not _moved_its_start(cursor, key, row.end, start):
                continue
            cursor.accounted.add(key, row.end, start or 0)
            restart = cursor.again.get(key, 0)
            # a requeue is a new submission; the same one, listed as alive, is what a killed controller remembers of it
            name, submitted = live.get(key, ("", 0))  # another name: the id was given out again
            requeued = name == row.name and submitted > (row.submitted or 0)
            if row.state == "REQUEUED" or (last[key] != i and rows[last[key]].name == row.name) or requeued:
                cursor.again[key] = restart + 1
            started_at = None if start is None else start * SECOND
            if (
                started_at is not None
                and not (restart == 0 and key in before)
                and not _was_controlled(cursor, key, row)
            ):
                records.append(Record(row.name, Started(task, restart, str(row.base), started_at)))
            reason = ENDS.get(row.state, Reason.FAILED)
            code: int | None = None
            if reason in WITH_CODE:  # sacct takes 128 off the exit statuses from there on: 137 and 9 look alike
                status = statuses.get((*key, row.end))
                code = _code(status) if status is not None else 128 + row.signal if row.signal else row.code
            records.append(
                Record(
                    row.name,
                    Ended(
                        task, restart, str(row.base), reason, code, started_at, row.end * SECOND, Witness.ACCOUNTING,
                        row.peak_mib,
                    ),
                )
            )  # fmt: skip


def _moved_its_start(cursor: Cursor, key: tuple[int, int], end: int, start: int | None) -> bool:
    """Whether an end that was told has another start now: of a launch that a killed controller forgot, accounting keeps the start
    until it hears of a later one. Not where the site starts things again: which of the starts it is cannot be told then."""
    was = cursor.accounted.start(key, end)
    return bool(was and start and start != was and not cursor.again.get(key))


def _was_controlled(cursor: Cursor, key: tuple[int, int], row: AccountRow) -> bool:
    return cursor.controlled.has(key, row.end)


def _code(status: int) -> int:
    """Exit status as a shell tells it, of a raw wait status."""
    killed = status & 127
    return 128 + killed if killed else status >> 8 & 255


def _by_controller(row: QueueRow, task: int, start_told: bool, records: list[Record]) -> None:
    assert row.end is not None
    reason = ENDS[row.state]
    started_at = row.start * SECOND if row.allocated and row.start else None
    code: int | None = None
    if reason in WITH_CODE:
        code = _code(row.status)
    if started_at is not None and not start_told:
        records.append(Record(row.name, Started(task, row.restarts, str(row.base), started_at, Witness.CONTROLLER)))
    records.append(
        Record(
            row.name,
            Ended(task, row.restarts, str(row.base), reason, code, started_at, row.end * SECOND, Witness.CONTROLLER),
        )
    )


def _vanished(queue: Sequence[QueueRow], cursor: Cursor, now_s: int, kept_s: int) -> list[tuple[QueueRow, set[int], int]]:
    """Tasks of arrays that were cancelled before they started: (a row of the array, tasks, second of the end).

    Slurm keeps no record of a waiting task that is cancelled alone, and shows a cancelled rest of an array without saying which
    tasks it is. They are those that were asked for, are in no row now, and were told to have ended by nobody.
    """
    found = []
    shown: dict[int, set[int]] = {}
    arrays: dict[int, QueueRow] = {}
    for row in queue:
        shown.setdefault(row.base, set()).update(row.tasks or ())
        if row.asked is not None and (row.tasks is None or row.base not in arrays):
            arrays[row.base] = row
    for base, row in arrays.items():
        if not cursor.upto and now_s - (row.submitted or 0) >= kept_s:
            continue  # nothing is remembered, and Slurm may have forgotten ends too
        missing = set(row.asked or ()) - shown[base] - cursor.accounted.tasks(base) - cursor.controlled.tasks(base)
        if missing:
            found.append((row, missing, row.end if row.tasks is None and row.end else now_s))
    return found

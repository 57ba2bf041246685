"""What the protocol must not believe, must not lose, and must not do twice: one tick at a time against the real store."""

from __future__ import annotations

import pytest
from tests.parts.protocol import Bench

from tidegrid.domain.attempt import Reason, State
from tidegrid.domain.clock import HOUR, SECOND
from tidegrid.store import events
from tidegrid.store.engine import Store
from tidegrid.store.scope import Scope


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("mark", f"nonce 1 {10**30}"),
        ("mark", "nonce 1 -5"),
        ("mark", "non\0ce 1 5"),
        ("mark", f"{'n' * 4000} 1 5"),
        ("mark", ""),
        ("mark", "nonce 1 9e9"),
        ("gaveup", "\0"),
        ("end", f"{10**30} 5"),
        ("end", "-99999999999999999999 5"),
    ],
)
def test_what_a_job_writes_into_the_spool_cannot_stop_the_cluster(bench: Bench, kind: str, body: str) -> None:
    """Any file there may be a job's own: what no prologue writes is nobody's evidence, and the others go on."""
    bench.submit()
    bench.submit()
    one, two = bench.place()
    north = bench.sites["north"]
    began = bench.clock.at
    north.lists(one, running=(0,))
    north.starts(two, began)
    bench.tick()
    if kind != "mark":
        north.marks(one)
        bench.tick()
    north.marks(one, kind=kind, body=body)
    north.ends(two, began, began + 5 * SECOND)
    bench.tick()
    assert bench.attempt(two).attempt.reason is Reason.OK
    assert bench.attempt(one).attempt.live


def test_a_run_that_says_it_gave_up_is_billed(bench: Bench) -> None:
    """A job that renames its own mark has not been refused: only who waited for a permit can give up."""
    job = bench.submit(movable=False)
    (id_,) = bench.place()
    north = bench.sites["north"]
    began = bench.clock.at
    north.starts(id_, began)
    north.marks(id_, kind="gaveup", body="nonce0 1 5\n")
    bench.tick()
    north.ends(id_, began, began + 1800 * SECOND)
    bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.OK
    assert bench.usage(job) and sum(ms for _, ms in bench.usage(job)) == 1_800_000
    bench.books()


def test_a_movable_run_that_says_it_gave_up_is_free_for_as_long_as_it_may_have_waited_only(bench: Bench) -> None:
    """The server may have died between the permit and its record: then the file alone must not make hours free."""
    jobs = [bench.submit(movable=True) for _ in range(2)]
    waited, forged = bench.place()
    north = bench.sites["north"]
    began = bench.clock.at
    for id_ in (waited, forged):
        north.starts(id_, began)
        north.marks(id_, kind="gaveup")
    bench.tick()
    north.ends(waited, began, began + 121 * SECOND, Reason.FAILED, 75)
    north.ends(forged, began, began + 7200 * SECOND)
    bench.tick()
    assert bench.attempt(waited).attempt.reason is Reason.REFUSED
    assert bench.usage(jobs[0]) == []
    assert sum(ms for _, ms in bench.usage(jobs[1])) == 7_200_000
    assert bench.job(jobs[0])["state"] == "pending"  # placed again
    bench.books()


def test_an_end_told_after_the_hour_closed_takes_the_rest_of_the_hour_back(bench: Bench) -> None:
    """A controller may list a job as running a moment after it ended: what its accounting says then is what counts."""
    job = bench.submit()
    (id_,) = bench.place()
    north = bench.sites["north"]
    bench.clock.at = bench.clock.at // HOUR * HOUR + 50 * 60 * SECOND
    began = bench.clock.at
    north.starts(id_, began)
    north.marks(id_)
    bench.tick()
    bench.tick(seconds=75 * 60)  # two boundaries have passed
    assert [s for s, _ in bench.usage(job)] == [0, 1]
    north.ends(id_, began, began + 20 * 60 * SECOND)
    bench.tick()
    assert bench.usage(job) == [(0, 600_000), (1, 600_000)]
    bench.books()


@pytest.mark.parametrize("how", ["doubt", "gone"])
def test_what_was_cancelled_before_it_started_is_cancelled(bench: Bench, how: str) -> None:
    job = bench.submit(movable=True)
    (id_,) = bench.place(state="SUBMITTING" if how == "doubt" else "QUEUED")
    bench.ctx.sending.clear()  # nobody knows what became of its submission
    bench.wish(job, cancel_wanted=True)
    for _ in range(5):
        bench.tick()
    assert bench.attempt(id_).attempt.state is State.ENDED
    assert bench.job(job)["state"] == "cancelled"
    bench.books()


def test_a_job_that_said_it_ended_is_billed_again_when_its_witness_turns_up(bench: Bench) -> None:
    """Accounting may lag behind the queue: what was billed provisionally is corrected, whatever the end was called."""
    job = bench.submit()
    (id_,) = bench.place()
    north = bench.sites["north"]
    began = bench.clock.at
    north.starts(id_, began)
    north.marks(id_)
    bench.tick()
    north.marks(id_, kind="end", body="0 5\n")
    north.jobs.clear()
    for _ in range(3):
        bench.tick(seconds=100)
    assert bench.attempt(id_).attempt.reason is Reason.OK
    assert sum(ms for _, ms in bench.usage(job)) > 60_000
    north.ends(id_, began, began + 30 * SECOND)
    bench.tick()
    assert sum(ms for _, ms in bench.usage(job)) == 30_000
    bench.books()


def test_one_directory_that_cannot_be_used_stops_neither_doubts_nor_lease(bench: Bench) -> None:
    bench.submit()
    bench.submit()
    one, two = bench.place()
    north = bench.sites["north"]
    north.files.broken.add(bench.attempt(one).row["directory"])
    for _ in range(4):
        bench.tick(seconds=30)
    assert bench.attempt(two).attempt.reason is Reason.WITHDRAWN
    assert "lease" in north.files.written


def test_a_submission_whose_answer_was_lost_here_is_put_in_doubt(bench: Bench) -> None:
    """No task of this process sends it any more (its answer could not be written): it must not be SUBMITTING for ever."""
    job = bench.submit()
    (id_,) = bench.place(state="SUBMITTING")
    bench.ctx.sending.discard(id_)
    for _ in range(4):
        bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.WITHDRAWN
    assert bench.job(job)["state"] == "pending"
    bench.books()


def test_a_submission_under_way_is_left_alone(bench: Bench) -> None:
    bench.submit()
    (id_,) = bench.place(state="SUBMITTING")
    for _ in range(4):
        bench.tick()
    assert bench.attempt(id_).attempt.state is State.SUBMITTING
    assert not bench.sites["north"].files.fences


def test_anomalies_are_events(bench: Bench) -> None:
    bench.submit(movable=False)
    (id_,) = bench.place()
    bench.sites["north"].starts(id_, bench.clock.at)
    bench.sites["north"].marks(id_, kind="gaveup", body="nonce0 1 5\n")
    bench.tick()
    found = bench.store.read_sync(lambda c: events.after(c, Scope(None), 0, kinds=["attempt.anomaly"]))
    assert len(found) == 1

"""What a cluster forgot or took back, and what becomes of it. On both databases."""

from __future__ import annotations

import time

import pytest
from tests.parts.protocol import Bench, settings

from tidegrid.domain.attempt import Reason, State
from tidegrid.domain.clock import SECOND
from tidegrid.store.engine import Store


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store, settings=settings(orphan=10.0, outlived=10.0))


def started(bench: Bench, **body: object) -> tuple[int, int]:
    """(job, attempt) of a job whose mark was listed and whose cluster shows it running."""
    job = bench.submit(**body)
    (id_,) = bench.place()
    site = bench.sites["north"]
    site.lists(id_, running=(0,))
    site.marks(id_)
    bench.tick()
    return job, id_


def test_forgotten_while_it_ran_it_ends_once_no_node_can_run_it(bench: Bench) -> None:
    job, id_ = started(bench)
    site, life = bench.sites["north"], bench.clock.at
    site.jobs.clear()
    for _ in range(20):
        bench.tick()
    assert bench.attempt(id_).attempt.state is State.IN_DOUBT, "a node may still run it"
    site.all_told = True
    bench.tick()
    ended = bench.attempt(id_).attempt
    assert (ended.state, ended.reason, bench.parts(job)[0]["done"]) == (State.ENDED, Reason.NODE_FAIL, True)
    billed_to = ended.executions[0].ended_at
    assert billed_to is not None and 0 <= life - billed_to < SECOND, "the last answer that showed it"
    bench.books()


def test_a_restartable_one_is_placed_anew(bench: Bench) -> None:
    job, id_ = started(bench, restartable=True)
    bench.sites["north"].jobs.clear()
    bench.sites["north"].all_told = True
    for _ in range(15):
        bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.NODE_FAIL
    assert bench.job(job)["state"] == "pending" and not bench.parts(job)[0]["placed"]
    bench.books()


def test_an_answer_that_is_short_of_it_for_a_moment_ends_nothing(bench: Bench) -> None:
    _, id_ = started(bench)
    site = bench.sites["north"]
    site.all_told = True
    for _ in range(4):
        site.jobs.clear()
        bench.tick(seconds=4)
        bench.tick(seconds=4)
        site.lists(id_, running=(0,))
        bench.tick()
    assert bench.attempt(id_).attempt.state is State.RUNNING


def test_a_mark_of_what_is_over_is_no_permit_where_its_cluster_forgot_the_job(bench: Bench) -> None:
    """Withdrawn while its cluster was silent; a controller that was killed does not list what waits on a node."""
    bench.submit(movable=True)
    (id_,) = bench.place()
    site = bench.sites["north"]
    site.silent = True
    bench.contacts["north"].failures = 10
    bench.contacts["north"].last_answer = -1e9
    bench.contacts["east"].answered, bench.contacts["east"].last_answer = True, time.monotonic()
    bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.WITHDRAWN
    site.silent, mark, said = False, site.marks(id_), f"{bench.attempt(id_).row['directory']}/over"
    bench.tick()
    assert mark in site.files.spooled
    site.files.full = True
    bench.tick()
    bench.tick()
    assert mark in site.files.spooled, "what could not be said there keeps its mark"
    site.files.full = False
    bench.tick()
    bench.tick()
    assert mark not in site.files.spooled and said in site.files.written


def test_another_start_waits_until_the_first_is_known_to_be_over(bench: Bench) -> None:
    """A controller that forgot the first start may start it again on another node, beside it."""
    _, told = started(bench, movable=True, restartable=True)
    site = bench.sites["north"]
    mark = site.marks(told, restart=1)
    for _ in range(3):
        bench.tick()
    assert mark in site.files.spooled
    site.lists(told, running=(0,), again=((0, 1),))  # a controller that knows of it
    bench.tick()
    assert mark not in site.files.spooled
    _, ended = started(bench, movable=True, restartable=True)
    site.marks(ended, body=f"1 {bench.clock.at}\n", kind="end")
    mark = site.marks(ended, restart=1)
    bench.tick()
    bench.tick()
    assert mark not in site.files.spooled, "by its own word"
    _, forgotten = started(bench, movable=True, restartable=True)
    mark = site.marks(forgotten, restart=1)
    for _ in range(20):
        bench.tick()
    assert mark in site.files.spooled, "a node may still run it"
    site.all_told = True
    bench.tick()
    assert mark not in site.files.spooled


def test_a_launch_that_comes_third_is_not_taken_for_the_first(bench: Bench) -> None:
    job, id_ = started(bench, movable=True, restartable=True)
    site, began = bench.sites["north"], bench.clock.at
    for n in (1, 2):
        bench.tick(seconds=10)
        site.marks(id_, restart=n - 1, body=f"0 {bench.clock.at}\n", kind="end")
        site.marks(id_, restart=n, body=f"nonce{n} 1 {bench.clock.at}\n")
        bench.tick()
        bench.tick()
    third = began + 20 * SECOND
    site.ends(id_, third // SECOND * SECOND, third // SECOND * SECOND + 7 * SECOND)
    bench.tick()
    a = bench.attempt(id_).attempt
    assert [e.restart for e in a.executions if e.reason is Reason.OK] == [2] and a.reason is Reason.OK
    assert sum(ms for _, ms in bench.usage(job)) == 7_000
    bench.books()


def test_an_allocation_that_outlives_its_application_is_given_back(bench: Bench) -> None:
    _, id_ = started(bench)
    site = bench.sites["north"]
    site.marks(id_, body=f"0 {bench.clock.at}\n", kind="end")
    for _ in range(9):
        bench.tick()
    assert site.cancelled == []
    for _ in range(3):
        bench.tick()
    assert len(site.cancelled) == 1
    site.ends(id_, bench.clock.at - 20 * SECOND, bench.clock.at, Reason.CANCELLED, 0)
    bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.OK
    bench.books()


def test_a_task_that_runs_again_is_not_given_back_for_what_its_first_run_said(bench: Bench) -> None:
    _, id_ = started(bench, movable=True, restartable=True)
    site = bench.sites["north"]
    site.marks(id_, body=f"0 {bench.clock.at}\n", kind="end")
    bench.tick()
    site.marks(id_, restart=1)
    for _ in range(15):
        bench.tick()
    assert site.cancelled == []


def test_a_server_that_starts_anew_finds_what_outlived(bench: Bench) -> None:
    _, id_ = started(bench)
    site = bench.sites["north"]
    site.marks(id_, body=f"0 {bench.clock.at}\n", kind="end")
    bench.tick()
    contact = bench.contacts["north"]
    contact.answered, contact.sightings = False, type(contact.sightings)()
    for _ in range(12):
        bench.tick()
    assert site.cancelled


def test_cancelled_by_its_cluster_after_a_while_it_says_so(bench: Bench) -> None:
    job, id_ = started(bench)
    at = bench.clock.at // SECOND * SECOND
    bench.sites["north"].ends(id_, at, at + 60 * SECOND, Reason.CANCELLED, 0)  # nor later
    bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.NODE_FAIL
    assert "its site cancelled it" in bench.job(job)["reason"] and len(bench.usage(job)) == 1


def test_cancelled_by_its_cluster_while_it_runs_is_no_wish_of_anybody(bench: Bench) -> None:
    job, id_ = started(bench, restartable=True)
    at = bench.clock.at // SECOND * SECOND
    bench.sites["north"].ends(id_, at, at + SECOND, Reason.CANCELLED, 0)
    bench.tick()
    assert bench.job(job)["state"] == "pending"
    job, id_ = started(bench)
    bench.wish(job, cancel_wanted=True)
    at = bench.clock.at // SECOND * SECOND
    bench.sites["north"].ends(id_, at, at + SECOND, Reason.CANCELLED, 0)
    bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.CANCELLED


@pytest.mark.parametrize("movable", [False, True])
@pytest.mark.parametrize(("reason", "code"), [(Reason.OK, 0), (Reason.FAILED, 2), (Reason.NODE_FAIL, 0)])
def test_ended_by_its_cluster_and_never_begun_it_is_placed_anew(
    bench: Bench, reason: Reason, code: int, movable: bool
) -> None:
    """A controller gave out an id again, and hears of the end of the job that it forgot, or a node removes the script of the one
    with that of the other: seen on a real Slurm."""
    job = bench.submit(movable=movable)
    (id_,) = bench.place()
    site, at = bench.sites["north"], bench.clock.at
    site.ends(id_, at, at, reason, code)
    site.files.begun.clear()
    bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.REFUSED and not bench.parts(job)[0]["placed"]
    assert bench.usage(job) == []
    bench.clock.at += 2 * SECOND
    (again,) = bench.place("east")
    site = bench.sites["east"]
    site.ends(again, at, at + 5 * SECOND, reason, code)  # it began, and hid its mark
    bench.tick("east")
    assert bench.attempt(again).attempt.reason is reason and bench.usage(job) == [(0, 5_000)]
    bench.books()


@pytest.mark.parametrize("movable", [False, True])
def test_cancelled_by_its_cluster_before_it_began_is_placed_anew_once_its_fence_is_won(bench: Bench, movable: bool) -> None:
    job = bench.submit(movable=movable)
    (id_,) = bench.place()
    site = bench.sites["north"]
    site.ends(id_, None, bench.clock.at, Reason.CANCELLED)
    bench.tick()
    ended = bench.attempt(id_)
    assert (ended.attempt.state, ended.attempt.reason) == (State.ENDED, Reason.REFUSED)
    assert site.files.fences[ended.row["directory"], 0].startswith("server:"), "it can never start there"
    (part,) = bench.parts(job)
    assert not part["placed"] and not part["done"] and part["refusals"] == 1 and "north/" in part["excluded"]
    assert bench.usage(job) == []
    bench.books()


def test_cancelled_by_its_cluster_and_started_all_the_same_it_runs_on(bench: Bench) -> None:
    """What a killed controller says of a job that it launched."""
    job = bench.submit()
    (id_,) = bench.place()
    site = bench.sites["north"]
    site.files.fences[bench.attempt(id_).row["directory"], 0] = "1:nonce0"
    at = bench.clock.at
    site.ends(id_, None, at, Reason.CANCELLED)
    bench.tick()
    assert bench.attempt(id_).attempt.state is State.RUNNING
    site.marks(id_)
    bench.tick()
    site.ends(id_, at, at + 3 * SECOND)
    bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.OK and len(bench.usage(job)) == 1
    bench.books()


def test_cancelled_in_its_prologue_it_is_placed_anew_once_no_node_can_run_it(bench: Bench) -> None:
    """It holds its fence, and left no mark: its application has not begun."""
    job = bench.submit()
    (id_,) = bench.place()
    site, at = bench.sites["north"], bench.clock.at
    site.starts(id_, at)
    bench.tick()
    site.files.fences[bench.attempt(id_).row["directory"], 0] = "1:nonce0"
    site.ends(id_, at, at, Reason.CANCELLED)
    for _ in range(20):
        bench.tick()
    assert bench.attempt(id_).attempt.live, "its process may live"
    site.all_told = True
    bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.REFUSED and not bench.parts(job)[0]["done"]
    assert bench.usage(job) == []
    bench.books()


def test_cancelled_where_its_fence_cannot_be_reached_it_waits(bench: Bench) -> None:
    job = bench.submit()
    (id_,) = bench.place()
    site = bench.sites["north"]
    directory = bench.attempt(id_).row["directory"]
    site.files.broken.add(directory)
    site.ends(id_, None, bench.clock.at, Reason.CANCELLED)
    for _ in range(4):
        bench.tick()
    assert bench.attempt(id_).attempt.live and bench.parts(job)[0]["placed"]
    site.files.broken.clear()
    bench.tick()
    assert not bench.attempt(id_).attempt.live and not bench.parts(job)[0]["placed"]


def test_cancelled_on_wish_before_it_began_is_cancelled(bench: Bench) -> None:
    job = bench.submit()
    (id_,) = bench.place()
    bench.wish(job, cancel_wanted=True)
    bench.sites["north"].ends(id_, None, bench.clock.at, Reason.CANCELLED)
    bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.CANCELLED and bench.parts(job)[0]["done"]


def test_what_is_said_to_run_and_never_began_is_taken_back_by_its_fence(bench: Bench) -> None:
    job = bench.submit()
    (id_,) = bench.place()
    site = bench.sites["north"]
    site.starts(id_, bench.clock.at)
    for _ in range(9):
        bench.tick()
    assert bench.attempt(id_).attempt.state is State.RUNNING
    for _ in range(4):
        bench.tick()
    assert bench.attempt(id_).attempt.reason is Reason.WITHDRAWN and not bench.parts(job)[0]["placed"]
    assert site.cancelled, "its native job is of no use any more"
    site.ends(id_, bench.clock.at - 20 * SECOND, bench.clock.at, Reason.CANCELLED, 0)
    bench.tick()
    assert bench.usage(job) == []
    bench.books()


def test_what_began_is_left_alone_however_long_it_runs(bench: Bench) -> None:
    _, marked = started(bench)
    bench.submit()
    (lost,) = bench.place()
    site = bench.sites["north"]
    site.lists(lost, running=(0,))
    site.files.fences[bench.attempt(lost).row["directory"], 0] = "1:nonce"  # its mark was lost
    for _ in range(40):
        bench.tick()
    for id_ in (marked, lost):
        assert bench.attempt(id_).attempt.state is State.RUNNING
    assert site.cancelled == []

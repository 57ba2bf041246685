"""Started, and then forgotten by its controller: when that counts as an end, and until when it is billed."""

from __future__ import annotations

from tidegrid.control.orphans import Sightings, ends
from tidegrid.domain.attempt import Attempt, Ended, Execution, Marked, Reason, State, Witness, step

SECOND = 1_000_000


def test_it_ends_with_its_node_and_is_billed_to_its_last_sighting() -> None:
    a = step(Attempt(5), Marked(0, 0, "nonce", "7", 100 * SECOND)).attempt
    sightings = Sightings()
    sightings.seen(5, 104 * SECOND)
    (end,) = ends(a, sightings, 200 * SECOND)
    assert end == Ended(0, 0, "7", Reason.NODE_FAIL, None, 100 * SECOND, 104 * SECOND, Witness.PROVISIONAL)
    after = step(a, end).attempt
    assert (after.state, after.reason) == (State.ENDED, Reason.NODE_FAIL)


def test_never_listed_it_is_billed_to_its_own_mark() -> None:
    a = step(Attempt(5), Marked(0, 0, "nonce", "7", 100 * SECOND)).attempt
    assert [e.ended_at for e in ends(a, Sightings(), 200 * SECOND)] == [100 * SECOND]


def test_what_ended_or_said_so_itself_is_left_alone() -> None:
    done = Execution(0, 0, "n", reason=Reason.OK)
    said = Execution(1, 0, "n", app_exit=0)
    gave_up = Execution(2, 0, "n", gave_up=True)
    assert ends(Attempt(5, tasks="0-2", executions=(done, said, gave_up)), Sightings(), 9) == []


def test_missing_is_counted_from_the_first_time_and_anew_after_a_sighting() -> None:
    s = Sightings()
    assert [s.missing_for(5, at) for at in (10, 15, 40)] == [0, 5, 30]
    s.seen(5, 50)
    assert s.missing_for(5, 60) == 0
    s.prune({6})
    assert s.last == {} and s.missing == {}

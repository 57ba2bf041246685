"""When a waiting job is placed again, and when it is left in peace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegrid.scheduling.decision import Candidate
from tidegrid.scheduling.health import Condition
from tidegrid.scheduling.kernel.worth import left_to_wait
from tidegrid.scheduling.moving import GAINS, Cause, Choice, Move, Rules, Waiting, look, patience, verdict
from tidegrid.scheduling.objective import PRESETS, Objective

RULES = Rules()
BALANCED = PRESETS["balanced"]
HERE = Candidate(
    0, "north", "cpu", 0.1, 300.0, 600.0, 0.0, 600.0, 1200.0, 50_000, 5_000, 100_000, 1_300_000.0, "co_built", "r",
    (5_000_000, 0, 0), (1_000_000, 0, 0), (1000, 256, 0),
)  # fmt: skip
THERE = replace(HERE, index=1, cluster="east", start_now=1.0, wait_p50=0.0, wait_p90=0.0, score=900_000.0)
WAITS = Waiting("north/cpu", waited=1000.0, predicted=400.0)


def judged(w: Waiting, here: Candidate | None, there: Candidate | None, objective: Objective = BALANCED, rules: Rules = RULES) -> Move | None:
    """With one other place."""
    return verdict(w, here, there, there if there is not None and there.wait_ahead == 0 else None, objective, rules)


waiting = st.builds(
    Waiting, st.just("north/cpu"), st.floats(0, 1e5), st.one_of(st.none(), st.floats(0, 1e5)), st.integers(0, 5), st.booleans(),
    st.sampled_from([Condition.OK, Condition.DRAINED, Condition.DRAINING]),
    st.sampled_from(["", "site.policy", "site.nodes_down"]), st.just("word"), st.floats(0, 500),
)  # fmt: skip


def test_what_the_site_will_never_start_moves_though_nobody_else_may_take_it() -> None:
    w = Waiting("north/cpu", 20, stuck="site.policy", says="QOSMaxCpuPerJobLimit", stuck_for=RULES.stuck_after, fixed=True)
    move = judged(w, HERE, None)
    assert move is not None and (move.cause, move.refused) == (Cause.STUCK, "site.policy")
    assert "QOSMaxCpuPerJobLimit" in move.why
    assert judged(replace(w, stuck_for=RULES.stuck_after - 1), HERE, THERE) is None


def test_what_may_come_back_is_waited_for_and_left_only_for_a_better_place() -> None:
    w = Waiting("north/cpu", 70, stuck="site.nodes_down", says="ReqNodeNotAvail", stuck_for=RULES.passing_after)
    assert judged(w, HERE, None) is None
    move = judged(w, None, THERE)
    assert move is not None and move.cause is Cause.UNAVAILABLE
    assert judged(replace(w, stuck_for=RULES.passing_after - 1), HERE, replace(THERE, score=5e6)) is None


@pytest.mark.parametrize(("condition", "cause"), [(Condition.DRAINED, Cause.DRAINED), (Condition.DRAINING, Cause.FAILING)])
def test_a_drained_place_is_left_where_another_can_take_the_job(condition: Condition, cause: Cause) -> None:
    w = Waiting("north/cpu", 1.0, condition=condition)
    move = judged(w, None, THERE)
    assert move is not None and move.cause is cause and move.figures["to"] == "east/cpu"
    assert judged(w, None, None) is None
    assert judged(replace(w, fixed=True), None, THERE) is None


def test_a_job_that_waits_beyond_its_prediction_moves_with_its_figures() -> None:
    move = judged(WAITS, HERE, THERE)
    assert move is not None and move.cause is Cause.LATE
    assert move.figures["waited_s"] == 1000 and move.figures["predicted_p90_s"] == 400
    assert move.figures["left_here_s"] == 600 == move.figures["saved_s"]


def test_a_job_within_its_prediction_moves_only_for_much() -> None:
    w = Waiting("north/cpu", waited=200.0, predicted=1000.0)
    move = judged(w, HERE, THERE)
    assert move is not None and move.cause is Cause.BETTER
    assert judged(replace(w, predicted=250.0), HERE, THERE) is None, "50 s left are not worth it"


def test_no_gain_no_move() -> None:
    assert judged(WAITS, HERE, replace(THERE, staging_s=580.0)) is None, "too little time"
    assert judged(WAITS, HERE, replace(THERE, wait_p50=1.0, wait_p90=2.0, wait_ahead=2.0)) is None, "only a promise"
    dear = replace(THERE, score=HERE.score * 2)
    assert judged(WAITS, HERE, dear) is None, "too dear"
    assert judged(replace(WAITS, waited=RULES.settle - 1), HERE, THERE) is None, "too young"
    assert judged(replace(WAITS, moves=RULES.moves), HERE, THERE) is None, "moved often enough"


def _dearer(by: float) -> Candidate:
    """THERE, costing so many seconds' wait more than HERE without any."""
    second = BALANCED.time * 1e6 / 3600
    return replace(THERE, score=HERE.score + second * (by - HERE.wait_p50))


def test_a_cheaper_place_is_waited_for_as_long_as_that_is_worth_and_no_longer() -> None:
    dear = _dearer(900.0)
    assert patience(HERE, dear, BALANCED) == pytest.approx(900.0)
    hour = replace(HERE, score=0.0, wait_p50=0.0, wait_p90=0.0)
    assert patience(hour, replace(hour, score=2.8e6), BALANCED) == pytest.approx(2.8 / 5 * 3600), "2.80 yuan at 5 an hour"
    w = Waiting("north/cpu", waited=880.0, predicted=600.0)
    assert judged(w, HERE, dear) is None
    move = judged(replace(w, waited=901.0), HERE, dear)
    assert move is not None and move.cause is Cause.PATIENCE and move.figures["patience_s"] == 900
    assert "is worth 900 s" in move.why and "east/cpu" in move.why
    assert judged(Waiting("north/cpu", 901.0, predicted=950.0), HERE, dear) is None, "its turn comes in 49 s"
    assert judged(replace(w, waited=901.0, moves=RULES.moves), HERE, dear) is None, "moved often enough"
    cheapest = PRESETS["cheapest"]
    assert patience(HERE, dear, cheapest) > 1e6, "who wants the cheapest place waits for it"


@given(st.floats(1, 1e4), st.floats(0, 1e5), st.floats(1, 1e4))
def test_patience_pays_at_most_twice_what_hindsight_would(worth: float, wait: float, predicted: float) -> None:
    """Whatever the wait there turns out to be; in seconds of its owner's, looked at each second."""
    rules = Rules(gain=0.0, settle=0.0, late=1e9, better_floor=1e9)
    dear, waited = _dearer(worth), 0.0
    while waited < min(wait, 3 * worth):
        if judged(Waiting("north/cpu", waited, predicted), HERE, dear, rules=rules):
            break
        waited += max(1.0, worth / 50)
    else:
        assert waited <= max(worth, predicted) + max(1.0, worth / 50) or wait <= waited
        return
    assert waited + worth <= 2 * min(wait, worth) + 2 * max(1.0, worth / 50)


@given(waiting, st.floats(0, 1e5), st.floats(-1e6, 1e7))
def test_no_move_without_gain_whatever_the_figures(w: Waiting, wait: float, score: float) -> None:
    other = replace(THERE, staging_s=wait, score=score)
    move = judged(w, HERE, other)
    assert left_to_wait(w.waited, -1.0 if w.predicted is None else w.predicted) >= 0
    if move is None or move.cause not in GAINS:
        return
    assert not w.fixed and w.moves < RULES.moves and w.waited >= RULES.settle
    assert float(move.figures["saved_s"]) >= RULES.gain - 0.1
    if move.cause is Cause.PATIENCE:
        assert 0 < patience(HERE, other, BALANCED) <= w.waited
    else:
        assert float(move.figures["gain_yuan"]) > 0


def test_in_one_look_those_that_go_do_not_rush_to_one_place() -> None:
    """There is room for two at east; who is too dear for it takes none of it away."""
    dear = replace(THERE, score=HERE.score * 3)
    stays, goes = Choice(WAITS, HERE, [dear], BALANCED), Choice(WAITS, HERE, [THERE], BALANCED)
    free = np.array([[0, 0, 0], [2000, 512, 0]])
    found = look([stays, goes, goes, goes], free.copy())
    assert [m is not None for m in found] == [False, True, True, False]
    spare = replace(THERE, index=0, cluster="west", score=THERE.score + 1)
    found = look([goes, goes, Choice(WAITS, HERE, [THERE, spare], BALANCED)], np.array([[1000, 256, 0], [2000, 512, 0]]))
    assert [m.figures["to"] for m in found if m] == ["east/cpu", "east/cpu", "west/cpu"]
    assert [m.passes for m in found if m] == [(), (), ("east/cpu",)]
    queue = replace(THERE, cluster="south", score=THERE.score - 1, wait_p50=5.0, wait_p90=9.0, wait_ahead=9.0)
    (move,) = look([Choice(WAITS, HERE, [queue, THERE], BALANCED)], free.copy())
    assert move is not None and move.figures["to"] == "east/cpu" and move.passes == ("south/cpu",), "else it would wait again, there"
    drained = Choice(Waiting("north/cpu", 1.0, condition=Condition.DRAINED), None, [THERE], BALANCED)
    assert all(look([drained] * 4, free)), "these are placed again whether or not there is room"

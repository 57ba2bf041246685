"""A place's health: what drains it, what does not, and how it comes back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegrid.scheduling.health import (
    SECOND,
    Condition,
    Faculty,
    Limits,
    Sign,
    Standing,
    blame,
    probed,
    resumed,
    shown,
    step,
    wants_probe,
)

T0 = 1_800_000_000 * SECOND
LIMITS = Limits()
TROUBLE = [s for s in Sign if s not in (Sign.ACCEPTED, Sign.RAN, Sign.ANSWERED)]
signs = st.tuples(st.sampled_from(list(Sign)), st.floats(0, 20))
moments = st.lists(st.tuples(st.integers(0, 900), st.lists(signs, max_size=5)), max_size=40)


def after(story: list[tuple[float, list[tuple[Sign, float]]]], limits: Limits = LIMITS, s: Standing | None = None) -> Standing:
    """story: (seconds since the step before, signs)."""
    s, now = s or Standing(), s.at if s else T0
    for wait, seen in story:
        now += int(wait * SECOND)
        s = step(s, now, seen, limits)
    return s


def drained() -> Standing:
    s = after([(11, [(Sign.NODE_FAILED, 1), (Sign.NODE_FAILED, 1)])] * 3)
    assert s.condition is Condition.DRAINING
    return s


@given(moments)
def test_good_signs_alone_never_harm(story: list) -> None:  # type: ignore[type-arg]
    fine = [(wait, [(s, w) for s, w in seen if s not in TROUBLE]) for wait, seen in story]
    assert after(fine).condition is Condition.OK


@given(moments)
def test_any_story_keeps_counts_finite_and_can_be_stored(story: list) -> None:  # type: ignore[type-arg]
    s = after(story)
    for c in s.counts.values():
        assert 0 <= c.level <= c.bad + 1e-9 and c.good >= 0 and 0 <= c.share <= 1
    assert Standing.from_json(s.to_json()) == s


@given(moments, st.integers(0, 3))
def test_more_good_signs_are_never_worse(story: list, more: int) -> None:  # type: ignore[type-arg]
    order = [Condition.OK, Condition.SUSPECT, Condition.DRAINING]
    better = [(w, [*seen, *((g, float(more)) for g in (Sign.ACCEPTED, Sign.RAN, Sign.ANSWERED))]) for w, seen in story]
    assert order.index(after(better).condition) <= order.index(after(story).condition)


@given(moments)
def test_without_auto_nothing_is_drained(story: list) -> None:  # type: ignore[type-arg]
    assert after(story, replace(LIMITS, auto=False)).condition is not Condition.DRAINING


@given(st.sampled_from(TROUBLE), st.floats(2, 1e6))
def test_what_fails_in_one_moment_drains_nothing(sign: Sign, weight: float) -> None:
    assert after([(0, [(sign, weight)]), (1, [(sign, weight)])]).condition is Condition.SUSPECT


def test_failures_that_go_on_drain_and_a_few_among_much_work_do_not() -> None:
    failing = [(15.0, [(Sign.NODE_FAILED, 1.0)])] * 6
    assert after(failing).condition is Condition.DRAINING
    busy = [(15.0, [(Sign.NODE_FAILED, 1.0), (Sign.RAN, 20.0)])] * 60
    assert after(busy).condition is Condition.OK


def test_rare_failures_are_forgotten_between() -> None:
    assert after([(3600.0, [(Sign.NODE_FAILED, 1.0)])] * 50).condition is Condition.OK


def test_a_suspect_becomes_ok_only_when_calm_has_lasted() -> None:
    s = after([(15.0, [(Sign.REFUSED, 1.0), (Sign.ACCEPTED, 2.0)])] * 3)
    assert s.condition is Condition.SUSPECT
    assert after([(LIMITS.trial - 1, [])], s=s).condition is Condition.SUSPECT
    # a level below the one that made it suspect is not calm yet
    later = after([(600.0, [(Sign.ACCEPTED, 1.0)])], s=s)
    assert LIMITS.calm_level < later.of(Faculty.SUBMIT).level < LIMITS.suspect_level
    assert later.condition is Condition.SUSPECT
    assert after([(1800.0, [])], s=later).condition is Condition.OK


def test_probes_bring_it_back_half_open() -> None:
    s = drained()
    now = s.due
    assert not wants_probe(s, now - 1) and wants_probe(s, now)
    s = step(s, now, [(Sign.RAN, 100.0)])
    assert s.condition is Condition.DRAINING, "only probes end a drain"
    s = probed(s, now, True)
    assert s.condition is Condition.DRAINING and wants_probe(s, now)
    s = probed(s, now + SECOND, True)
    assert s.condition is Condition.SUSPECT
    once_more = step(s, now + 2 * SECOND, [(Sign.NODE_FAILED, 2.0), (Sign.NODE_FAILED, 2.0)])
    assert once_more.condition is Condition.SUSPECT
    once_more = step(once_more, now + 20 * SECOND, [(Sign.NODE_FAILED, 2.0)])
    assert once_more.condition is Condition.DRAINING
    assert once_more.due - once_more.since == 2 * LIMITS.rest * SECOND, "the second rest is longer"


def test_a_failed_probe_makes_the_rest_longer_up_to_a_limit() -> None:
    s, rests = drained(), []
    for _ in range(12):
        now = s.due
        s = probed(probed(s, now, True), now, False)
        assert s.condition is Condition.DRAINING and s.passed == 0
        rests.append((s.due - now) / SECOND)
    assert rests[:3] == [60.0, 120.0, 240.0] and rests[-1] == LIMITS.rest_max


def test_an_operators_resume_holds_for_a_while() -> None:
    s = resumed(drained(), T0 + 100 * SECOND)
    assert s.condition is Condition.OK
    failing = [(15.0, [(Sign.NODE_FAILED, 1.0)])] * 30
    assert after(failing, s=s).condition is Condition.SUSPECT
    assert after([*failing, *[(15.0, [(Sign.NODE_FAILED, 1.0)])] * 20], s=s).condition is Condition.DRAINING


@pytest.mark.parametrize(
    ("facts", "word"),
    [({}, "draining"), ({"silent": True}, "silent"), ({"silent": True, "drained": True}, "drained"),
     ({"silent": True, "drained": True, "dead": True}, "dead")],
)  # fmt: skip
def test_an_operators_word_wins(facts: dict[str, bool], word: str) -> None:
    assert shown(Condition.DRAINING, **facts) == word


def test_a_job_that_asks_for_too_much_speaks_against_nobody() -> None:
    assert blame("site.impossible") == blame("site.time_limit") == blame("site.bad_request") == 0
    assert blame("site.partition_down") == blame("site.account") == 1

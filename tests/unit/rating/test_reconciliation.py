"""Metered against accounted: every way they can differ has its own cause, and what is alike has none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegrid.domain.attempt import Reason, Witness
from tidegrid.rating.reconciliation import PATIENCE_US, Accounted, Cause, Metered, Report, compare

S = 1_000_000
T = 1_800_000_000 * S
LONG_AGO = T + 10 * PATIENCE_US


def run(**changes: Any) -> tuple[Metered, Accounted]:
    """A run of ten seconds on two cores, alike on both sides."""
    m = Metered(attempt_id=1, task=0, restart=0, native_id="7", reason=Reason.OK, segments=1, started_at=T, ended_at=T + 10 * S,
                elapsed_ms=10_000, cores=2, gpus=0, memory_mib=64, charged=500)  # fmt: skip
    a = Accounted(attempt_id=1, task=0, id="7", base="7", name="tg-1", started_at=T, ended_at=T + 10 * S, elapsed_ms=10_000,
                  cores=2, gpus=0, memory_mib=64, user="tide")  # fmt: skip
    return replace(m, **{k: v for k, v in changes.items() if k in Metered.__dataclass_fields__}), a


def judged(*pairs: tuple[Metered | None, Accounted | None], now: int = LONG_AGO, span: int = 3600) -> Report:
    return compare([m for m, _ in pairs if m], [a for _, a in pairs if a], T, T + span * S, now)


def test_what_is_alike_has_no_difference() -> None:
    report = judged(run())
    assert (report.runs, report.matched, report.differences, report.unexplained) == (1, 1, (), 0)
    assert report.metered_core_ms == report.accounted_core_ms == 20_000 and report.charged == 500


M, A = run()
CASES: list[tuple[str, Metered | None, Accounted | None, int, Cause, bool]] = [
    ("nothing metered", None, A, LONG_AGO, Cause.NOT_METERED, False),
    ("metered nothing of it", replace(M, segments=0, elapsed_ms=0, charged=0), A, LONG_AGO, Cause.NOT_METERED, False),
    ("just ended", replace(M, running=True, segments=0, reason=None, ended_at=None), A, T + 20 * S, Cause.LATE, True),
    ("free", replace(M, reason=Reason.REFUSED, segments=0, charged=0), A, LONG_AGO, Cause.FREE, True),
    ("nothing accounted", M, None, LONG_AGO, Cause.NOT_ACCOUNTED, False),
    ("may come", replace(M, estimated=True, weakest=Witness.CONTROLLER), None, T + 20 * S, Cause.LATE, True),
    ("never came", replace(M, estimated=True, weakest=Witness.CONTROLLER), None, LONG_AGO, Cause.NOT_ACCOUNTED, False),
    ("last life", replace(M, estimated=True, weakest=Witness.PROVISIONAL), None, LONG_AGO, Cause.PROVISIONAL, True),
    ("longer", M, replace(A, elapsed_ms=11_000, ended_at=T + 11 * S), LONG_AGO, Cause.ELAPSED, False),
    ("came late", replace(M, estimated=True, weakest=Witness.CONTROLLER), replace(A, elapsed_ms=9_000), T + 20 * S, Cause.LATE, True),
    ("stayed late", replace(M, estimated=True, weakest=Witness.CONTROLLER), replace(A, elapsed_ms=9_000), LONG_AGO, Cause.LATE, False),
    ("end known", replace(M, estimated=True, weakest=Witness.PROVISIONAL), replace(A, elapsed_ms=9_000), T + 20 * S, Cause.PROVISIONAL, True),
    ("more cores", M, replace(A, cores=4), LONG_AGO, Cause.ALLOCATION, False),
    ("a GPU", M, replace(A, gpus=1), LONG_AGO, Cause.ALLOCATION, False),
    ("an hour's shift", M, replace(A, started_at=T + 3600 * S, ended_at=T + 3610 * S), LONG_AGO, Cause.CLOCK, True),
    ("somebody else's", None, replace(A, attempt_id=None, name="vasp"), LONG_AGO, Cause.FOREIGN, True),
]  # fmt: skip


@pytest.mark.parametrize(("m", "a", "now", "cause", "explained"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_difference_has_its_cause(m: Metered | None, a: Accounted | None, now: int, cause: Cause, explained: bool) -> None:
    report = judged((m, a), now=now)
    assert [(d.cause, d.explained) for d in report.differences] == [(cause, explained)]
    assert report.counts == {cause: 1} and report.unexplained == (not explained)


def test_every_cause_has_a_case() -> None:
    assert {c[4] for c in CASES} | {Cause.ID_REUSED} == set(Cause)


def test_an_id_that_the_centre_gave_to_another_job() -> None:
    other = replace(A, attempt_id=None, name="theirs")
    report = judged((M, other))
    assert [(d.cause, d.explained) for d in report.differences] == [(Cause.ID_REUSED, False), (Cause.FOREIGN, True)]
    of_ours = replace(A, attempt_id=2, name="tg-2")
    other_run = replace(M, attempt_id=2)
    report = judged((M, None), (other_run, of_ours))
    assert [d.cause for d in report.differences] == [Cause.ID_REUSED] and report.matched == 1


def test_foreign_jobs_count_for_nothing_of_ours() -> None:
    report = judged(run(), (None, replace(A, attempt_id=None, name="vasp", id="8", base="8", cores=32)))
    assert (report.runs, report.matched, report.unexplained) == (1, 1, 0)
    assert report.accounted_core_ms == 20_000 and report.foreign_core_ms == 320_000 and report.charged == 500


def test_a_run_that_two_sides_end_on_two_sides_of_a_bound_is_one_run() -> None:
    late = replace(A, ended_at=T + 12 * S, elapsed_ms=12_000)
    for since, until in ((T, T + 11 * S), (T + 11 * S, T + 60 * S)):
        report = compare([M], [late], since, until, LONG_AGO)
        assert [d.cause for d in report.differences] == [Cause.ELAPSED]
    assert compare([M], [late], T + 60 * S, T + 90 * S, LONG_AGO).runs == 0


def test_a_run_that_goes_on_and_one_that_never_had_nodes_are_no_difference() -> None:
    going = replace(M, running=True, reason=None)
    unborn = replace(A, started_at=None, elapsed_ms=0)
    nothing = replace(M, segments=0, elapsed_ms=0, charged=0, reason=Reason.CANCELLED)
    assert judged((going, None)).runs == 0
    report = judged((nothing, unborn))
    assert report.runs == 1 and report.matched == 1


def test_time_suspended_is_named() -> None:
    (found,) = judged((M, replace(A, elapsed_ms=6_000))).differences
    assert found.cause is Cause.ELAPSED and "suspended there for 4 s" in found.text


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=4, unique=True), st.randoms())
def test_restarts_of_a_task_find_each_other_in_any_order(ends: list[int], rng: Any) -> None:
    metered = [replace(M, restart=i, ended_at=T + e * S, elapsed_ms=e * 1000) for i, e in enumerate(ends)]
    accounted = [replace(A, ended_at=T + e * S, elapsed_ms=e * 1000) for e in ends]
    rng.shuffle(accounted)
    report = compare(metered, accounted, T, T + 6000 * S, LONG_AGO)
    assert report.matched == report.runs == len(ends)

"""Run times and peaks learnt from runs: statements about `Learnt`, on made-up runs whose law is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tidegrid.domain.errors import Broken
from tidegrid.domain.job import JobSpec, Resources
from tidegrid.scheduling import traits
from tidegrid.scheduling.runtime import Learnt, Question, Run, wall_time

SPEED = {"a/x": 1.0, "b/x": 0.5}


def of(size, steps=100, kind="double", wall=3600.0, seed=1):
    return traits.of({"size": size, "steps": steps, "kind": kind, "seed": seed}, {"cores": 1.0, "wall_s": wall})


def law(size, steps, kind, place):
    """Seconds: half a second to begin with, then work in proportion; single precision takes half as long."""
    return 0.5 + 1e-4 * size * steps * (0.5 if kind == "single" else 1.0) / SPEED[place]


def runs(n, seed=0, noise=0.03, places=("a/x", "b/x")):
    rng = np.random.default_rng(seed)
    for i in range(n):
        size, steps = int(rng.integers(10, 1000)), int(rng.integers(10, 1000))
        kind, place = ("double", "single")[int(rng.integers(2))], places[int(rng.integers(len(places)))]
        took = law(size, steps, kind, place) * math.exp(noise * rng.standard_normal())
        yield Run("app", place, of(size, steps, kind, seed=i), took, peak_mib=30 + 0.1 * size)


def learnt(n, **kw):
    model = Learnt()
    for run in runs(n, **kw):
        model.update(run)
    return model


def ask(model, places=("a/x",), speed=None, wall=3600.0, estimate=None, **changes):
    question = Question("app", of(**{"size": 500, "steps": 500, **changes}), wall, estimate)
    return model.quantiles(question, places, np.array(speed or [1.0] * len(places)))


def test_with_no_run_the_document_speaks_and_without_one_half_the_wall_time():
    p = ask(Learnt(), ("a/x", "b/x"), [1.0, 0.5], wall=1000)
    assert (p.source, p.n, p.wall_s) == ("wall time", 0, None) and math.isnan(p.error)
    assert p.p50.tolist() == [500.0, 1000.0] and p.p90.tolist() == [1000.0, 1000.0]
    p = ask(Learnt(), ("a/x", "b/x"), [1.0, 0.5], wall=1000, estimate=100.0)
    assert p.source == "document" and p.p50.tolist() == [100.0, 200.0] and p.p90.tolist() == [1000.0, 1000.0]
    assert p.wall_s == 600  # twice the estimate at the slowest place, with the margin, rounded up


def test_the_law_is_found_in_forty_runs_and_holds_for_jobs_not_seen():
    model = learnt(40)
    for size, steps, kind, place in ((100, 100, "double", "a/x"), (900, 50, "single", "b/x"), (700, 900, "single", "a/x")):
        p = ask(model, (place,), size=size, steps=steps, kind=kind)
        assert float(p.p50[0]) == pytest.approx(law(size, steps, kind, place), rel=0.25)
        assert p.p50[0] < p.p90[0] and p.source == "history" and p.n == 40


def test_errors_are_those_of_predictions_made_before_the_run():
    model = learnt(120)
    assert 0.0 < ask(model).error < 0.12


def test_p90_covers_nine_of_ten():
    model, hits = Learnt(), []
    for i, run in enumerate(runs(200, noise=0.3)):
        p = model.quantiles(Question("app", run.traits, 1e9), [run.partition], np.ones(1))
        if i >= 40:
            hits.append(run.run_s <= float(p.p90[0]))
        model.update(run)
    assert 0.84 <= np.mean(hits) <= 0.96


def test_a_new_partition_begins_with_the_speed_of_its_machine_card_and_comes_into_its_own():
    model = Learnt()
    for run in runs(60, places=("a/x",)):
        model.update(run)
    p = ask(model, ("a/x", "new/x"), [1.0, 0.5])
    assert float(p.p50[1] / p.p50[0]) == pytest.approx(2.0, rel=0.05) and p.here.tolist() == [60, 0]
    assert p.p90[1] / p.p50[1] > p.p90[0] / p.p50[0]  # less is known of it
    for i in range(6):  # in truth it is as fast as the other
        model.update(Run("app", "new/x", of(400 + 50 * i, 500), law(400 + 50 * i, 500, "double", "a/x"), speed=0.5))
    p = ask(model, ("a/x", "new/x"), [1.0, 0.5])
    assert float(p.p50[1] / p.p50[0]) == pytest.approx(1.0, rel=0.15) and p.here.tolist() == [60, 6]


def test_a_machine_card_that_comes_later_does_not_move_what_was_measured_there():
    model = learnt(60)
    before = ask(model, ("a/x", "b/x"), [1.0, 1.0])
    after = ask(model, ("a/x", "b/x"), [3.0, 0.3])
    assert before.p50.tolist() == after.p50.tolist()


def test_a_partition_that_became_slower_is_believed_after_a_few_runs():
    model = learnt(80, places=("a/x",))
    before = float(ask(model).p50[0])
    for run in list(runs(90, seed=1, places=("a/x",)))[:10]:
        model.update(Run("app", "a/x", run.traits, 3 * run.run_s))
    assert float(ask(model).p50[0]) == pytest.approx(3 * before, rel=0.3)


def test_one_strange_run_moves_nothing():
    model = learnt(60, places=("a/x",))
    before = float(ask(model).p50[0])
    model.update(Run("app", "a/x", of(500, 500), 100 * before))
    for run in list(runs(5, seed=7, places=("a/x",))):
        model.update(run)
    assert float(ask(model).p50[0]) == pytest.approx(before, rel=0.1)


def test_never_above_the_wall_time():
    p = ask(learnt(40), wall=3.0, size=1000, steps=1000)
    assert p.p50.tolist() == [3.0] and p.p90.tolist() == [3.0]


def test_a_wall_time_is_proposed_with_a_margin_and_as_people_write_it():
    assert [wall_time(s) for s in (1, 41, 500, 2400, 3000, 100_000)] == [60, 120, 900, 3600, 7200, 42 * 3600]
    p = ask(learnt(60))
    assert p.wall_s == 60 and float(p.p90[0]) < 60 / 1.5
    assert ask(learnt(3)).wall_s is None  # too few runs to say


def test_peaks_are_learnt_too_and_absent_where_nobody_measured():
    p = ask(learnt(60))
    assert p.peak_p50_mib == pytest.approx(80, rel=0.1) and p.peak_p90_mib >= p.peak_p50_mib
    model = Learnt()
    model.update(Run("app", "a/x", of(10), 1.0))
    assert ask(model).peak_p50_mib is None


def test_the_same_runs_give_the_same_answers_and_the_state_goes_on_exactly():
    half, rest = list(runs(80))[:50], list(runs(80))[50:]
    first = Learnt()
    for run in half:
        first.update(run)
    second = Learnt.from_arrays(first.to_arrays())
    for run in rest:
        first.update(run)
        second.update(run)
    p, q = ask(first, ("a/x", "b/x", "c/x")), ask(second, ("a/x", "b/x", "c/x"))
    assert p.p50.tolist() == q.p50.tolist() and p.p90.tolist() == q.p90.tolist() and p.error == q.error
    head = first.to_arrays() | {"head": np.array('{"schema": 99, "apps": []}')}
    with pytest.raises(Broken, match="schema 99"):
        Learnt.from_arrays(head)


def test_a_run_of_no_length_and_a_new_parameter_do_no_harm():
    model = learnt(20)
    model.update(Run("app", "a/x", of(10), 0.0))
    assert model.seen("app") == 20 and model.seen("other") == 0
    model.update(Run("app", "a/x", traits.of({"brand new": 3, "size": 0}, {}), 2.0))
    assert math.isfinite(float(ask(model).p50[0]))


def test_traits_keep_numbers_and_only_codes_of_texts():
    spec = JobSpec("app", "v1", {"n": 3, "on": True, "secret": "s3cret", "list": [1, 2]}, resources=Resources(cores=4))
    found = traits.of_job(spec, input_bytes=10)
    assert found.numbers["param.n"] == 3 and found.numbers["cores"] == 4 and found.numbers["input_bytes"] == 10
    assert found.numbers["param.list.length"] == 2 and "s3cret" not in str(found.to_json())
    assert found.words["param.secret"] == traits.code('"s3cret"') and "param.on" in found.words
    assert traits.Traits.from_json(found.to_json()) == found
    assert "param.n" not in traits.of({"n": float("nan")}, {}).numbers

"""The demo's parts: its network and batch are what the product accepts, and its judge finds what it is there for."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from tidegrid.apps import documents
from tidegrid.catalog import network
from tidegrid.client import Attempt, Job
from tidegrid.control.intake import parse_body
from tidegrid.domain.job import JobState
from tidegrid.launch import demo_batch, demo_view, demo_witness
from tidegrid.launch.demo_batch import Planned


def test_its_network_is_three_clusters_in_three_regions_with_both_kinds_of_supply() -> None:
    found = network.parse(resources.files("tidegrid.launch").joinpath("demo_network.yaml").read_text())
    assert len({found.site_of(c.name).region for c in found.clusters}) == 3  # type: ignore[union-attr]
    assert {p.supply.kind for _, p in found.partitions()} == {"co_built", "purchased"}


def test_its_jobs_are_what_the_applications_take(tmp_path: Path) -> None:
    known = {d.id: d for d in documents()}
    plan = demo_batch.batch(tmp_path / "witness", lammps=True)
    for p in plan:
        assert len(parse_body(p.body, known[p.body["app"]]).tasks) == p.tasks
    names = [p.name for p in plan]
    assert len(set(names)) == len(names)
    assert {p.expect for p in plan} == {"succeeded", "failed", "timeout"}
    for p in plan:
        for job, _ in p.takes.values():
            assert names.index(job) < names.index(p.name)


PLAN = [
    Planned("a", "", {}, witnessed=True),
    Planned("b", "", {}, tasks=2, witnessed=True),
    Planned("c", "", {}),
    Planned("d", "", {}, expect="failed", witnessed=True),
]


def _job(name: str, state: str = "succeeded") -> Job:
    return Job(id=f"job-{name}", state=JobState(state), name=name, attempts=(Attempt(f"att-{name}"),))


class _World:
    def __init__(self, base: Path) -> None:
        self.jobs = {"a": _job("a"), "b": _job("b"), "c": _job("c"), "d": _job("d", "failed")}
        self.said = [f"{w} {n} {t} att-{n}/1/9" for n, t in (("a", 0), ("b", 0), ("b", 1), ("d", 0)) for w in ("start", "end")]
        self.said.remove("end d 0 att-d/1/9")
        self.runs = [("a", 0, 0), ("b", 0, 0), ("b", 1, 0), ("c", 0, 0), ("d", 0, 3), ("c", 0, 75)]
        self.base = base

    def judge(self) -> demo_witness.Judgement:
        (self.base / "witness").write_text("".join(line + "\n" for line in self.said))
        home = self.base / "clusters" / "east"
        home.mkdir(parents=True)
        records = [{"k": "ended", "n": f"tg-{n}", "task": t, "exit": e, "start": 1, "at": 2} for n, t, e in self.runs]
        (home / "journal").write_text("".join(f"00000000 {json.dumps(r)}\n" for r in records))
        return demo_witness.judge(PLAN, self.jobs, self.base / "witness", self.base / "clusters")


@pytest.fixture
def world(tmp_path: Path) -> _World:
    return _World(tmp_path)


def test_a_good_end_has_nothing_to_say(world: _World) -> None:
    assert world.judge() == demo_witness.Judgement((), (), ())


def test_a_second_start_is_a_duplicate(world: _World) -> None:
    world.said += ["start b 1 att-x/7/8"]
    assert [d.split(":")[0] for d in world.judge().duplicates] == ["b task 1"]


def test_a_second_run_in_a_supervisors_journal_is_a_duplicate(world: _World) -> None:
    world.runs.append(("c", 0, 0))
    assert [d.split(":")[0] for d in world.judge().duplicates] == ["c"]


def test_work_that_was_never_done_is_lost(world: _World) -> None:
    world.said.remove("end a 0 att-a/1/9")
    assert [x.split(":")[0] for x in world.judge().lost] == ["a"]


def test_a_job_that_never_ran_or_never_ended_is_lost(world: _World) -> None:
    world.runs.remove(("c", 0, 0))
    world.jobs["b"] = replace(world.jobs["b"], state=JobState.RUNNING)
    assert [x.split(":")[0] for x in world.judge().lost] == ["b", "c"]


def test_another_end_than_planned_is_told(world: _World) -> None:
    world.jobs["d"] = _job("d")
    world.said.append("end d 0 att-d/1/9")
    assert world.judge().surprises == ("d: succeeded, planned failed",)


def test_reasons_name_the_choice_its_price_and_what_came_next() -> None:
    candidates = [
        {"partition": "east/cpu", "supply": "co_built", "price": 1500, "wait_p50_s": 0.0},
        {"partition": "west/cpu", "supply": "purchased", "price": 2500, "wait_p50_s": 9.0},
    ]
    decision = {"chosen": "east/cpu", "candidates": candidates, "feasible": 2, "objective": "balanced", "refusals": {}}
    text = demo_view.why([decision])
    assert "east/cpu (co-built)" in text and "0.0015 yuan" in text and "next west/cpu" in text
    plan = [Planned("a", "x", {}), Planned("b", "x", {})]
    rows = demo_view.whys(plan, {"a": _job("a"), "b": _job("b")}, {"a": [decision], "b": [decision, {**decision, "chosen": "west/cpu"}]})
    assert rows[0][:2] == ["a … b", "2 succeeded"]
    assert rows[1][2] == "1 went east/cpu → west/cpu: east did not answer"

"""Restart recipes: what a checkpoint is made of, and the script that goes on from it."""

from __future__ import annotations

import json

import pytest

from tidegrid.catalog.document import Application, from_body, parse
from tidegrid.catalog.yamldoc import canonical
from tidegrid.domain.errors import InvalidInput

BASE = """\
id: solve
title: {en: Solver}
params: {type: object, properties: {n: {type: integer, default: 1}}, additionalProperties: false}
"""
ARGUMENTS = BASE + """\
script: |
  solve -n {{ n }} {{ restart }}
restart:
  checkpoint: ['s.*.cpt']
  with: [s.log]
  step: 's\\.(\\d+)\\.cpt'
  arguments: [-from, "a b"]
checkpoint_every: 10m
"""


def problems(text: str) -> dict[str, str]:
    with pytest.raises(InvalidInput) as e:
        parse(text)
    return {p["path"]: p["message"] for p in e.value.details["problems"]}


def script(app: Application, *, continues: bool) -> str:
    return app.render(app.validate({}), continues=continues).strip()


def test_the_arguments_stand_in_the_script_only_when_it_continues() -> None:
    app = parse(ARGUMENTS)
    assert script(app, continues=False) == "solve -n 1"
    assert script(app, continues=True) == "solve -n 1 -from 'a b'"


def test_a_script_of_its_own_continues() -> None:
    app = parse(BASE + "script: start {{ n }}\nrestart: {checkpoint: [c], script: 'go on {{ n }}'}\n")
    assert script(app, continues=False) == "start 1"
    assert script(app, continues=True) == "go on 1"


def test_a_recipe_makes_an_application_restartable() -> None:
    app = parse(ARGUMENTS)
    assert app.restartable and app.restart is not None and app.restart.every_s == 600
    assert not parse(BASE + "script: solve\n").restartable
    assert from_body(json.loads(canonical(app.body))) == app
    assert parse(ARGUMENTS.replace("10m", "11m")).version != app.version


def test_an_application_without_a_recipe_cannot_continue() -> None:
    with pytest.raises(InvalidInput) as e:
        script(parse(BASE + "script: solve\n"), continues=True)
    assert e.value.code == "script.failed"


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("-n {{ n }} {{ restart }}", "-n {{ n }}", "restart.arguments"),
        ("  arguments: [-from, \"a b\"]\n", "", "restart"),
        ("  arguments: [-from, \"a b\"]\n", "  arguments: [x]\n  script: y\n", "restart"),
        ("  checkpoint: ['s.*.cpt']\n", "", "restart.checkpoint"),
        ("['s.*.cpt']", "[/etc/passwd]", "restart.checkpoint[0]"),
        ("['s.*.cpt']", "[../x]", "restart.checkpoint[0]"),
        ("['s.*.cpt']", "[]", "restart.checkpoint"),
        ("[s.log]", "['s.*.cpt']", "restart.with"),
        ("(\\d+)", "\\d+", "restart.step"),
        ("(\\d+)", "(\\d+", "restart.step"),
        ("10m", "soon", "checkpoint_every"),
        ("checkpoint_every: 10m", "restartable: false", "restartable"),
        ("  step: 's\\.(\\d+)\\.cpt'\n", "  step_in: s.log\n", "restart.step_in"),
        ("checkpoint_every: 10m", "surprise: 1", "surprise"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_told_with_its_place(old: str, new: str, path: str) -> None:
    assert old in ARGUMENTS
    assert path in problems(ARGUMENTS.replace(old, new))


def test_an_interval_without_a_recipe_says_nothing() -> None:
    assert "checkpoint_every" in problems(BASE + "script: solve\ncheckpoint_every: 10m\n")
    assert "script" in problems(BASE + "script: solve {{ restart }}\n")


def test_a_script_that_continues_is_checked_as_the_other_is() -> None:
    text = BASE + "script: start\nrestart: {checkpoint: [c], script: 'echo \"{{ n }}\" {{ m }}'}\n"
    assert problems(text)["restart.script"] == "m is not a parameter"
    assert "where quoting does not protect it" in problems(text.replace(" {{ m }}", ""))["restart.script"]


def test_files_of_one_step_are_one_checkpoint_and_the_newest_comes_first() -> None:
    recipe = parse(ARGUMENTS.replace("'s.*.cpt'", "'s.*.cpt', grid")).restart
    assert recipe is not None
    found = recipe.generations(["s.9.cpt", "s.100.cpt", "grid"])
    assert found == [(100, ("grid", "s.100.cpt")), (9, ("grid", "s.9.cpt"))]
    assert recipe.generations([]) == []
    assert recipe.generations(["grid"]) == [], "what belongs to every step is no checkpoint by itself"


def test_where_no_path_tells_a_step_all_files_are_one_checkpoint() -> None:
    recipe = parse(ARGUMENTS.replace("  step: 's\\.(\\d+)\\.cpt'\n", "")).restart
    assert recipe is not None
    assert recipe.generations(["b", "a"]) == [(None, ("a", "b"))]
    assert recipe.generations([]) == []


def test_a_log_tells_the_step_by_its_last_word() -> None:
    text = ARGUMENTS.replace("  step: 's\\.(\\d+)\\.cpt'\n", "  step: 'at step (\\d+)'\n  step_in: s.log\n")
    recipe = parse(text).restart
    assert recipe is not None
    assert recipe.step_told("at step 3\nat step 17\nat ste") == 17
    assert recipe.step_told("nothing") is None
    assert recipe.generations(["s.1.cpt"]) == [(None, ("s.1.cpt",))]

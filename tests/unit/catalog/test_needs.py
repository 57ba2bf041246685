"""What a run needs, as a function of its parameters and inputs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegrid.catalog.document import Application, from_body, parse
from tidegrid.catalog.formula import FUNCTIONS, MAX_NUMBER, Formula, FormulaError
from tidegrid.catalog.needs import Inputs
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.job import Resources

DOCUMENT = """\
id: solve
title: {en: Solver}
params:
  type: object
  properties:
    atoms: {type: integer, default: 50000}
    steps: {type: integer, default: 1000}
    mesh: {type: object, properties: {cells: {type: array, items: {type: integer}}}, default: {cells: [8, 8, 4]}, additionalProperties: false}
    method: {enum: [fast, exact], default: fast}
    data: {type: boolean, default: false}
  additionalProperties: false
resources:
  cores: '= min(16, ceil(atoms / 20000))'
  memory: '= 200 + atoms / 1000 + input_bytes / 1048576 * 2'
  wall: '= 60 + steps * atoms / 1e6 / cores * (4 if method == "exact" else 1)'
  gpus: '= 1 if mesh.cells[0] * mesh.cells[1] * mesh["cells"][2] > 1000 else 0'
  min: {memory: '= 100 + atoms / 1000'}
  max: {cores: 64, memory: 4 GiB, wall: 1h}
script: solve {{ atoms }} {{ steps }} {{ mesh }} {{ method }}
"""


def app(**replaced: str) -> Application:
    text = DOCUMENT
    for old, new in replaced.items():
        text = text.replace(old, new)
    return parse(text)


def needs(params: dict[str, Any], inputs: Inputs = Inputs(), **asked: Any) -> Resources:
    a = app()
    return a.resources_for(a.validate(params), inputs, asked)


def test_what_is_needed_follows_from_the_parameters() -> None:
    assert needs({}) == Resources(cores=3, memory_mib=250, wall_s=77)
    assert needs({"atoms": 200_000}) == Resources(cores=10, memory_mib=400, wall_s=80)
    assert needs({"method": "exact"}).wall_s == 60 + 67
    assert needs({"mesh": {"cells": [20, 20, 20]}}).gpus == 1
    assert app().resources == Resources(cores=3, memory_mib=250, wall_s=77)


def test_and_from_the_inputs() -> None:
    assert needs({}, Inputs(bytes=300 << 20, files=2)).memory_mib == 250 + 600


def test_what_the_user_asks_for_takes_a_formulas_place_also_in_the_others() -> None:
    found = needs({}, cores=1, memory_mib=500)
    assert (found.cores, found.memory_mib, found.wall_s) == (1, 500, 60 + 50)


@pytest.mark.parametrize(
    ("params", "asked", "code", "problem"),
    [
        ({}, {"cores": 65}, "resources.over_limit", "cores 65 is above 64"),
        ({}, {"memory_mib": 149}, "resources.under_limit", "memory_mib 149 is below 150"),
        ({"atoms": 5_000_000}, {}, "resources.over_limit", "memory_mib 5200 is above 4096, by its formula"),
        ({"steps": 2_000_000}, {}, "resources.over_limit", "wall_s 33394 is above 3600, by its formula"),
    ],
)
def test_both_keep_the_limits(params: dict[str, Any], asked: dict[str, Any], code: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as e:
        needs(params, **asked)
    assert e.value.code == code and problem in e.value.details["problems"]


def test_a_formula_without_a_value_is_told_with_its_path() -> None:
    a = app(**{"= 200 + atoms / 1000": "= 10000000 / (atoms - 7)"})
    with pytest.raises(InvalidInput) as e:
        a.resources_for(a.validate({"atoms": 7}))
    assert e.value.code == "resources.formula"
    assert e.value.details["problems"] == [{"path": "resources.memory", "message": "a division by zero"}]
    assert a.resources_for(a.validate({"atoms": 7}), asked={"memory_mib": 512}).memory_mib == 512


def test_its_formulas_are_part_of_the_version_and_survive_the_store() -> None:
    a = app()
    assert from_body(a.body) == a
    assert app(**{"atoms / 20000": "atoms / 20001"}).version != a.version
    assert a.needs.describe()["memory_mib"] == "= 200 + atoms / 1000 + input_bytes / 1048576 * 2"


@pytest.mark.parametrize(
    ("old", "new", "path", "word"),
    [
        ("atoms / 20000", "atom / 20000", "resources.cores", "atom is not a parameter"),
        ("atoms / 20000", "memory / 20000", "resources.cores", "memory is known only after cores"),
        ("atoms / 20000", "atoms / ", "resources.cores", "no formula"),
        ("atoms / 20000", "atoms.__class__", "resources.cores", "with the defaults: there is no '__class__'"),
        ("atoms / 20000", "open(atoms)", "resources.cores", "open is no function"),
        ("= 100 + atoms / 1000", "= 1 / 0", "resources.min.memory", "a division by zero"),
        ("method: {enum", "cores: {type: integer}\n    method: {enum", "params.properties.cores", "means a resource"),
        ("max: {cores: 64", "max: {cores: 2", "resources", "cores 3 is above 2, by its formula"),
        ("memory: 4 GiB", "memory: lots", "resources.max.memory", "no amount"),
        ("wall: 1h}", "wall: 1h, exclusive: 3}", "resources.max.exclusive", ""),
        ("gpus: '= 1 if", "gpus: '1 if", "resources.gpus", ""),
    ],
)
def test_a_document_with_a_bad_formula_is_refused_with_the_path_to_it(old: str, new: str, path: str, word: str) -> None:
    assert old in DOCUMENT
    with pytest.raises(InvalidInput) as e:
        parse(DOCUMENT.replace(old, new))
    assert [p["path"] for p in e.value.details["problems"]] == [path]
    assert word in e.value.details["problems"][0]["message"]


def test_the_formulas_are_tried_with_the_tests_too() -> None:
    with pytest.raises(InvalidInput) as e:
        parse(DOCUMENT + "tests: [{params: {atoms: 9000000}}, {params: {}, resources: {cores: 99}}]\n")
    assert [p["path"] for p in e.value.details["problems"]] == ["resources", "tests[1].resources"]


FORBIDDEN = [
    "__import__('os').system('id')", "().__class__", "(lambda: 1)()", "[x for x in (1,)]", "x := 3", "f'{x}'", "x if", "1; 2", "a[b]",
    "a[0:1]", "min(*a)", "min(a, key=b)", "'a' * 9", "x in (1, 2)", "~x", "x << 3", "x @ x", "{}", "[1]", "...", "None", "1j", "b'a'",
    "1" * 40, "9" * 999 + "9", "(" * 300 + "1" + ")" * 300, "+".join("1" * 200), "await x", "x.y()", "min.x(1)", "\0", "print(1)",
]  # fmt: skip


@pytest.mark.parametrize("text", FORBIDDEN)
def test_nothing_but_arithmetic_is_a_formula(text: str) -> None:
    with pytest.raises(FormulaError):
        Formula(text).value({"x": 1, "a": [1], "b": 0})


@pytest.mark.parametrize("text", ["9 ** 99 ** 9", "1e30 * 10", "10 ** 31", "(-8) ** 0.5", "log(0)", "sqrt(-1)", "2 ** 101", "round(1e308 * 10)",
                                  "x + 'a'", "'a'", "x['b']", "a[7]", "a", "len(3)", "min()"])  # fmt: skip
def test_what_has_no_finite_value_is_told(text: str) -> None:
    with pytest.raises(FormulaError):
        Formula(text).value({"x": 1, "a": [1]})


_leaf = st.sampled_from(["x", "y", "1", "2.5", "1e9", "0"])
_terms = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "<", "=="]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
    ),
    max_leaves=12,
)


@given(_terms, st.integers(-(10**9), 10**9), st.floats(-1e9, 1e9))
def test_a_formula_has_a_bounded_value_or_says_why_not_and_always_the_same(text: str, x: int, y: float) -> None:
    def once() -> float | str:
        try:
            return Formula(text).value({"x": x, "y": y})
        except FormulaError as e:
            return str(e)

    found = once()
    assert once() == found
    if not isinstance(found, str):
        assert abs(found) <= MAX_NUMBER

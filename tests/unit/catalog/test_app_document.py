"""Application documents: what they hold, and how each fault in one is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegrid import apps
from tidegrid.catalog import acceptance
from tidegrid.catalog.document import AppTest, Expect, from_body, parse
from tidegrid.catalog.yamldoc import canonical
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.job import Resources

GOOD = """\
id: solve
title: {en: Solver, zh: 求解器}
params:
  type: object
  properties:
    n: {type: integer, minimum: 1, maximum: 100, default: 10}
    mode: {enum: [fast, exact], default: fast}
    tolerance: {type: number}
    extra: {type: object, properties: {deep: {type: string, default: d}}, default: {}, additionalProperties: false}
  if: {properties: {mode: {const: fast}}}
  then: {properties: {n: {maximum: 50}}}
  additionalProperties: false
ui: {n: {order: 1, label: {en: Size}}}
resources: {cores: 2, memory: 1 GiB, wall: 1h30m, max: {cores: 8, memory: 4 GiB}}
software: {command: {x86_64: solve, '*': solve-any}}
script: |
  {{ command }} -n {{ n }} {% if tolerance is defined %}-t {{ tolerance }} {% endif %}--mode {{ mode }}
outputs: ['*.json']
movable: false
progress: '(\\d+)%'
tests:
  - {params: {n: 3}, expect: [{file: r.json, path: $.a, max: 1}]}
"""


def problems(text: str, **kw: Any) -> list[tuple[int, str]]:
    with pytest.raises(InvalidInput) as e:
        parse(text, **kw)
    assert e.value.code == "document.invalid"
    assert e.value.status == 422
    return [(p["line"], p["path"]) for p in e.value.details["problems"]]


def test_a_document_becomes_an_application() -> None:
    app = parse(GOOD)
    assert app.resources == Resources(cores=2, memory_mib=1024, wall_s=5400)
    assert (app.limits.cores, app.limits.memory_mib, app.limits.wall_s) == (8, 4096, 0)
    assert app.software.command_for("x86_64") == "solve"
    assert app.software.command_for("riscv64") == "solve-any"
    assert app.title["zh"] == "求解器"
    assert app.movable is False and app.restartable is False
    assert app.short == app.version[:12]


def test_its_version_is_its_content() -> None:
    app = parse(GOOD)
    assert parse(GOOD + "\n# a remark\n").version == app.version
    assert parse(GOOD.replace("minimum: 1,", "minimum: 2,")).version != app.version
    assert from_body(json.loads(canonical(app.body))) == app


def test_a_files_content_is_part_of_the_version() -> None:
    text = GOOD + "files: [{path: a.py, package: a.py}]\n"
    one, two = (parse(text, files={"a.py": c * 64}) for c in "ab")
    assert one.version != two.version
    assert from_body(one.body).files == one.files
    assert problems(text) == [(23, "files[0].package")]


def test_defaults_come_before_validation() -> None:
    app = parse(GOOD)
    assert app.validate({}) == {"n": 10, "mode": "fast", "extra": {"deep": "d"}}
    with pytest.raises(InvalidInput):
        app.validate({"n": 60})  # the default mode allows 50 only: an absent mode does not slip past the rule
    assert app.validate({"n": 60, "mode": "exact"})["n"] == 60


def test_validation_leaves_what_it_was_given_alone() -> None:
    given: dict[str, Any] = {"extra": {}}
    parse(GOOD).validate(given)
    assert given == {"extra": {}}


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"n": 0}, "n"),
        ({"n": "ten"}, "n"),
        ({"n": 1 << 70}, "n"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"tolerance": None}, "tolerance"),
        ({"extra": {"deep": 1}}, "extra.deep"),
        ({"extra": {"other": 1}}, "extra.other"),
        ({"python": "sh"}, "python"),
        ({"mode": "slow"}, "mode"),
    ],
)
def test_a_wrong_parameter_is_named_by_its_path(params: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as e:
        parse(GOOD).validate(params)
    assert e.value.code == "params.invalid"
    assert path in [p["path"] for p in e.value.details["problems"]]


def test_all_wrong_parameters_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as e:
        parse(GOOD).validate({"n": 0, "mode": "slow", "tolerance": "x"})
    assert {p["path"] for p in e.value.details["problems"]} == {"n", "mode", "tolerance"}


def test_a_required_parameter_is_named_when_it_is_missing() -> None:
    app = next(a for a in apps.documents() if a.id == "command")
    with pytest.raises(InvalidInput) as e:
        app.validate({})
    assert e.value.details["problems"] == [{"path": "program", "message": "is required"}]


def test_optional_values_are_absent_or_there() -> None:
    app = parse(GOOD)
    assert app.render(app.validate({}), app.variables(arch="x86_64")).strip() == "solve -n 10 --mode fast"
    assert "-t 0.5 " in app.render(app.validate({"tolerance": 0.5}), app.variables())


def test_a_parameter_cannot_pose_as_the_platforms_own_variable() -> None:
    text = GOOD.replace("    n: {", "    python: {type: string}\n    n: {")
    assert (6, "params.properties.python") in problems(text)
    sneaky = GOOD.replace(
        "  additionalProperties: false\nui", "  patternProperties: {'^p': {}}\n  additionalProperties: false\nui"
    )
    app = parse(sneaky)
    assert app.render(app.validate({"python": "evil", "n": 1}), {"python": "p", "command": "c"}).startswith("c -n 1")


def test_the_embedded_variant_is_the_given_interpreter() -> None:
    app = next(a for a in apps.documents() if a.id == "md-lj")
    assert app.variables(python="/opt/py/bin/python") == {
        "python": "/opt/py/bin/python",
        "command": "/opt/py/bin/python",
    }
    script = app.render(app.validate({}), app.variables(python="/opt/my py/python"))
    assert script.startswith("exec '/opt/my py/python' md_lj.py --cells 5")


def test_a_command_is_where_the_cluster_says() -> None:
    app = parse(GOOD)
    assert not app.installed("x86_64", {"solve-any": "/opt/any"})
    assert app.installed("aarch64", {"solve-any": "/opt/any"})
    assert app.variables(arch="aarch64", software={"solve-any": "/opt/any"})["command"] == "/opt/any"
    assert next(a for a in apps.documents() if a.id == "md-lj").installed("x86_64", {})


def test_requests_above_the_limits_are_refused_with_all_of_them() -> None:
    with pytest.raises(InvalidInput) as e:
        parse(GOOD).resources_for({}, asked={"cores": 9, "memory_mib": 5000, "wall_s": 99999})
    assert e.value.code == "resources.over_limit"
    assert len(e.value.details["problems"]) == 2
    asked = {"cores": 8, "memory_mib": 4096}
    assert parse(GOOD).resources_for({}, asked=asked) == Resources(cores=8, memory_mib=4096, wall_s=5400)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("id: solve", "id: Solve It", (1, "id")),
        ("id: solve", 'id: "solve\\n"', (1, "id")),
        ("['*.json']", '["a\\n"]', (18, "outputs[0]")),
        ("id: solve", "id: solve\nid: again", (2, "id")),
        ("id: solve", "id: solve\ncolour: red", (2, "colour")),
        ("title: {en: Solver, zh: 求解器}\n", "", (1, "title")),
        ("minimum: 1,", "minimum: one,", (6, "params.properties.n.minimum")),
        ("default: 10}", "default: 10, $ref: 'http://example.org/x'}", (6, "params.properties.n.$ref")),
        ("ui: {n:", "ui: {m:", (13, "ui.m")),
        ("memory: 1 GiB", "memory: lots", (14, "resources.memory")),
        ("cores: 2,", "cores: 9,", (14, "resources")),
        ("{{ n }}", "{{ m }}", (16, "script")),
        ("{{ n }}", "{{ n.__class__ }}", (16, "script")),
        ("{{ n }}", "{{ n", (16, "script")),
        ("-n {{ n }}", "-n '{{ n }}'", (16, "script")),
        ("software: {command: {x86_64: solve, '*': solve-any}}\n", "", (15, "script")),
        ("['*.json']", "['../x']", (18, "outputs[0]")),
        ("['*.json']", "['/etc/passwd']", (18, "outputs[0]")),
        ("(\\\\d+)%", "(", (20, "progress")),
        ("{n: 3}", "{n: 300}", (22, "tests[0].params")),
        ("path: $.a", "path: $..a", (22, "tests[0].expect[0].path")),
        ("id: solve", "id: !!python/object/apply:os.system [ls]", (1, "id")),
        ("id: solve", "id: ]", (1, "")),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line_and_path(old: str, new: str, where: tuple[int, str]) -> None:
    old = old.replace("\\\\", "\\")
    assert old in GOOD
    assert where in problems(GOOD.replace(old, new))


def test_several_faults_are_told_together() -> None:
    found = problems(GOOD.replace("id: solve", "id: Solve").replace("cores: 2", "cores: two"))
    assert {p for _, p in found} == {"id", "resources.cores"}


@pytest.mark.parametrize("text", ["", "- a", "a: &a [*a]", "x: &a [1]\ny: &b [*a,*a]", "{" * 2000, "a" * 5_000_000])
def test_what_is_no_document_is_an_error_and_no_crash(text: str) -> None:
    assert problems(text)


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert problems("\n".join(lines))


def test_packaged_documents_are_good_and_named_as_their_files() -> None:
    names = [name.removesuffix(".yaml") for name, _ in apps.texts()]
    assert names == [a.id for a in apps.documents()]
    assert {"command", "gromacs-water", "lammps-melt", "md-lj", "script", "summarise"} < set(names)
    for a in apps.documents():
        assert set(a.title) == {"en", "zh"}
        assert all(f.sha256 == apps.sha256(f.package) for f in a.files)


def test_acceptance_names_what_is_not_as_expected() -> None:
    files = {"r.json": '{"a": [{"b": 2.5}], "ok": true, "nan": null}'}
    test = AppTest("t", {}, (Expect("r.json", "$.a[0].b", min=1, max=3), Expect("r.json", "$.ok", equals=True)))
    assert acceptance.check(test, 0, files.get) == []
    assert len(acceptance.check(test, 1, files.get)) == 1
    for bad in (
        Expect("r.json", "$.a[0].b", max=2),
        Expect("r.json", "$.a[0].b", min=3),
        Expect("r.json", "$.a[1].b", max=3),
        Expect("r.json", "$.nan", max=3),
        Expect("r.json", "$.ok", max=3),
        Expect("r.json", "$.ok", equals=False),
        Expect("gone.json"),
    ):
        assert len(acceptance.check(AppTest("t", {}, (bad,)), 0, files.get)) == 1

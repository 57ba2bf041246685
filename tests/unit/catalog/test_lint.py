"""What is said of a document without running it: fields that depend on each other, hints of the form, texts, progress."""

from __future__ import annotations

from typing import Any

import pytest

from tidegrid import apps
from tidegrid.catalog.document import from_body, parse
from tidegrid.catalog.lint import lint
from tidegrid.catalog.progress import Progress, read
from tidegrid.domain.errors import InvalidInput

DOCUMENT = """\
id: solve
title: {en: Solver, zh: 求解器}
summary: {en: Solves, zh: 求解}
params:
  type: object
  properties:
    mode: {enum: [fast, exact], default: fast}
    tolerance: {type: number, minimum: 0}
    restart: {type: string}
  additionalProperties: false
  if: {properties: {mode: {const: exact}}, required: [mode]}
  then: {required: [tolerance]}
ui:
  mode: {order: 1, widget: select, label: {en: Mode, zh: 模式}, choices: {fast: {en: Fast, zh: 快}, exact: {en: Exact, zh: 准}}}
  tolerance: {order: 2, widget: number, label: {en: Tolerance, zh: 容差}, help: {en: Of the residual, zh: 残差}, show_if: {mode: exact}}
script: solve --mode {{ mode }} {% if tolerance is defined %}{{ tolerance }}{% endif %}

progress: 'step (\\d+)/(\\d+)'
outputs: [r.json]
tests: [{params: {mode: exact, tolerance: 0.1}, expect: [{file: r.json, path: $.a, max: 1}]}]
""".replace("    restart: {type: string}\n", "    note: {type: string}\n").replace(
    "script:", "  note: {order: 3, widget: text, label: {en: Note, zh: 备注}}\nscript:", 1
)


def faults(text: str) -> list[tuple[str, str]]:
    found = lint(text)
    assert (found.application is None) == bool(found.problems)
    return [(p.path, p.message) for p in found.problems]


def test_a_good_document_has_neither_problems_nor_notes() -> None:
    found = lint(DOCUMENT)
    assert (found.problems, found.notes) == ((), ())
    assert found.application == parse(DOCUMENT)


def test_a_field_that_depends_on_another_is_asked_for_only_then() -> None:
    app = parse(DOCUMENT)
    assert app.validate({}) == {"mode": "fast"}
    with pytest.raises(InvalidInput) as e:
        app.validate({"mode": "exact"})
    assert e.value.details["problems"] == [{"path": "tolerance", "message": "is required"}]
    dependent = parse(DOCUMENT.replace("  then: {required: [tolerance]}", "  then: {}\n  dependentRequired: {note: [tolerance]}"))
    assert dependent.validate({"mode": "exact"})
    with pytest.raises(InvalidInput, match="tolerance"):
        dependent.validate({"note": "why"})


@pytest.mark.parametrize(
    ("old", "new", "path", "word"),
    [
        ("show_if: {mode: exact}", "show_if: {mode: exakt}", "ui.tolerance.show_if.mode", "mode is never 'exakt'"),
        ("show_if: {mode: exact}", "show_if: {mode: [exact, 3]}", "ui.tolerance.show_if.mode", "mode is never 3"),
        ("show_if: {mode: exact}", "show_if: {mood: exact}", "ui.tolerance.show_if.mood", "not a parameter"),
        ("show_if: {mode: exact}", "show_if: {tolerance: 1}", "ui.tolerance.show_if.tolerance", "the field itself"),
        ("show_if: {mode: exact}", "show_if: {}", "ui.tolerance.show_if", ""),
        ("order: 2", "order: 1", "ui.tolerance.order", "mode has the same"),
        ("widget: number", "widget: checkbox", "ui.tolerance.widget", "checkbox cannot edit number"),
        ("widget: text", "widget: select", "ui.note.widget", "enum"),
        ("exact: {en: Exact", "precise: {en: Exact", "ui.mode.choices.precise", "no value"),
        ("label: {en: Mode", "label: {de: Modus, en: Mode", "ui.mode.label.de", ""),
        ("help: {en: Of the residual", "help: {en: 3", "ui.tolerance.help.en", ""),
        ("then: {required", "then: {properties: {tolerance: {type: number, default: 1}}, required",
         "params.then.properties.tolerance.default", "never applied"),
        ("progress: 'step (\\d+)/(\\d+)'", "progress_in: log", "progress_in", "no progress"),
        ("progress: 'step (\\d+)/(\\d+)'", "progress: 'step (\\d+)'\nprogress_of: note", "progress_of", "no number"),
    ],
)  # fmt: skip
def test_a_fault_in_the_form_is_refused_with_the_path_to_it(old: str, new: str, path: str, word: str) -> None:
    assert old in DOCUMENT
    ((where, message),) = faults(DOCUMENT.replace(old, new, 1))
    assert where == path and word in message


def test_a_field_that_may_be_hidden_is_not_always_required() -> None:
    text = DOCUMENT.replace("  additionalProperties: false\n", "  additionalProperties: false\n  required: [tolerance]\n", 1)
    assert ("ui.tolerance.show_if", "may be hidden, although it is always required: require it in if/then or dependentRequired") in faults(text)


def test_all_faults_are_told_at_once_with_their_lines() -> None:
    text = DOCUMENT.replace("order: 2", "order: 1").replace("{mode: exact}}\n  note", "{mode: x}}\n  note").replace("exact: {en", "x: {en")
    assert [(p.line, p.path) for p in lint(text).problems] == [
        (14, "ui.mode.choices.x"), (15, "ui.tolerance.order"), (15, "ui.tolerance.show_if.mode")]  # fmt: skip


def test_what_was_accepted_before_is_not_refused_out_of_the_store() -> None:
    """A later release asks for more form; documents that jobs have pinned stay what they are."""
    body = dict(parse(DOCUMENT).body)
    body["ui"] = {**body["ui"], "note": {"widget": "checkbox", "order": 1}}
    assert from_body(body).ui["note"]["widget"] == "checkbox"


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (", zh: 求解器", "", "title"), (", zh: 容差", "", "ui.tolerance.label"), (", zh: 快", "", "ui.mode.choices.fast"),
        ("summary: {en: Solves, zh: 求解}\n", "", "id"), ("label: {en: Note, zh: 备注}", "unit: m", "params.properties.note"),
        (", max: 1", "", "tests"),
    ],
)  # fmt: skip
def test_what_is_missing_to_be_good_is_a_note(old: str, new: str, path: str) -> None:
    assert old in DOCUMENT
    found = lint(DOCUMENT.replace(old, new, 1))
    assert found.problems == () and [p.path for p in found.notes] == [path]


MADE_BY_A_VERB = {"sbatch.yaml"}  # nobody fills in its form, and `tide sbatch` has tests of its own


def test_the_documents_that_come_with_the_program_have_no_notes_but_one_test_each_at_least() -> None:
    hashes = {name: apps.sha256(name) for name in apps.files()}
    for name, text in apps.texts():
        found = lint(text, files=hashes)
        assert found.problems == () and found.application is not None, name
        if name not in MADE_BY_A_VERB:
            assert found.notes == () and found.application.tests, name


@pytest.mark.parametrize(
    ("pattern", "text", "of", "found"),
    [
        (r"step (\d+)/(\d+)", "step 1/8\nstep 2/8\n", None, Progress(25.0, 2, 8)),
        (r"(\d+(?:\.\d+)?) %", "12.5 %\r99.95 %", None, Progress(100.0)),
        (r"(?m)^Time = (\S+)$", "Time = 0.5\nTime = 1e0\n", 4, Progress(25.0, 1, 4)),
        (r"step (\d+)/(\d+)", "step 9/0", None, None),
        (r"(\S+) done", "all done", None, None),
        (r"step (\d+)/(\d+)", "step 9/3", None, Progress(100.0, 9, 3)),
        (r"step (\d+)/(\d+)", "", None, None),
    ],
)
def test_progress_is_the_last_thing_an_application_says(pattern: str, text: str, of: Any, found: Progress | None) -> None:
    assert read(pattern, text, of) == found

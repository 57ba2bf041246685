"""Everything that can be said of a document without running it: what is wrong with it, and what is missing to be good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegrid.catalog.document import Application, parse
from tidegrid.catalog.yamldoc import Path, Problem, load
from tidegrid.domain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Findings:
    """problems: it is refused for them; notes: it is accepted all the same; application: None where there are problems."""

    application: Application | None
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]


def lint(text: str, *, files: Mapping[str, str] | None = None) -> Findings:
    """text and files as `document.parse` takes them. Raises nothing for a bad document."""
    try:
        application = parse(text, files=files)
    except InvalidInput as e:
        found = tuple(Problem(p["line"], p["column"], p["path"], p["message"]) for p in e.details["problems"])
        return Findings(None, found, ())
    return Findings(application, (), tuple(sorted(_notes(text))))


def _notes(text: str) -> list[Problem]:
    doc = load(text)
    body: Mapping[str, Any] = doc.value
    found = []

    def note(path: Path, message: str) -> None:
        found.append(doc.problem(path, message, key=True))

    if "summary" not in body:
        note(("id",), "there is no summary")
    for name in body["params"].get("properties", {}):
        if "label" not in body.get("ui", {}).get(name, {}):
            note(("params", "properties", name), "has no label for the form (ui)")
    for path, texts in _texts(body):
        if "zh" not in texts:
            note(path, "has no Chinese text (zh)")
    tests = body.get("tests", ())
    if not tests:
        note(("id",), "there is no acceptance test")
    checks = (e for t in tests for e in t.get("expect", ()))
    if tests and body.get("outputs") and not any({"min", "max", "equals"} & set(e) for e in checks):
        note(("tests",), "no test checks a value of a result")
    return found


def _texts(body: Mapping[str, Any]) -> list[tuple[Path, Mapping[str, str]]]:
    out: list[tuple[Path, Mapping[str, str]]] = [((k,), body[k]) for k in ("title", "summary") if k in body]
    for name, hint in body.get("ui", {}).items():
        out += [(("ui", name, k), hint[k]) for k in ("label", "help", "group") if k in hint]
        out += [(("ui", name, "choices", c), texts) for c, texts in hint.get("choices", {}).items()]
    return out

"""Hints for the form of an application, checked against its parameters.

    ui:
      mode:
        order: 1
        label: {en: Method, zh: 方法}
        help: {en: How exactly it is computed., zh: 计算精度}
        group: {en: Numerics, zh: 数值}
        widget: select                                       # text, textarea, script, number, select, checkbox, file, list
        choices: {fast: {en: Fast, zh: 快速}, exact: {en: Exact}}   # names of an enum's values
      tolerance: {order: 2, unit: eV, show_if: {mode: exact}}   # shown where `mode` has this value, or one of a list

`show_if` is for the eye only: what must hold is said by the schema (`if`/`then`, `dependentRequired`). So that neither contradicts
the other, a field that may be hidden is not one that is always required.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegrid.catalog import params as _params
from tidegrid.catalog.yamldoc import Doc, Path, Problem

# What a widget can edit; a schema without a type may be anything.
_FITS: dict[str, frozenset[str]] = {
    "text": frozenset({"string", "integer", "number"}),
    "textarea": frozenset({"string"}),
    "script": frozenset({"string"}),
    "number": frozenset({"integer", "number"}),
    "checkbox": frozenset({"boolean"}),
    "file": frozenset({"string"}),
    "list": frozenset({"array"}),
}


def check(doc: Doc, body: Mapping[str, Any], problems: list[Problem]) -> None:
    """Contradictions between `ui` and `params` join `problems`; that a name is a parameter at all is checked elsewhere."""
    schema = body["params"]
    properties: Mapping[str, Any] = schema.get("properties", {})
    seen: dict[int, str] = {}
    for name, hint in body.get("ui", {}).items():
        if name not in properties:
            continue
        order = hint.get("order")
        if order is not None and order in seen:
            problems.append(doc.problem(("ui", name, "order"), f"{seen[order]} has the same"))
        elif order is not None:
            seen[order] = name
        _widget(doc, name, hint, properties[name], problems)
        _choices(doc, name, hint, properties[name], problems)
        _show_if(doc, name, hint, schema, problems)
    _lost_defaults(doc, schema, ("params",), False, problems)


def choices_of(schema: Mapping[str, Any]) -> list[Any]:
    """The values an enum allows; empty where it is none."""
    return list(schema["enum"]) if isinstance(schema.get("enum"), list) else [schema["const"]] if "const" in schema else []


def _types(schema: Mapping[str, Any]) -> set[str]:
    kind = schema.get("type")
    return {kind} if isinstance(kind, str) else {k for k in kind if isinstance(k, str)} if isinstance(kind, list) else set()


def _widget(doc: Doc, name: str, hint: Mapping[str, Any], schema: Mapping[str, Any], problems: list[Problem]) -> None:
    widget, kinds = hint.get("widget"), _types(schema)
    if widget == "select":
        if not choices_of(schema):
            problems.append(doc.problem(("ui", name, "widget"), "select needs a parameter with an enum"))
    elif widget is not None and kinds and not kinds & _FITS[widget]:
        problems.append(doc.problem(("ui", name, "widget"), f"{widget} cannot edit {' or '.join(sorted(kinds))}"))


def _choices(doc: Doc, name: str, hint: Mapping[str, Any], schema: Mapping[str, Any], problems: list[Problem]) -> None:
    allowed = {v if isinstance(v, str) else str(v).lower() if isinstance(v, bool) else str(v) for v in choices_of(schema)}
    for choice in hint.get("choices", {}):
        if choice not in allowed:
            problems.append(doc.problem(("ui", name, "choices", choice), "is no value of the parameter's enum", key=True))


def _show_if(doc: Doc, name: str, hint: Mapping[str, Any], schema: Mapping[str, Any], problems: list[Problem]) -> None:
    if "show_if" not in hint:
        return
    properties = schema.get("properties", {})
    at: Path = ("ui", name, "show_if")
    for other, wanted in hint["show_if"].items():
        if other == name or other not in properties:
            what = "is the field itself" if other == name else "is not a parameter"
            problems.append(doc.problem((*at, other), what, key=True))
            continue
        for value in wanted if isinstance(wanted, list) else [wanted]:
            inner = {**properties[other], "$defs": schema.get("$defs", {})}
            if not _params.validator(inner).is_valid(value):
                problems.append(doc.problem((*at, other), f"{other} is never {value!r}"))
    if name in schema.get("required", ()) and "default" not in properties[name]:
        text = "may be hidden, although it is always required: require it in if/then or dependentRequired"
        problems.append(doc.problem(at, text))


def _lost_defaults(doc: Doc, schema: Any, path: Path, lost: bool, problems: list[Problem]) -> None:
    """Defaults where none is applied: whether such a part holds is known only after defaults were."""
    if isinstance(schema, list):
        for i, inner in enumerate(schema):
            _lost_defaults(doc, inner, (*path, i), lost, problems)
        return
    if not isinstance(schema, Mapping):
        return
    if lost and "default" in schema and ("type" in schema or len(schema) == 1):
        problems.append(doc.problem((*path, "default"), "a default under if, then, else, anyOf or oneOf is never applied", key=True))
    for key, inner in schema.items():
        if key in ("default", "const", "enum", "examples"):
            continue
        if key == "properties" and isinstance(inner, Mapping):
            for name, one in inner.items():
                _lost_defaults(doc, one, (*path, key, name), lost, problems)
            continue
        _lost_defaults(doc, inner, (*path, key), lost or key in ("if", "then", "else", "anyOf", "oneOf", "not"), problems)

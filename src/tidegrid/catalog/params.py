"""Parameters against a JSON Schema 2020-12: defaults first, then validation, every problem with its JSON path."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator
from referencing import Registry

from tidegrid.catalog import shellscan
from tidegrid.catalog.yamldoc import canonical, show_path
from tidegrid.domain.errors import InvalidInput

MAX_PARAMS = 2 * 1024 * 1024  # characters of canonical JSON
MAX_INT = 1 << 63
_MAX_REFS = 50


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """A validator that fetches nothing: a reference leads into the schema itself or nowhere."""
    return Draft202012Validator(dict(schema), registry=Registry())


def schema_problems(schema: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a schema as such: (path in it, message)."""
    found = [
        (tuple(e.absolute_path), e.message)
        for e in Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(dict(schema))
    ]
    _references(schema, (), schema, found)
    return found


def with_defaults(schema: Mapping[str, Any], params: Any) -> Any:
    """A copy of `params` with the schema's defaults for what is absent, also below given objects and lists.

    Defaults under `if`, `then`, `else`, `anyOf` and `oneOf` do not count: whether those apply is known only afterwards.
    """
    return _fill(schema, copy.deepcopy(params), schema, 0)


def validate(schema: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """`params` with defaults applied. InvalidInput (params.invalid) with `details.problems` [{path, message}] else."""
    if not isinstance(params, Mapping):
        raise _invalid([("", "parameters are an object")])
    odd = [(show_path(path), message) for path, message in _odd(dict(params), ())]
    if odd:
        raise _invalid(odd)
    if len(canonical(params)) > MAX_PARAMS:
        raise _invalid([("", f"longer than {MAX_PARAMS} characters of JSON")])
    full = with_defaults(schema, dict(params))
    found = sorted(
        {(show_path(where(e)), message(e)) for e in validator(schema).iter_errors(full)},
    )
    if found:
        raise _invalid(found)
    return dict(full)


def _invalid(problems: list[tuple[str, str]]) -> InvalidInput:
    first = "; ".join(f"{path or 'parameters'}: {message}" for path, message in problems[:5])
    return InvalidInput(
        "params.invalid",
        f"parameters do not fit the application: {first}",
        hint="`tide apps show` prints what it takes",
        details={"problems": [{"path": p, "message": m} for p, m in problems]},
    )


def where(e: jsonschema.ValidationError) -> tuple[str | int, ...]:
    path = tuple(e.absolute_path)
    if e.validator == "required" and isinstance(e.instance, Mapping):
        required: Any = e.validator_value
        missing = [n for n in required if n not in e.instance and repr(n) in e.message]
        return (*path, *missing[:1])
    if e.validator == "additionalProperties" and isinstance(e.instance, Mapping) and e.validator_value is False:
        known = set(e.schema.get("properties", {})) if isinstance(e.schema, Mapping) else set()
        return (*path, *sorted(str(n) for n in e.instance if n not in known)[:1])
    return path


def message(e: jsonschema.ValidationError) -> str:
    if e.validator == "required":
        return "is required"
    if e.validator == "additionalProperties" and e.validator_value is False:
        return "is not a parameter" if not e.absolute_path else e.message[:300]
    return e.message if len(e.message) <= 300 else e.message[:300] + "…"


def _odd(value: Any, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], str]]:
    """What JSON or a shell script cannot hold."""
    if len(path) > 30:
        return [(path[:3], "nested too deeply")]
    if isinstance(value, str):
        return _odd_text(value, path)
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int):
        return [] if -MAX_INT <= value < MAX_INT else [(path, "the number is too large")]
    if isinstance(value, float):
        return [] if math.isfinite(value) else [(path, "is not a finite number")]
    if isinstance(value, Mapping):
        inner = [x for k, v in value.items() for x in _odd(v, (*path, str(k)))]
        return inner + [x for k in value for x in (_odd_text(k, path) if isinstance(k, str) else [(path, "bad key")])]
    if isinstance(value, list | tuple):
        return [x for i, v in enumerate(value) for x in _odd(v, (*path, i))]
    return [(path, f"{type(value).__name__} is no JSON value")]


def _odd_text(text: str, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], str]]:
    if "\0" in text or any(m in text for m in shellscan.MARKS):
        return [(path, "holds a character that no script can hold")]
    try:
        text.encode()
    except UnicodeEncodeError:
        return [(path, "is not Unicode text (a lone surrogate)")]
    return []


def _resolve(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    while isinstance(schema, Mapping) and "$ref" in schema and depth < _MAX_REFS:
        depth += 1
        target: Any = root
        for step in str(schema["$ref"]).removeprefix("#").split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            target = target.get(step) if isinstance(target, Mapping) else None
        schema = target
    return schema


def _fill(schema: Any, value: Any, root: Mapping[str, Any], depth: int) -> Any:
    schema = _resolve(schema, root, depth)
    if not isinstance(schema, Mapping) or depth > _MAX_REFS:
        return value
    if isinstance(value, dict):
        for name, inner in (schema.get("properties") or {}).items():
            plain = _resolve(inner, root, depth)
            if name not in value and isinstance(plain, Mapping) and "default" in plain:
                value[name] = copy.deepcopy(plain["default"])
            if name in value:
                value[name] = _fill(inner, value[name], root, depth + 1)
    if isinstance(value, list) and "items" in schema:
        value = [_fill(schema["items"], v, root, depth + 1) for v in value]
    for inner in schema.get("allOf") or ():
        value = _fill(inner, value, root, depth + 1)
    return value


def _references(
    node: Any, path: tuple[str | int, ...], root: Mapping[str, Any], found: list[tuple[tuple[str | int, ...], str]]
) -> None:
    if isinstance(node, Mapping):
        for key, inner in node.items():
            if key in ("$ref", "$dynamicRef") and isinstance(inner, str):
                if not inner.startswith("#/") or _resolve({"$ref": inner}, root, 0) is None:
                    found.append(
                        ((*path, key), f"{inner!r} leads nowhere: only references of the form #/… are followed")
                    )
            elif key in ("$id", "$schema") and path:
                found.append(((*path, key), f"{key} is not allowed below the top"))
            elif key not in ("default", "const", "enum", "examples"):
                _references(inner, (*path, str(key)), root, found)
    elif isinstance(node, list):
        for i, inner in enumerate(node):
            _references(inner, (*path, i), root, found)

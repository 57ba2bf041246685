"""The schema of an application document itself (JSON Schema 2020-12).

Its patterns are Python's: they end in \\Z, for `$` would let a line break follow.
"""

from __future__ import annotations

from typing import Any

NAME = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\Z"
_RELATIVE = r"^(?!/)(?!\.\.(?:/|$))(?!.*/\.\.(?:/|$))[^\x00-\x1f]{1,300}\Z"

_TEXTS: dict[str, Any] = {
    "type": "object",
    "properties": {"en": {"type": "string", "minLength": 1}, "zh": {"type": "string", "minLength": 1}},
    "required": ["en"],
    "additionalProperties": False,
}
_AMOUNT: dict[str, Any] = {"type": ["integer", "string"]}


def _count(least: int, most: int) -> dict[str, Any]:
    """A whole number, or a formula."""
    return {"type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": r"^\s*="}


_LIMITS: dict[str, Any] = {
    "cores": _count(1, 1_000_000),
    "memory": _AMOUNT,
    "gpus": _count(0, 1_000_000),
    "wall": _AMOUNT,
    "nodes": _count(1, 100_000),
    "ranks": _count(1, 100_000),
}
_RESOURCES: dict[str, Any] = {
    **_LIMITS,
    "gpu_type": {"type": "string", "maxLength": 64},
    "exclusive": {"type": "boolean"},
}
_PATHS: dict[str, Any] = {"type": "array", "items": {"type": "string", "pattern": _RELATIVE}, "maxItems": 1000}
_PROGRAM: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 300, "pattern": r"^[^\x00-\x1f]+\Z"}
_VARIANT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "command": _PROGRAM,
        "module": _PROGRAM,
        "apptainer": _PROGRAM,
        "spack": _PROGRAM,
        "arch": {"type": "array", "minItems": 1, "maxItems": 20, "items": {"type": "string", "minLength": 1}},
    },
    "additionalProperties": False,
}
_RESTART: dict[str, Any] = {
    "type": "object",
    "properties": {
        "checkpoint": {**_PATHS, "minItems": 1, "maxItems": 100},
        "with": {**_PATHS, "maxItems": 100},
        "atomic": {"type": "boolean"},
        "step": {"type": "string", "minLength": 1, "maxLength": 300},
        "step_in": {"type": "string", "pattern": _RELATIVE},
        "arguments": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"type": "string", "maxLength": 1000}},
        "script": {"type": "string", "minLength": 1},
    },
    "required": ["checkpoint"],
    "additionalProperties": False,
}
_TEST_RESOURCES: dict[str, Any] = {
    k: {"type": "integer", "minimum": v["minimum"], "maximum": v["maximum"]} if "minimum" in v else v
    for k, v in _LIMITS.items()
}
_NUMBER_OR_NOT: dict[str, Any] = {"type": "number"}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": NAME},
        "title": _TEXTS,
        "summary": _TEXTS,
        "params": {
            "type": "object",
            "properties": {
                "type": {"const": "object"},
                "properties": {
                    "type": "object",
                    "propertyNames": {"pattern": r"^[a-z][a-z0-9_]{0,63}\Z"},
                    "additionalProperties": {"type": "object"},
                },
                "additionalProperties": {"const": False},
            },
            "required": ["type", "additionalProperties"],
        },
        "ui": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "order": {"type": "integer"},
                    "widget": {"enum": ["text", "textarea", "script", "number", "select", "checkbox", "file", "list"]},
                    "label": _TEXTS,
                    "help": _TEXTS,
                    "unit": {"type": "string", "maxLength": 32},
                    "group": _TEXTS,
                    "choices": {"type": "object", "maxProperties": 1000, "additionalProperties": _TEXTS},
                    "show_if": {"type": "object", "minProperties": 1, "maxProperties": 20},
                },
                "additionalProperties": False,
            },
        },
        "resources": {
            "type": "object",
            "properties": {
                **_RESOURCES,
                "min": {"type": "object", "properties": _LIMITS, "additionalProperties": False},
                "max": {"type": "object", "properties": _RESOURCES, "additionalProperties": False},
            },
            "additionalProperties": False,
        },
        "software": {
            "type": "object",
            "properties": {
                "command": {
                    "anyOf": [
                        {"type": "string", "minLength": 1, "maxLength": 300},
                        {
                            "type": "object",
                            "minProperties": 1,
                            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 300},
                        },
                    ]
                },
                "variants": {"type": "array", "minItems": 1, "maxItems": 50, "items": _VARIANT},
                "embedded": {"enum": ["python"]},
            },
            "additionalProperties": False,
        },
        "files": {
            "type": "array",
            "maxItems": 100,
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "pattern": _RELATIVE},
                    "package": {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,100}\Z"},
                    "sha256": {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"},
                },
                "required": ["path", "package"],
                "additionalProperties": False,
            },
        },
        "licences": {
            "type": "object", "maxProperties": 20, "propertyNames": {"pattern": NAME},
            "additionalProperties": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
        },
        "work": {"enum": ["batch", "interactive", "may_wait", "training"]},
        "inputs": _PATHS,
        "outputs": _PATHS,
        "script": {"type": "string", "minLength": 1},
        "movable": {"type": "boolean"},
        "restartable": {"type": "boolean"},
        "restart": _RESTART,
        "checkpoint_every": _AMOUNT,
        "progress": {"type": "string", "maxLength": 300},
        "progress_in": {"type": "string", "pattern": _RELATIVE},
        "progress_of": {"type": "string", "minLength": 1, "maxLength": 64},
        "tests": {
            "type": "array",
            "maxItems": 100,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 100},
                    "params": {"type": "object"},
                    "resources": {"type": "object", "properties": _TEST_RESOURCES, "additionalProperties": False},
                    "array": {"type": "string", "pattern": r"^[0-9][0-9,:-]*\Z", "maxLength": 200},
                    "inputs": {
                        "type": "object",
                        "maxProperties": 50,
                        "propertyNames": {"pattern": _RELATIVE},
                        "additionalProperties": {"type": "string", "maxLength": 65_536},
                    },
                    "exit": {"type": "integer", "minimum": 0, "maximum": 255},
                    "expect": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "file": {"type": "string", "pattern": _RELATIVE},
                                "path": {"type": "string", "pattern": r"^\$(?:\.[A-Za-z_][A-Za-z0-9_]*|\[\d+\])*\Z"},
                                "min": _NUMBER_OR_NOT,
                                "max": _NUMBER_OR_NOT,
                                "equals": True,
                            },
                            "required": ["file"],
                            "additionalProperties": False,
                        },
                    },
                },
                "additionalProperties": False,
            },
        },
    },
    "required": ["id", "title", "params", "script"],
    "additionalProperties": False,
}

"""Arithmetic over parameters, as documents write it for resources: `= 200 + 0.5 * cells ** 3`.

Numbers, names, `name.part` and `name[0]` of mappings and lists, + - * / // % **, comparisons, and/or/not, `a if c else b`, and
the functions of `FUNCTIONS`. Nothing else of the language is there: no assignments, loops, attributes of objects, texts other
than in comparisons. Deterministic, and bounded: by the formula's length, by its number of parts, and by the size of every
number in between.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

MAX_TEXT = 1000
MAX_PARTS = 200
MAX_NUMBER = 1e30


class FormulaError(ValueError):
    """What is wrong with a formula, or with the values it was given."""


def _length(value: Any) -> int:
    if not isinstance(value, str | list | tuple | Mapping):
        raise FormulaError("len is for lists, mappings and texts")
    return len(value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min, "max": max, "abs": abs, "round": round, "ceil": math.ceil, "floor": math.floor, "sqrt": math.sqrt,
    "log": math.log, "log2": math.log2, "len": _length,
}  # fmt: skip
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: _power(a, b),
}
_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: _number(a) < _number(b),
    ast.LtE: lambda a, b: _number(a) <= _number(b),
    ast.Gt: lambda a, b: _number(a) > _number(b),
    ast.GtE: lambda a, b: _number(a) >= _number(b),
}


class Formula:
    """A checked formula. names: what it reads from outside."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise FormulaError(f"longer than {MAX_TEXT} characters")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
            parts = list(ast.walk(self._tree))
        except SyntaxError as e:
            raise FormulaError(f"no formula: {e.msg}") from None
        except (ValueError, RecursionError, MemoryError):
            raise FormulaError("no formula: nested too deeply, or a character that no formula has") from None
        if len(parts) > MAX_PARTS:
            raise FormulaError(f"more than {MAX_PARTS} parts")
        self.text = text.strip()
        called = {id(node.func) for node in parts if isinstance(node, ast.Call)}
        for node in parts:
            _check(node)
        self.names = frozenset(n.id for n in parts if isinstance(n, ast.Name) and id(n) not in called)

    def value(self, values: Mapping[str, Any]) -> float:
        """A finite number. FormulaError where a name is missing, a value is no number, or a result is none."""
        try:
            found: float = _number(_evaluate(self._tree, values))
            return found
        except FormulaError:
            raise
        except ZeroDivisionError:
            raise FormulaError("a division by zero") from None
        except (ArithmeticError, TypeError, ValueError, LookupError, RecursionError) as e:
            raise FormulaError(str(e)) from None


@lru_cache(maxsize=1024)
def compiled(text: str) -> Formula:
    return Formula(text)


_PLAIN = (ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp,
          ast.Call, ast.Load, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)  # fmt: skip


def _check(node: ast.AST) -> None:
    if not isinstance(node, _PLAIN):
        raise FormulaError(f"{type(node).__name__.lower()} is not allowed in a formula")
    if isinstance(node, ast.Constant) and not isinstance(node.value, bool | int | float | str):
        raise FormulaError(f"{node.value!r} is not allowed in a formula")
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        _number(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) not in _ARITHMETIC:
        raise FormulaError(f"{type(node.op).__name__.lower()} is not allowed in a formula")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        raise FormulaError("~ is not allowed in a formula")
    if isinstance(node, ast.Compare) and any(type(op) not in _COMPARISONS for op in node.ops):
        raise FormulaError("in and is are not allowed in a formula")
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            raise FormulaError(f"{ast.unparse(node.func)[:40]} is no function (known: {', '.join(sorted(FUNCTIONS))})")
        if node.keywords:
            raise FormulaError("a function takes no named values")
    if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Constant):
        raise FormulaError("only [0] and ['name'] are allowed between brackets")


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        if node.id not in values:
            raise FormulaError(f"{node.id} has no value")
        return values[node.id]
    if isinstance(node, ast.Attribute):
        return _part(_evaluate(node.value, values), node.attr)
    if isinstance(node, ast.Subscript):
        key: Any = node.slice.value if isinstance(node.slice, ast.Constant) else None
        return _part(_evaluate(node.value, values), key)
    if isinstance(node, ast.UnaryOp):
        inner = _evaluate(node.operand, values)
        if isinstance(node.op, ast.Not):
            return not inner
        return -_number(inner) if isinstance(node.op, ast.USub) else _number(inner)
    if isinstance(node, ast.BinOp):
        left, right = _number(_evaluate(node.left, values)), _number(_evaluate(node.right, values))
        return _number(_ARITHMETIC[type(node.op)](left, right))
    if isinstance(node, ast.BoolOp):
        found: Any = None
        for part in node.values:
            found = _evaluate(part, values)
            if bool(found) is isinstance(node.op, ast.Or):
                break
        return found
    if isinstance(node, ast.Compare):
        left = _evaluate(node.left, values)
        for op, other in zip(node.ops, node.comparators, strict=True):
            right = _evaluate(other, values)
            if not _COMPARISONS[type(op)](left, right):
                return False
            left = right
        return True
    if isinstance(node, ast.IfExp):
        return _evaluate(node.body if _evaluate(node.test, values) else node.orelse, values)
    assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    given = [_evaluate(a, values) for a in node.args]
    return FUNCTIONS[node.func.id](*(given if node.func.id == "len" else [_number(g) for g in given]))


def _part(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(key, str) and key in value:
        return value[key]
    if isinstance(value, list | tuple) and isinstance(key, int) and 0 <= key < len(value):
        return value[key]
    raise FormulaError(f"there is no {key!r}")


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, int | float):
        raise FormulaError(f"{value!r} is no number" if value is not None else "a value is missing")
    if not abs(value) <= MAX_NUMBER:
        raise FormulaError("a number is too large")
    return value


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > 100:
        raise FormulaError("an exponent is too large")
    if base < 0 and exponent != int(exponent):
        raise FormulaError("a root of a negative number")
    return float(base) ** float(exponent)

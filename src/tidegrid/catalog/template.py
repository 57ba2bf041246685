"""The script of an application: Jinja2 in a sandbox with less than Jinja2 can do.

Allowed: `{{ value }}`, `if`, `for`, `set`, comparison and arithmetic, the filters of `FILTERS`, `range`. Not: calls,
macros, imports, attributes of anything but mappings. What is printed is quoted for the shell: a text or number is one
word, a list its words one by one, a mapping one word of JSON. `raw` is for parameters that are scripts themselves.
Every loop turn and every printed character counts against a limit.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tidegrid.catalog import shellscan

MAX_TEMPLATE = 256 * 1024
MAX_OUTPUT = 4 * 1024 * 1024
MAX_TURNS = 100_000
_BUDGET = "_tide_budget"
_BOUND = "_tide_bounded"


class TemplateError(ValueError):
    """What is wrong with a template, or with rendering it. line counts from 1 in the template; 0: unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class _Raw:
    text: str


@dataclass(slots=True)
class _Budget:
    turns: int = MAX_TURNS


def quote(value: object) -> str:
    """A value as shell words; TypeError for what has no text (undefined, null)."""
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises UndefinedError that names the variable
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return shlex.quote(json.dumps(value, allow_nan=False))
    if isinstance(value, str):
        return shlex.quote("".join(list(value)))  # an exact str: a subclass may have its own idea of `+`
    if isinstance(value, Mapping):
        return shlex.quote(json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False))
    if isinstance(value, list | tuple):
        if any(isinstance(v, list | tuple) for v in value):
            return shlex.quote(json.dumps(value, ensure_ascii=False, allow_nan=False))
        return " ".join(quote(v) for v in value)
    raise TypeError(f"a value of kind {type(value).__name__} cannot be printed")


def _finalize(value: object) -> str:
    if isinstance(value, _Raw):
        return shellscan.RAW_OPEN + _clean(value.text) + shellscan.RAW_CLOSE
    return shellscan.OPEN + _clean(quote(value)) + shellscan.CLOSE


def _clean(text: str) -> str:
    if "\0" in text or any(m in text for m in shellscan.MARKS):
        raise TypeError("a value holds a character that no script can hold")
    return text


def _raw(value: object) -> _Raw:
    if not isinstance(value, str):
        raise TypeError("raw is for texts")
    return _Raw("".join(list(value)))


@jinja2.pass_context
def _bounded(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    budget: _Budget = context[_BUDGET]
    for item in items:
        budget.turns -= 1
        if budget.turns < 0:
            raise TemplateError(f"more than {MAX_TURNS} loop turns")
        yield item


def _tojson(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


FILTERS: dict[str, Callable[..., Any]] = {
    name: jinja2.filters.FILTERS[name]
    for name in ("abs", "default", "d", "first", "float", "int", "last", "length", "count", "lower", "max", "min",
                 "round", "sort", "sum", "trim", "unique", "upper", "items", "list")
} | {"tojson": _tojson, "raw": _raw, _BOUND: _bounded}  # fmt: skip
_TESTS = ("boolean", "defined", "divisibleby", "even", "false", "float", "in", "integer", "mapping", "number", "odd",
          "sequence", "string", "true", "undefined", "eq", "ne", "lt", "le", "gt", "ge")  # fmt: skip
_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign, nodes.Name, nodes.Const,
    nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.List,
    nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Getitem, nodes.Getattr, nodes.Call, nodes.Keyword, nodes.Slice,
)  # fmt: skip


class _Environment(ImmutableSandboxedEnvironment):
    """Attributes are items of mappings (and `loop`'s own); arithmetic is on numbers of sane size."""

    intercepted_binops = frozenset({"+", "*", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if type(obj).__name__ == "LoopContext" and attribute in ("index", "index0", "first", "last", "length"):
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Mapping | list | tuple | str):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        return self.undefined(obj=obj, name=str(argument))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for side in (left, right):
            if isinstance(side, bool) or not isinstance(side, int | float) or abs(side) > 1e30:
                raise TypeError(f"{operator} is for numbers")
        return super().call_binop(context, operator, left, right)

    def is_safe_callable(self, obj: Any) -> bool:
        return obj is self.globals["range"]


def _environment() -> _Environment:
    env = _Environment(undefined=jinja2.StrictUndefined, finalize=_finalize, keep_trailing_newline=True,
                       trim_blocks=True, lstrip_blocks=True, autoescape=False, cache_size=0)  # fmt: skip
    env.globals = {"range": env.globals["range"]}
    env.filters = dict(FILTERS)
    env.tests = {name: env.tests[name] for name in _TESTS}
    return env


class Script:
    """A checked, compiled template. variables: the names it reads from outside; scripts: parameters `raw` may print."""

    def __init__(self, text: str, scripts: frozenset[str] = frozenset()) -> None:
        if len(text) > MAX_TEMPLATE:
            raise TemplateError(f"longer than {MAX_TEMPLATE} characters")
        if any(m in text for m in shellscan.MARKS) or "\0" in text:
            raise TemplateError("holds a character kept for the program's own use")
        env = _environment()
        try:
            tree = env.parse(text)
            _check(tree, scripts)
            self.variables = frozenset(find_undeclared_variables(tree)) - {"range"}
            for loop in list(tree.find_all(nodes.For)):
                loop.iter = nodes.Filter(loop.iter, _BOUND, [], [], None, None, lineno=loop.lineno)
            self._template = env.from_string(tree)
        except jinja2.TemplateSyntaxError as e:
            raise TemplateError(str(e.message), e.lineno) from None
        except RecursionError:
            raise TemplateError("nested too deeply") from None

    def render(self, values: Mapping[str, Any]) -> str:
        """The script text. TemplateError where a variable is missing, a limit is passed or a value is misplaced."""
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.generate({**values, _BUDGET: _Budget()}):
                size += len(piece)
                if size > MAX_OUTPUT:
                    raise TemplateError(f"the script would be longer than {MAX_OUTPUT} characters")
                pieces.append(piece)
            return shellscan.place("".join(pieces))
        except jinja2.TemplateError as e:
            raise TemplateError(str(e.message)) from None
        except shellscan.Misplaced as e:
            raise TemplateError(str(e)) from None
        except TemplateError:
            raise
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as e:
            raise TemplateError(f"{e}") from None


@lru_cache(maxsize=256)
def compiled(text: str, scripts: frozenset[str]) -> Script:
    """A script by its text; kept, for compiling takes milliseconds and rendering microseconds."""
    return Script(text, scripts)


def _check(tree: nodes.Template, scripts: frozenset[str]) -> None:
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _NODES):
            raise TemplateError(f"{type(node).__name__.lower()} is not allowed in a script", node.lineno)
        if isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
            raise TemplateError("a call is not allowed in a script (only range)", node.lineno)
        if isinstance(node, nodes.Name) and node.name.startswith("_"):
            raise TemplateError(f"the name {node.name} is not allowed in a script", node.lineno)
        if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
            raise TemplateError(f"the attribute {node.attr} is not allowed in a script", node.lineno)
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateError("a recursive loop is not allowed in a script", node.lineno)
        if isinstance(node, nodes.Filter):
            _check_filter(node, scripts)
        if isinstance(node, nodes.Test) and node.name not in _TESTS:
            raise TemplateError(f"there is no test {node.name}", node.lineno)


def _check_filter(node: nodes.Filter, scripts: frozenset[str]) -> None:
    if node.name not in FILTERS or node.name == _BOUND:
        raise TemplateError(f"there is no filter {node.name}", node.lineno)
    if node.name == "raw" and not (isinstance(node.node, nodes.Name) and node.node.name in scripts):
        raise TemplateError(
            "raw is only for a parameter that is a script: {type: string, contentMediaType: text/x-shellscript}",
            node.lineno,
        )

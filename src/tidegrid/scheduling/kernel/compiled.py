"""The kernel's functions through numba: the same source. Nothing else imports this, so that nobody pays for numba who needs none."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

from tidegrid.scheduling.kernel import (
    backfill,
    conservative,
    heads,
    layout,
    lines,
    orders,
    replay,
    running,
    runs,
    steps,
)

MODULES: tuple[ModuleType, ...] = (
    layout,
    lines,
    orders,
    runs,
    heads,
    running,
    backfill,
    conservative,
    steps,
    replay,
)


class Compiled:
    """The compiled functions of some modules, by their names."""

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no compiled function {name}")


@cache
def load(more: tuple[ModuleType, ...] = (), keep: bool = True) -> Compiled:
    """The kernel compiled, and the functions of `more` modules of the same kind that call it.

    keep: machine code is kept beside the source for the next process. ImportError where numba is not installed.
    """
    import numba

    modules = (*MODULES, *more)
    functions = _copies(modules)
    # nothing in them allocates: without numba's reference counts a call costs a fifth
    options: dict[str, Any] = {
        "cache": keep, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False,
    }  # fmt: skip
    made = {
        original: numba.njit(**{**options, "no_cpython_wrapper": original.__name__.startswith("_")})(copy)
        for original, copy in functions.items()
    }
    for copy in functions.values():
        scope = copy.__globals__
        for name, value in list(scope.items()):
            if isinstance(value, FunctionType) and value in made:
                scope[name] = made[value]
    types = _types(numba.types, modules)
    done: set[FunctionType] = set()
    for function in functions:
        _compile(function, made, types, done)
    return Compiled({function.__name__: dispatcher for function, dispatcher in made.items()})


def _copies(modules: Sequence[ModuleType]) -> dict[FunctionType, FunctionType]:
    """Of every function one with a scope of its own, a scope for each module."""
    mark = _digest(modules)
    copies: dict[FunctionType, FunctionType] = {}
    for m in modules:
        scope = dict(vars(m))
        for function in vars(m).values():
            if isinstance(function, FunctionType) and function.__module__ == m.__name__:
                copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
                copy.__qualname__, copy.__module__ = f"{function.__name__}_{mark}", m.__name__
                copies[function] = copy
    return copies


def _types(types: Any, modules: Sequence[ModuleType]) -> dict[str, Any]:
    """What the annotations of kernel source stand for; named tuples that its modules define among them."""
    known: dict[str, Any] = {
        "int": types.int64, "float": types.float64, "bool": types.boolean, "Words": types.int64[::1], "Numbers": types.float64[::1],
    }  # fmt: skip
    for m in modules:
        for made in vars(m).values():
            if isinstance(made, type) and hasattr(made, "_fields") and made.__module__ == m.__name__:
                known[made.__name__] = types.NamedTuple([known[getattr(a, "__forward_arg__", str(a))] for a in inspect.get_annotations(made).values()], made)
    return known


def _compile(function: FunctionType, made: Mapping[FunctionType, Any], types: Mapping[str, Any], done: set[FunctionType]) -> None:
    """Compile a function once, by its annotations, after those that it calls; else numba makes a version of it for every constant
    it is called with. One with other annotations is compiled when it is called."""
    if function in done:
        return
    done.add(function)
    for name in function.__code__.co_names:
        callee = function.__globals__.get(name)
        if isinstance(callee, FunctionType) and callee in made:
            _compile(callee, made, types, done)
    wanted = [types.get(str(p.annotation)) for p in inspect.signature(function).parameters.values()]
    if None not in wanted:
        made[function].compile(tuple(wanted))
        made[function].disable_compile()


def _digest(modules: Sequence[ModuleType]) -> str:
    """Of the code and constants of all modules. It is in the names under which machine code is kept: numba looks only at a
    function's own file, and these call each other across files."""
    found = hashlib.sha256()
    for m in modules:
        for name, value in sorted(vars(m).items()):
            if isinstance(value, FunctionType):
                code = value.__code__
                found.update(repr((name, code.co_code, code.co_consts, code.co_names, value.__annotations__)).encode())
            elif isinstance(value, int | float):
                found.update(repr((name, value)).encode())
    return found.hexdigest()[:12]

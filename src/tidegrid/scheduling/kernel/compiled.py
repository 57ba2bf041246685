"""The kernel's functions through numba: the same source, compiled when first called. Nothing here is imported unless it is wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
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

    def __init__(self, functions: dict[str, Any]) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no compiled function {name}")


def compile_modules(modules: Sequence[ModuleType], njit: Callable[[Any], Any]) -> Compiled:
    """Every function of `modules` through `njit`, each seeing the compiled ones in place of the plain."""
    mark = _digest(modules)
    scopes: dict[str, dict[str, Any]] = {m.__name__: dict(vars(m)) for m in modules}
    made: dict[Any, Any] = {}
    for m in modules:
        for function in vars(m).values():
            if isinstance(function, FunctionType) and function.__module__ == m.__name__:
                copy = FunctionType(
                    function.__code__, scopes[m.__name__], function.__name__, function.__defaults__, function.__closure__
                )
                copy.__qualname__, copy.__module__ = f"{function.__name__}_{mark}", m.__name__
                made[function] = njit(copy)
    for scope in scopes.values():
        for name, value in scope.items():
            if isinstance(value, FunctionType) and value in made:
                scope[name] = made[value]
    return Compiled({function.__name__: dispatcher for function, dispatcher in made.items()})


def _digest(modules: Sequence[ModuleType]) -> str:
    """Of the code and constants of all modules. It is in the names under which machine code is kept: numba looks only at a
    function's own file, and these call each other across files."""
    found = hashlib.sha256()
    for m in modules:
        for name, value in sorted(vars(m).items()):
            if isinstance(value, FunctionType):
                code = value.__code__
                found.update(repr((name, code.co_code, code.co_consts, code.co_names)).encode())
            elif isinstance(value, int | float):
                found.update(repr((name, value)).encode())
    return found.hexdigest()[:12]


@cache
def load(keep: bool = True) -> Compiled:
    """The kernel compiled. ImportError where numba is not installed. keep: machine code is kept for the next process."""
    import numba

    options: dict[str, Any] = {"cache": keep, "nogil": True, "error_model": "numpy", "_nrt": False}  # it allocates nothing
    return compile_modules(MODULES, numba.njit(**options))

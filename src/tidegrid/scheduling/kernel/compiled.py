"""The kernel's functions through numba: the same source. Nothing else imports this, so that nobody pays for numba who needs none.

Inside, words and numbers are plain pointers: an array's index is looked at each time whether it counts from the end, and an array takes seven
words of each call, which together are a quarter of the time. A function that is called from Python takes arrays.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
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
    """The compiled functions of some modules, by their names; each is made ready for arrays when it is first asked for."""

    def __init__(self, functions: Mapping[str, FunctionType], entry: Callable[[FunctionType], Any]) -> None:
        self._functions, self._entry = functions, entry

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._functions:
            raise AttributeError(f"no compiled function {name}")
        made = self._entry(self._functions[name])
        setattr(self, name, made)
        return made


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
    njit: Any = numba.njit  # its stubs know not every option
    made = {
        original: njit(no_cpython_wrapper=True, **options)(copy)
        for original, copy in functions.items()
    }
    for copy in functions.values():
        scope = copy.__globals__
        for name, value in list(scope.items()):
            if isinstance(value, FunctionType) and value in made:
                scope[name] = made[value]
    types: Any = numba.types  # its stubs know not all of them
    pointers = _types(modules, types, types.CPointer(types.int64), types.CPointer(types.float64))
    arrays = _types(modules, types, types.int64[::1], types.float64[::1])
    done: set[FunctionType] = set()
    for function in functions:
        _compile(function, made, pointers, done)

    def entry(original: FunctionType) -> Any:
        return _compile_entry(original, made[original], functions[original], arrays, lambda f: njit(**options)(f))

    return Compiled({function.__name__: function for function in functions}, entry)


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


def _types(modules: Sequence[ModuleType], types: Any, words: Any, numbers: Any) -> dict[str, Any]:
    """What the annotations of kernel source stand for; named tuples that its modules define among them."""
    known: dict[str, Any] = {"int": types.int64, "float": types.float64, "bool": types.boolean, "Words": words, "Numbers": numbers, "Figure": types.float64}
    for m in modules:
        for made in vars(m).values():
            if isinstance(made, type) and hasattr(made, "_fields") and made.__module__ == m.__name__:
                known[made.__name__] = types.NamedTuple([known[getattr(a, "__forward_arg__", str(a))] for a in inspect.get_annotations(made).values()], made)
    return known


@cache
def _pointer() -> Any:
    """In compiled code: where an array's items begin."""
    import numba
    from numba.core import cgutils
    from numba.extending import intrinsic

    types: Any = numba.types
    parts: Any = cgutils

    def pointer(context: Any, array: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return parts.create_struct_proxy(signature.args[0])(context, builder, value=args[0]).data

        return types.CPointer(array.dtype)(array), code

    return intrinsic(pointer)


def _compile_entry(original: FunctionType, made: Any, copy: FunctionType, arrays: Mapping[str, Any], njit: Callable[[Any], Any]) -> Any:
    """The function for arrays: it calls `made` with where they begin."""
    wanted = {p.name: arrays[str(p.annotation)] for p in inspect.signature(original).parameters.values()}
    scope: dict[str, Any] = {"made": made, "pointer": _pointer()}
    given = []
    for name, kind in wanted.items():
        if hasattr(kind, "instance_class"):
            scope[kind.instance_class.__name__] = kind.instance_class
            given.append(f"{kind.instance_class.__name__}({', '.join(f'pointer({name}.{field})' for field in kind.fields)})")
        else:
            given.append(f"pointer({name})" if kind in (arrays["Words"], arrays["Numbers"]) else name)
    text = f"def entry({', '.join(wanted)}):\n    return made({', '.join(given)})\n"
    exec(compile(text, original.__code__.co_filename, "exec"), scope)  # its machine code is kept beside that of the module
    scope["entry"].__qualname__ = f"{copy.__qualname__}_entry"
    scope["entry"].__module__ = original.__module__
    ready = njit(scope["entry"])
    ready.compile(tuple(wanted.values()))
    ready.disable_compile()
    return ready


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

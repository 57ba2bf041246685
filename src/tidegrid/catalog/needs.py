"""What a run needs: numbers, or functions of its parameters and inputs, each within limits.

    resources:
      cores: '= min(16, ceil(atoms / 20000))'
      memory: '= 200 + atoms / 1000'               # MiB
      wall: '= 60 + steps * atoms / 2e6 / cores'   # seconds
      min: {memory: '= 100 + atoms / 1000'}
      max: {cores: 64, memory: 64 GiB}

A text that begins with `=` is a formula (`formula`). It may use the parameters, `input_bytes` and `input_files`, and what comes
before it of nodes, ranks, cores, gpus, memory (MiB), wall (s). What the user asks for takes a formula's place, in the formulas
that follow too, and both keep the limits. A result is rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegrid.catalog import quantities
from tidegrid.catalog.formula import FormulaError, compiled
from tidegrid.catalog.yamldoc import Doc, Path, Problem
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.job import Resources

# In a document -> in Resources; each formula may use those above it.
ORDER = {"nodes": "nodes", "ranks": "ranks", "cores": "cores", "gpus": "gpus", "memory": "memory_mib", "wall": "wall_s"}
INPUTS = ("input_bytes", "input_files")
_LIMITED = ("nodes", "cores", "gpus", "memory", "wall", "ranks")
_AMOUNTS = {"memory": quantities.mib, "wall": quantities.seconds}
_MOST = 1 << 50


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a job is given. bytes: of all files; those that another job has not written yet count for nothing."""

    bytes: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True)
class Needs:
    """Values by the document's names: whole numbers (MiB, seconds), formulas as texts without their `=`. plain: gpu_type and
    exclusive."""

    default: Mapping[str, int | str] = field(default_factory=dict)
    least: Mapping[str, int | str] = field(default_factory=dict)
    most: Mapping[str, int | str] = field(default_factory=dict)
    plain: Mapping[str, Any] = field(default_factory=dict)

    @property
    def computed(self) -> bool:
        """Whether a formula takes part."""
        return any(isinstance(v, str) for _, _, v in self._all())

    def formulas(self) -> Iterator[tuple[Path, str, str]]:
        """(path in the document, name, text)."""
        yield from ((path, name, v) for path, name, v in self._all() if isinstance(v, str))

    def _all(self) -> Iterator[tuple[Path, str, int | str]]:
        for path, values in ((("resources",), self.default), (("resources", "min"), self.least), (("resources", "max"), self.most)):
            for name, v in values.items():
                yield (*path, name), name, v

    def resolve(
        self, params: Mapping[str, Any], inputs: Inputs = Inputs(), asked: Mapping[str, Any] | None = None, *, app: str = "it"
    ) -> Resources:
        """What a run with these validated parameters gets. asked: by the names of `Resources`, None where nothing was said.

        InvalidInput: resources.formula where one has no value here, resources.over_limit and resources.under_limit with all
        that is beyond.
        """
        given = {k: v for k, v in (asked or {}).items() if v is not None}
        values: dict[str, Any] = {**params, "input_bytes": inputs.bytes, "input_files": inputs.files}
        base = Resources()
        found: dict[str, Any] = {}
        for name, attribute in ORDER.items():
            if attribute in given:
                found[attribute] = given[attribute]
            elif name in self.default:
                found[attribute] = _value(("resources", name), self.default[name], values, app, 0 if name == "gpus" else 1)
            else:
                found[attribute] = getattr(base, attribute)
            values[name] = found[attribute]
        for path, limits, code, sign, word in (
            ("max", self.most, "resources.over_limit", 1, "above"),
            ("min", self.least, "resources.under_limit", -1, "below"),
        ):
            problems = []
            for name in _LIMITED:
                if name in limits:
                    limit = _value(("resources", path, name), limits[name], values, app, 0)
                    attribute = ORDER[name]
                    if limit and sign * found[attribute] > sign * limit:
                        whence = "" if attribute in given or not isinstance(self.default.get(name), str) else (
                            ", by its formula")  # fmt: skip
                        problems.append(f"{attribute} {found[attribute]} is {word} {limit}{whence}")
            if problems:
                word = "allows less" if path == "max" else "needs more"
                raise InvalidInput(code, f"{app} {word}: {'; '.join(problems)}",
                                   hint="ask for an amount within the limits, or for another size of the problem",
                                   details={"problems": problems})  # fmt: skip
        plain = {k: given.get(k, v) for k, v in {"gpu_type": "", "exclusive": False, **self.plain}.items()}
        return Resources(**found, **plain)

    def fixed(self, which: Mapping[str, int | str], base: Resources) -> Resources:
        """Only what is no formula, over `base`."""
        found = {a: which[n] for n, a in ORDER.items() if isinstance(which.get(n), int)}
        return Resources(**{a: found.get(a, getattr(base, a)) for a in ORDER.values()}, **{**_PLAIN, **self.plain})

    def describe(self) -> dict[str, Any]:
        """For people: {name: "= formula"} of the defaults that are functions."""
        return {ORDER[n]: f"= {v}" for n, v in self.default.items() if isinstance(v, str)}


_PLAIN = {"gpu_type": "", "exclusive": False}


def _value(path: Path, value: int | str, values: Mapping[str, Any], app: str, least: int) -> int:
    if isinstance(value, int):
        return value
    try:
        number = compiled(value).value(values)
        if number > _MOST:
            raise FormulaError(f"gives {number:g}, which is too much")
        return max(least, math.ceil(number - 1e-9))
    except FormulaError as e:
        where = ".".join(str(p) for p in path)
        raise InvalidInput(
            "resources.formula", f"{app}: {where} = {value}: {e}", hint="say what it shall have: cores, memory, wall time",
            details={"problems": [{"path": where, "message": str(e)}]},
        ) from None  # fmt: skip


def plain(given: Mapping[str, Any]) -> dict[str, int]:
    """Amounts by the document's names -> whole numbers by those of `Resources`. ValueError where one is none."""
    return {ORDER[k]: _AMOUNTS[k](v) if k in _AMOUNTS else int(v) for k, v in given.items()}


def read(doc: Doc, body: Mapping[str, Any], problems: list[Problem]) -> Needs:
    """Of a document whose form the schema has accepted; what else is wrong joins `problems`."""
    given = body.get("resources", {})
    parameters = set(body["params"].get("properties", {}))

    def values(found: Mapping[str, Any], path: Path) -> dict[str, int | str]:
        out: dict[str, int | str] = {}
        for name in ORDER:
            if name not in found:
                continue
            value = found[name]
            try:
                if isinstance(value, str) and value.lstrip().startswith("="):
                    text = value.lstrip()[1:].strip()
                    _names(text, name, parameters, limit=path != ("resources",))
                    out[name] = text
                else:
                    out[name] = _AMOUNTS[name](value) if name in _AMOUNTS else int(value)
            except ValueError as e:
                problems.append(doc.problem((*path, name), str(e)))
        return out

    needs = Needs(
        values(given, ("resources",)),
        values(given.get("min", {}), ("resources", "min")),
        values(given.get("max", {}), ("resources", "max")),
        {k: given[k] for k in _PLAIN if k in given},
    )
    if needs.computed:
        for name in sorted(parameters & {*ORDER, *INPUTS}):
            problems.append(doc.problem(("params", "properties", name), "the name means a resource in the formulas", key=True))
    for name, limit in needs.most.items():
        default = needs.default.get(name)
        if isinstance(limit, int) and isinstance(default, int) and limit and default > limit:
            problems.append(doc.problem(("resources",), f"the default {ORDER[name]} is above the limit {limit}"))
    for name, limit in needs.least.items():
        default, most = needs.default.get(name), needs.most.get(name)
        if isinstance(limit, int) and isinstance(default, int) and default < limit:
            problems.append(doc.problem(("resources", "min", name), f"the default {ORDER[name]} is below it"))
        if isinstance(limit, int) and isinstance(most, int) and 0 < most < limit:
            problems.append(doc.problem(("resources", "min", name), "is above the maximum"))
    return needs


def _names(text: str, name: str, parameters: set[str], *, limit: bool) -> None:
    order = list(ORDER)
    before = set(order) if limit else set(order[: order.index(name)])
    for used in sorted(compiled(text).names - parameters - set(INPUTS) - before):
        if used in ORDER:
            raise FormulaError(f"{used} is known only after {name}")
        raise FormulaError(f"{used} is not a parameter")

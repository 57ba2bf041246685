"""What a batch script asks for, as options, and what there is to say about each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegrid.catalog.batch_options import Fate, Given


@dataclass(frozen=True, slots=True)
class Place:
    """A partition's largest node."""

    cores: int
    memory_mib: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What the platform knows. places: by `cluster/partition`; projects: the submitter's; now_s: unix time; offset_s: what the
    submitter's clock is ahead of UTC."""

    places: Mapping[str, Place] = field(default_factory=dict)
    projects: frozenset[str] = frozenset({"default"})
    now_s: int = 0
    offset_s: int = 0


@dataclass(frozen=True, slots=True)
class Remark:
    """line: in the script, 0 elsewhere; where: in words; fate: used | left out | refused."""

    line: int
    where: str
    option: str
    fate: str
    text: str


class Asked:
    """got: the strongest of each option; problems refuse the script, remarks are told."""

    def __init__(self, known: Known, variables: Mapping[str, str], ignore: Sequence[str]) -> None:
        self.known, self.variables = known, variables
        self.ignore = {i.lstrip("-") for i in ignore}
        self.problems: list[Remark] = []
        self.remarks: list[Remark] = []
        self.got: dict[str, Given] = {}

    def _named(self, tell: bool = True) -> list[str]:
        clusters = {p.partition("/")[0] for p in self.known.places}
        wanted = [c for c in self.got["clusters"].value.split(",") if c] if "clusters" in self.got else []
        here = [c for c in wanted if c in clusters]
        if tell and wanted and not here:
            self._leave_out(self.got["clusters"], f"no cluster is called {', '.join(wanted)} in this network: it is placed by what it needs")
        g = self.got.get("partition")
        partitions = [p for p in g.value.split(",") if p] if g is not None else []
        found = [
            place
            for p in partitions
            for place in sorted(self.known.places)
            if (place == p if "/" in p else place.partition("/")[2] == p) and (not here or place.partition("/")[0] in here)
        ]
        if tell and g is not None:
            if found:
                self._remark(g.line, "partition", Fate.USED, f"it may run at {', '.join(found[:8])}{'…' if len(found) > 8 else ''}, called so")
            else:
                self._leave_out(g, f"no partition is called {', '.join(partitions)} in this network: it is placed by what it needs")
        return list(dict.fromkeys(found)) or here

    def _eligible(self) -> list[Place]:
        named = self._named(tell=False)
        places = self.known.places
        return [places[p] for p in sorted(places) if not named or p in named or p.partition("/")[0] in named]

    def _text(self, name: str) -> str:
        return self.got[name].value if name in self.got else ""

    def _value(self, name: str, read_it: Callable[[str], Any]) -> Any:
        """The option's value, None where it is not given or cannot be read, which is told once."""
        g = self.got.get(name)
        if g is None:
            return None
        try:
            return read_it(g.value)
        except ValueError as e:
            self._refuse(g, f"--{g.option.name}: {e}")
            return None

    def _refuse(self, g: Given | None, text: str) -> None:
        problem = Remark(g.line if g else 0, g.where if g else "script", g.option.name if g else "", Fate.REFUSED, text)
        if problem not in self.problems:
            self.problems.append(problem)

    def _leave_out(self, g: Given, why: str) -> None:
        self.remarks.append(Remark(g.line, g.where, g.option.name, Fate.LEFT_OUT, why))

    def _remark(self, line: int, option: str, fate: Fate, text: str) -> None:
        remark = Remark(line, f"line {line}" if line else "script", option, fate, text)
        if remark not in self.remarks:
            self.remarks.append(remark)

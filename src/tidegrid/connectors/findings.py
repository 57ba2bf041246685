"""What a check of a cluster finds, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tidegrid.connectors.trouble import what_to_do


class State(StrEnum):
    """ok; note: works, and worth knowing; missing: something has to be done; skipped: could not be tried."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """code: stable, "" where all is well; hint: what to do next; partition: "" for the whole cluster."""

    step: str
    state: State
    text: str
    code: str = ""
    hint: str = ""
    partition: str = ""

    def view(self) -> dict[str, Any]:
        return asdict(self)


Say = Callable[[Finding], None]


class Findings:
    """Collects, and says each as it comes."""

    def __init__(self, say: Say | None = None) -> None:
        self.all: list[Finding] = []
        self._say = say

    def ok(self, step: str, text: str, *, partition: str = "") -> None:
        self._add(Finding(step, State.OK, text, partition=partition))

    def note(self, step: str, code: str, text: str, *, partition: str = "") -> None:
        self._add(Finding(step, State.NOTE, text, code, what_to_do(code), partition))

    def missing(self, step: str, code: str, text: str, *, hint: str = "", partition: str = "") -> None:
        self._add(Finding(step, State.MISSING, text, code, hint or what_to_do(code), partition))

    def skipped(self, step: str, text: str, *, partition: str = "") -> None:
        self._add(Finding(step, State.SKIPPED, text, partition=partition))

    @property
    def well(self) -> bool:
        return all(f.state in (State.OK, State.NOTE) for f in self.all)

    def _add(self, finding: Finding) -> None:
        self.all.append(finding)
        if self._say is not None:
            self._say(finding)

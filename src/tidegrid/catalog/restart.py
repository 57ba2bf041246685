"""The restart recipe of an application: what a checkpoint of it is made of, and how it goes on from one.

    restart:
      checkpoint: [state.cpt]           # globs below the working directory: these files together are a checkpoint
      with: [md.log, ener.edr]          # files that only grow and go along, as far as they are when it is taken
      atomic: true                      # the application gives a checkpoint its name when it is whole
      step: 'Writing checkpoint, step (\\d+)'
      step_in: md.log                   # the last match in this file; without it: in the paths, one step's files belong together
      arguments: [-cpi, state.cpt]      # what {{ restart }} is in the script that continues; or `script`: one of its own
    checkpoint_every: 15m

Where paths tell the step, the files of one step are one checkpoint, and the newest whole one counts. A file is whole when it
has not changed for a while (`Restart.settle_s`), or at once where the application writes it atomically.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegrid.catalog import quantities
from tidegrid.catalog.yamldoc import Doc, Problem

EVERY_S = 900
SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Restart:
    """every_s: between two copies; settle_s: a file that did not change for so long is whole. One of arguments and script."""

    checkpoint: tuple[str, ...]
    with_: tuple[str, ...] = ()
    atomic: bool = False
    step: str = ""
    step_in: str = ""
    arguments: tuple[str, ...] = ()
    script: str = ""
    every_s: int = EVERY_S

    @property
    def settle_s(self) -> float:
        return 0.0 if self.atomic else SETTLE_S

    def step_of(self, path: str) -> int | None:
        """The step that a path tells; None where paths tell none."""
        if not self.step or self.step_in:
            return None
        match = re.search(self.step, path)
        return _number(match[1]) if match else None

    def step_told(self, text: str) -> int | None:
        """The step of the last match in the text of `step_in`."""
        last = None
        for match in re.finditer(self.step, text):
            last = match[1]
        return _number(last)

    def generations(self, paths: Iterable[str]) -> list[tuple[int | None, tuple[str, ...]]]:
        """Checkpoints among the paths, newest first: (step, its files). Where no path tells a step there is one at most."""
        by_step: dict[int, list[str]] = {}
        always: list[str] = []
        for path in paths:
            step = self.step_of(path)
            if step is None:
                always.append(path)
            else:
                by_step.setdefault(step, []).append(path)
        if not by_step:
            return [(None, tuple(sorted(always)))] if always and not (self.step and not self.step_in) else []
        return [(step, tuple(sorted([*always, *by_step[step]]))) for step in sorted(by_step, reverse=True)]


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) <= 18 else None


def read(doc: Doc, body: Mapping[str, Any], problems: list[Problem]) -> Restart | None:
    """The recipe of a document whose form the schema has accepted; what else is wrong joins `problems`."""
    found = body.get("restart")
    if found is None:
        if "checkpoint_every" in body:
            problems.append(doc.problem(("checkpoint_every",), "there is no restart recipe that says what to copy"))
        return None
    if ("arguments" in found) == ("script" in found):
        problems.append(doc.problem(("restart",), "needs either arguments (what {{ restart }} is) or a script of its own"))
    if "step_in" in found and "step" not in found:
        problems.append(doc.problem(("restart", "step_in"), "there is no step, the expression to look for in it"))
    every = EVERY_S
    if "checkpoint_every" in body:
        try:
            every = quantities.seconds(body["checkpoint_every"])
        except ValueError as e:
            problems.append(doc.problem(("checkpoint_every",), str(e)))
    step = found.get("step", "")
    try:
        if step and re.compile(step).groups != 1:
            problems.append(doc.problem(("restart", "step"), "needs one group: the step's number"))
    except re.error as e:
        problems.append(doc.problem(("restart", "step"), f"not a regular expression: {e}"))
    if body.get("restartable") is False:
        problems.append(doc.problem(("restartable",), "is false, although there is a restart recipe"))
    both: Sequence[str] = sorted(set(found["checkpoint"]) & set(found.get("with", ())))
    for pattern in both:
        problems.append(doc.problem(("restart", "with"), f"{pattern!r} is in `checkpoint` too"))
    return Restart(
        checkpoint=tuple(found["checkpoint"]),
        with_=tuple(found.get("with", ())),
        atomic=found.get("atomic", False),
        step=step,
        step_in=found.get("step_in", ""),
        arguments=tuple(found.get("arguments", ())),
        script=found.get("script", ""),
        every_s=every,
    )

"""A live queue's own record fed to the simulator: at every pass the same jobs must start, in the same order.

The record holds what happened to a queue and when, pass by pass (`connectors.embedded.passes`): who came, who left unstarted, what
was freed, who was started. The simulator holds the queue itself, from the first pass to the last, and is told only the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegrid.domain.errors import InvalidInput
from tidegrid.scheduling.kernel import build, layout, steps
from tidegrid.scheduling.kernel.policy import POLICIES
from tidegrid.scheduling.kernel.running import hold, start


@dataclass(frozen=True, slots=True)
class Agreement:
    """passes: in which something waited; starts: in all of them; same: passes with the same choices; first: the first that differs,
    as {pass, at_s, live, simulated} (names of tasks), None where all agree."""

    passes: int
    jobs: int
    starts: int
    same: int
    first: Mapping[str, Any] | None = None

    @property
    def agrees(self) -> bool:
        return self.same == self.passes


def check(record: Iterable[Mapping[str, Any]], policy: str = "") -> Agreement:
    """A record's queue by the policy that it names, or by another (a control). After a difference the live choice is followed, so that
    every pass is judged by itself. InvalidInput policy.unknown, passes.malformed."""
    lines = list(record)
    try:
        head, rows = lines[0], lines[1:]
        policy = policy or head["policy"]
        if policy not in POLICIES:
            raise InvalidInput("policy.unknown", f"there is no policy {policy!r}", hint="one of " + ", ".join(POLICIES))
        came = [(name, wall, wants, int(row["t"])) for row in rows for name, wall, *wants in row["came"]]
        came += [(name, ends, wants, 0) for name, ends, *wants in head["held"]]
        names: dict[str, int] = {}
        for name, *_ in came:
            names.setdefault(name, len(names))
        need = np.zeros((len(names), len(head["capacity"])), np.int64)
        estimate, since = np.ones(len(names), np.int64), np.zeros(len(names), np.int64)
        for name, wall, wants, at in came:
            j = names[name]
            need[j], estimate[j], since[j] = np.array(wants, np.int64).reshape(need.shape[1]), wall, at
        table = build.table(since, estimate, None, need)
        held = [names[name] for name, *_ in head["held"]]
        table[held, layout.START], table[held, layout.EXPECTED] = 0, estimate[held]
        return _run(build.build(table, np.array([head["capacity"]], np.int64), [POLICIES[policy]]), rows, names, held)
    except (IndexError, KeyError, TypeError, ValueError) as e:
        raise InvalidInput("passes.malformed", f"this is no record of a queue's passes: {e!r}") from None


def _run(st: Any, rows: Sequence[Mapping[str, Any]], names: Mapping[str, int], held: Sequence[int]) -> Agreement:
    by_number = {j: name for name, j in names.items()}
    running = set(held)
    for j in held:
        hold(st, 0, j)
    same = starts = 0
    first: dict[str, Any] | None = None
    for n, row in enumerate(rows):
        now = int(row["t"])
        for name in row["freed"]:
            if names[name] in running:
                running.remove(names[name])
                steps.release(st, 0, names[name], now)
        for name in row["gone"]:
            steps.withdraw(st, 0, names[name])
        for name, *_ in row["came"]:
            steps.enter(st, 0, names[name])
        chosen = [steps.started(st, i) for i in range(steps.schedule(st, 0, now))]
        live = [names[name] for name in row["started"]]
        starts += len(live)
        if chosen == live:
            same += 1
        else:
            first = first or {"pass": n + 1, "at_s": now, "live": list(row["started"]), "simulated": [by_number[j] for j in chosen]}
            for j in chosen:
                if j not in live:  # back into the queue, at its end
                    steps.release(st, 0, j, now)
                    steps.enter(st, 0, j)
            for j in live:
                if j not in chosen:
                    steps.withdraw(st, 0, j)
                    start(st, 0, j, now)
        running |= set(live)
    return Agreement(len(rows), len(names), starts, same, first)

"""Where a version of an application is installed, and how far that is to be trusted.

What a cluster lists under `software` in the network file is there; what was verified, tuned, found failing or taken out of use is kept
beside it, for one version and one way of calling it. Another version or another way is only installed, until it is verified too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tidegrid.catalog.document import Application
from tidegrid.domain.errors import Conflict


class State(StrEnum):
    """wanted: somebody asked for it; installed: the cluster lists it; verified: its acceptance tests passed there; tuned: and an
    operator has made it fast there; failed: a test did not pass; withdrawn: listed, and not to be used."""

    WANTED = "wanted"
    INSTALLED = "installed"
    VERIFIED = "verified"
    TUNED = "tuned"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


BY_HAND = (State.WANTED, State.INSTALLED, State.TUNED, State.WITHDRAWN)  # verified and failed are what tests say
TRUSTED = frozenset({State.VERIFIED, State.TUNED})


def way(app: Application, arch: str, software: Mapping[str, Any]) -> dict[str, Any] | None:
    """How it is invoked at a cluster with this `software`, as JSON: {kind, name, words}; None where it cannot be."""
    if not app.software.needed:
        return {"kind": "embedded" if app.software.embedded else "none", "name": app.software.embedded, "words": []}
    found = app.invocation(arch, software)
    return None if found is None else {"kind": found.kind.value, "name": found.name, "words": list(found.words)}


def effective(kept: str, kept_way: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> tuple[State | None, str]:
    """(state, remark) of a partition. kept: what was recorded, "" for nothing; kept_way: how it was invoked then; now: how it is
    invoked now, None where it cannot be. State None: nobody has it or wants it there."""
    state = State(kept) if kept else None
    if now is None:
        if state in (None, State.WANTED):
            return state, ""
        return State.WANTED, f"was {state}, and the network file does not list it any more"
    if state in (None, State.WANTED):
        return State.INSTALLED, ""
    if state in (State.VERIFIED, State.TUNED, State.FAILED) and dict(kept_way or {}) != dict(now):
        return State.INSTALLED, f"was {state} as {described(kept_way)}, and is called otherwise since"
    return state, ""


def described(way: Mapping[str, Any] | None) -> str:
    """`module gromacs: gmx`."""
    if not way or way.get("kind") in (None, "none"):
        return "nothing to install"
    words = " ".join(map(str, way.get("words") or ()))
    return f"{way['kind']} {way['name']}" + (f": {words}" if words else "")


def check_by_hand(app: str, place: str, wanted: str, now: State | None, invoked: Mapping[str, Any] | None) -> State:
    """The state an operator may set. Conflict (installation.by_test, installation.not_listed, installation.unverified)."""
    if wanted not in BY_HAND:
        raise Conflict("installation.by_test", f"{wanted} is what acceptance tests say, not people", hint=f"`tide apps verify {app}`")
    state = State(wanted)
    if state is not State.WANTED and invoked is None:
        raise Conflict("installation.not_listed", f"{place} lists no software for {app}",
                       hint="name it in the cluster's `software` in the network file, and apply that")  # fmt: skip
    if state is State.TUNED and now not in TRUSTED:
        raise Conflict("installation.unverified", f"{app} is {now} at {place}: what is tuned is verified first",
                       hint=f"`tide apps verify {app} --partition {place}`")  # fmt: skip
    return state


def after_tests(now: State | None, passed: bool) -> State:
    """What a verification makes of a state; tuned stays tuned."""
    if not passed:
        return State.FAILED
    return State.TUNED if now is State.TUNED else State.VERIFIED


@dataclass(frozen=True, slots=True)
class Speed:
    """relative: speed against the others that were measured on the same test, whose geometric mean is 1; seconds: the median of n
    runs; spread: half their span, relative to the median; None where n is 1."""

    relative: float | None
    seconds: float
    n: int
    spread: float | None

    def to_json(self) -> dict[str, Any]:
        return {"relative": self.relative, "seconds": self.seconds, "n": self.n, "spread": self.spread, "tier": "measured"}


def timing(seconds: Sequence[float]) -> tuple[float, int, float | None]:
    """(median, n, relative half span) of runs of one test."""
    ordered = sorted(seconds)
    n = len(ordered)
    median = ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2
    return median, n, (ordered[-1] - ordered[0]) / 2 / median if n > 1 and median > 0 else None


def speeds(runs: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Speed]:
    """By place. runs: place -> test -> seconds of its good runs. A place's relative speed is the geometric mean over the tests that it
    shares with another place; None where it shares none."""
    known = {p: {t: timing(s) for t, s in tests.items() if s and min(s) > 0} for p, tests in runs.items()}
    logs: dict[str, list[float]] = {p: [] for p in known}
    for test in {t for tests in known.values() for t in tests}:
        here = {p: tests[test][0] for p, tests in known.items() if test in tests}
        if len(here) < 2:
            continue
        mean = sum(math.log(s) for s in here.values()) / len(here)
        for place, s in here.items():
            logs[place].append(mean - math.log(s))
    out = {}
    for place, tests in known.items():
        if not tests:
            continue
        longest = max(tests.values(), key=lambda t: t[0])
        relative = math.exp(sum(logs[place]) / len(logs[place])) if logs[place] else None
        out[place] = Speed(relative, longest[0], longest[1], longest[2])
    return out

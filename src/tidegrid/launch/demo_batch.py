"""What the demo submits: real work of several kinds, and how each job is meant to end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Where a job's own words go: a file outside the platform's directories, against which it is judged at the end.
_SAY = """\
say() { printf '%s %s %s %s\\n' "$1" "$DEMO_NAME" "$TIDE_TASK" "$TIDE_ATTEMPT/$TIDE_NATIVE_ID/$$" >>"$DEMO_WITNESS"; }
"""
_PRIMES = """\
awk -v n=%d 'BEGIN { for (i = 2; i <= n; i++) if (!c[i]) { p++; for (j = i * i; j <= n; j += i) c[j] = 1 } print p }'"""


@dataclass(frozen=True, slots=True)
class Planned:
    """One submission. after: names of jobs that must have succeeded before; takes: path -> (job, its output); witnessed: it
    writes to the witness file; expect: the state it is meant to end in."""

    name: str
    about: str
    body: dict[str, Any]
    expect: str = "succeeded"
    tasks: int = 1
    witnessed: bool = False
    takes: dict[str, tuple[str, str]] = field(default_factory=dict)


def _script(name: str, text: str, witness: Path, **more: Any) -> dict[str, Any]:
    return {
        "app": "script",
        "name": name,
        "params": {"script": _SAY + f"say start\n{text}\nsay end\n"},
        "env": {"DEMO_NAME": name, "DEMO_WITNESS": str(witness)},
        "resources": {"cores": 1, "memory_mib": 128, "wall_s": 120, **more.pop("resources", {})},
        **more,
    }


def script(name: str, about: str, text: str, witness: Path, *, tasks: int = 1, **more: Any) -> Planned:
    """A script that writes to the witness file when it starts and when it ends."""
    return Planned(name, about, _script(name, text, witness, **more), tasks=tasks, witnessed=True)


OCEAN = 2  # long runs that hold the cheap cluster's cores
MEMBERS = 10  # short ones that queue behind them, and move when it falls silent


def batch(witness: Path, lammps: bool) -> list[Planned]:
    """Every submission, those that others depend on first."""
    cheap_first = {"ordered": ["hohhot-a", "guangzhou-c", "shanghai-b"]}
    out = [
        Planned(
            f"ocean-{i}", "a long model run, on the cheapest cluster while it answers",
            _script(f"ocean-{i}", 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do echo "step $i/14"; sleep 1; done', witness,
                    constraints={"ordered": ["hohhot-a"]}, movable=True),
            witnessed=True,
        )
        for i in range(1, OCEAN + 1)
    ]  # fmt: skip
    out += [
        Planned(
            f"member-{i:02d}", "a member of an ensemble: cheapest cluster first, movable",
            _script(f"member-{i:02d}", _PRIMES % (20_000 + 1000 * i) + "\nsleep 2.5", witness,
                    constraints=cheap_first, movable=True),
            witnessed=True,
        )
        for i in range(1, MEMBERS + 1)
    ]  # fmt: skip
    md = {"app": "md-lj", "resources": {"cores": 1, "memory_mib": 512, "wall_s": 300}, "objective": "fastest"}
    out += [
        Planned("argon-cold", "molecular dynamics that checks its own energy",
                md | {"name": "argon-cold", "params": {"cells": 4, "steps": 150, "temperature": 0.7, "seed": 7}}),
        Planned("argon-warm", "the same, on shanghai-b: the first of a pair",
                md | {"name": "argon-warm", "params": {"cells": 4, "steps": 150, "temperature": 1.4, "seed": 8},
                      "constraints": {"any_of": ["shanghai-b"]}}),
        Planned("sweep", "an array of six tasks",
                _script("sweep", _PRIMES % 30_000, witness, array="0-5", objective="cheapest"), tasks=6, witnessed=True),
        Planned("primes", "a user's own script, with an output",
                _script("primes", _PRIMES % 200_000 + " > primes.txt", witness, outputs=["primes.txt"]), witnessed=True),
        Planned("typo", "a script that fails: exit status 3",
                _script("typo", 'echo "cannot open input.nml" >&2; exit 3', witness), expect="failed", witnessed=True),
        Planned("endless", "a run past its wall time of 3 s",
                _script("endless", "sleep 600", witness, resources={"wall_s": 3}), expect="timeout", witnessed=True),
    ]  # fmt: skip
    if lammps:
        out.append(
            Planned("melt", "LAMMPS, Lennard-Jones melt",
                    {"app": "lammps-melt", "name": "melt", "params": {"cells": 6, "steps": 100},
                     "resources": {"cores": 1, "memory_mib": 512, "wall_s": 300}})
        )  # fmt: skip
    out.append(
        Planned("table", "the second of the pair, on guangzhou-c: a table of both argon results",
                {"app": "summarise", "name": "table", "params": {"at_least": 2, "fields": ["atoms", "drift", "temperature_last"]},
                 "resources": {"cores": 1, "memory_mib": 128, "wall_s": 60}, "constraints": {"any_of": ["guangzhou-c"]}},
                takes={"cold.json": ("argon-cold", "result.json"), "warm.json": ("argon-warm", "result.json")})
    )  # fmt: skip
    return out

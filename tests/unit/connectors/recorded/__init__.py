"""Slurm's own words, recorded (`record.py` says how) and as later releases document them."""

from __future__ import annotations

from pathlib import Path

from tidegrid.connectors.slurm.shell import Output


def recorded(name: str, release: str = "22.05") -> Output:
    """What a command left."""
    text = (Path(__file__).parent / release / f"{name}.txt").read_text()
    head, _, rest = text.partition("\n--- stdout\n")
    out, _, err = rest.partition("\n--- stderr\n")
    return Output(int(head.removeprefix("rc ")), out, err)

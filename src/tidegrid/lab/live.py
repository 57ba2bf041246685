"""The record that an embedded cluster keeps of its queue's passes, read and held against the simulator."""

from __future__ import annotations

import json
from pathlib import Path

from tidegrid.domain.errors import InvalidInput, NotFound
from tidegrid.simulation.live import Agreement, check


def check_file(path: Path, policy: str = "") -> Agreement:
    """policy: another than the record's own. NotFound (passes.not_found), InvalidInput (passes.malformed, policy.unknown)."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise NotFound("passes.not_found", f"{path}: {e.strerror or e}",
                       hint="an embedded cluster keeps its record in HOME/clusters/NAME/passes.PARTITION.jsonl") from None  # fmt: skip
    lines = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):  # the last line may be being written
        try:
            lines.append(json.loads(line))
        except ValueError:
            raise InvalidInput("passes.malformed", f"{path}, line {number}: no JSON") from None
    return check(lines, policy)

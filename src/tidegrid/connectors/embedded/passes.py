"""What each pass over a queue was told and what it started, one JSON line a pass: the record that a simulator is held to.

Not the journal: nothing rests on it, so it is written without waiting for the disk, and ended where it cannot be written or has
grown to LIMIT. A supervisor begins a new record, whose first line says what its queue is and what ran already.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

LIMIT = 64 << 20
Row = tuple[str, Sequence[int], int]  # name, need, wall time


class Passes:
    """One partition's record. path: of the file; policy, capacity: of its queue."""

    def __init__(self, path: Path, policy: str, capacity: Sequence[int]) -> None:
        self._path = path
        self._head: dict[str, Any] = {"policy": policy, "capacity": list(capacity), "held": []}
        self._file: Any = None
        self._ended = False
        self._size = 0
        self._waiting: set[str] = set()
        self._freed: list[str] = []

    def held(self, name: str, need: Sequence[int], ends_s: int) -> None:
        """A task that ran before this record began."""
        self._head["held"].append([name, ends_s, *need])

    def freed(self, name: str) -> None:
        """A task has given back what it had."""
        self._freed.append(name)

    def note(self, now_s: int, queue: Iterable[Row], started: Sequence[str]) -> None:
        """A pass over `queue`, in its order."""
        rows = {row[0]: row for row in queue}
        came = [[name, wall, *need] for name, need, wall in rows.values() if name not in self._waiting]
        gone = sorted(self._waiting - rows.keys())
        if came or gone or started or (self._freed and rows):
            self._write({"t": now_s, "came": came, "gone": gone, "freed": self._freed, "started": list(started)})
            self._waiting = rows.keys() - set(started)
            self._freed = []

    def _write(self, line: dict[str, Any]) -> None:
        if self._ended:
            return
        try:
            if self._file is None:
                self._file = self._path.open("w", encoding="utf-8")
                self._put(self._head)
            self._put(line)
            self._file.flush()
        except OSError:
            self._ended = True
        if self._ended or self._size > LIMIT:
            self._ended = True
            self._file = self._file and self._file.close()

    def _put(self, line: dict[str, Any]) -> None:
        self._size += self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

"""Logs with a line of names on top: what is common to `sacct -P`, the GPU traces and plain CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tidegrid.simulation.traces.bytesin import refuse, reject_binary, unpack
from tidegrid.simulation.traces.trace import UNKNOWN, Floats, Ints

_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d*)?([eE][+-]?\d{1,3})?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?")
_NOTHING = {"", "none", "unknown", "n/a", "null", "(null)", "?"}


@dataclass
class Cells:
    """Rows of text by column; `line[i]` is row i's line in the file. Bad cells are collected, and refused or mended by `settle`."""

    names: list[str]
    rows: list[list[str]]
    line: list[int]
    repair: bool
    repairs: dict[str, int] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    _problems: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def has(self, name: str) -> bool:
        return name in self.names

    def text(self, *choice: str) -> list[str]:
        """The column of the first of these names that there is, stripped; empty texts where there is none."""
        for name in choice:
            if name in self.names:
                at = self.names.index(name)
                return [row[at].strip() for row in self.rows]
        return [""] * len(self.rows)

    def need(self, *names: str) -> None:
        """Raises InvalidInput `trace.columns` where one of these columns is not there."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise refuse("columns", f"there is no column {', '.join(missing)}; there are {', '.join(self.names)[:200]}", mendable=False)

    def whole(self, name: str, *, essential: bool = False, least: int = 0, scale: float = 1) -> Ints:
        """A column as whole numbers, times `scale`; what is not given is -1. Below `least` is a defect, `trace.negative`."""
        return self.each(name, self.text(name), lambda text: round(_number(text) * scale), essential=essential, least=least)

    def decimal(self, name: str) -> Floats:
        """A column as it is, -1 where it is not given: to the thousandth."""
        return self.whole(name, least=-1000, scale=1000) / 1000.0 if self.has(name) else np.full(len(self.rows), float(UNKNOWN))

    def moments(self, name: str, *, essential: bool = False) -> Ints:
        """A column of times, ISO 8601 without a zone or Unix seconds, as Unix seconds of that clock."""
        return self.each(name, self.text(name), moment, essential=essential, least=0)

    def each(self, name: str, texts: Sequence[str], read: Callable[[str], int], *, essential: bool = False, least: int | None = None) -> Ints:
        out = np.full(len(texts), UNKNOWN, np.int64)
        for i, text in enumerate(texts):
            if text.lower() in _NOTHING and not essential:
                continue
            try:
                value = read(text)
            except (ValueError, OverflowError):
                self.defect("number", i, f"{name} is {text[:40]!r}", drop=essential)
                continue
            if least is not None and value < least and (essential or value != UNKNOWN):
                self.defect("negative", i, f"{name} is {text[:40]!r}", drop=essential)
                continue
            out[i] = value
        return out

    def defect(self, code: str, row: int, message: str, *, drop: bool) -> None:
        self._problems.setdefault(code, []).append((self.line[row], message))
        if drop:
            self.dropped.add(row)

    def settle(self) -> np.ndarray:
        """The rows to keep. Raises InvalidInput for the first defect, unless it is to be repaired."""
        for code, found in self._problems.items():
            if not self.repair:
                raise refuse(code, "", sorted(found))
            self.repairs[code] = self.repairs.get(code, 0) + len(found)
        kept = np.array([i for i in range(len(self.rows)) if i not in self.dropped], np.int64)
        if not len(kept):
            raise refuse("empty", "the log has no jobs", mendable=False)
        return kept


def read_cells(data: bytes, delimiter: str, *, repair: bool = False) -> Cells:
    """Rows under a line of names; quotes count with commas only. Raises InvalidInput as `read_swf` does."""
    text, cut = unpack(data, repair=repair)
    reject_binary(text)
    lines = io.StringIO(text.decode("utf-8-sig", "replace"), newline="")
    reader = csv.reader(lines) if delimiter == "," else csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    names: list[str] = []
    rows, numbers = [], []
    wrong: list[tuple[int, str]] = []
    try:
        for row in reader:
            if not row or (len(row) == 1 and (not row[0].strip() or row[0].startswith("#"))):
                continue
            if not names:
                names = [name.strip() for name in row]
                while names and not names[-1]:  # `sacct -p` ends each line with a bar
                    names.pop()
                continue
            if len(row) == len(names) + 1 and not row[-1]:
                row.pop()
            if len(row) != len(names):
                wrong.append((reader.line_num, f"{len(row)} columns where there should be {len(names)}"))
                continue
            rows.append(row)
            numbers.append(reader.line_num)
    except csv.Error as error:
        raise refuse("columns", "", [(reader.line_num, str(error))]) from None
    out = Cells(names, rows, numbers, repair, {"truncated": 1} if cut else {})
    if wrong and not repair:
        last = wrong[0][0] == reader.line_num and not text.endswith(b"\n")
        raise refuse("truncated" if last else "columns", "", wrong)
    if wrong:
        out.repairs["columns"] = len(wrong)
    if not rows:
        raise refuse("empty", "the log has no jobs", mendable=False)
    return out


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def moment(text: str) -> int:
    """Seconds since 1970 of `2026-11-25T08:00:00` (as if it were UTC) or of Unix seconds. Raises ValueError."""
    if _MOMENT.fullmatch(text):
        return int(np.datetime64(text.replace(" ", "T")).astype("datetime64[s]").astype(np.int64))
    return round(_number(text))


def span(text: str) -> int:
    """Seconds of Slurm's `D-HH:MM:SS`, `HH:MM:SS`, `MM:SS`, with thousandths. Raises ValueError."""
    days, dash, clock = text.rpartition("-")
    parts = clock.split(".")[0].split(":")
    if not (1 < len(parts) < 4 or (dash and len(parts) < 4)) or not all(p.isdigit() for p in parts) or (dash and not days.isdigit()):
        raise ValueError(text)
    numbers = [int(p) for p in parts]
    h, m, s = ([*numbers, 0, 0] if dash else [0, 0, *numbers])[slice(0, 3) if dash else slice(-3, None)]
    return ((int(days or 0) * 24 + h) * 60 + m) * 60 + s

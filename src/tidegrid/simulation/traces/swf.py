"""The Standard Workload Format: 18 numbers a line, comments of `; Name: value` (Feitelson et al., Parallel Workloads Archive).

Also two dialects: the Alea simulator's, which adds a node list, a queue's name and the request's text to each line; and our own for
GPUs, whose header names further columns of numbers (`; Columns: gpus gpu_milli gpu_type`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tidegrid.simulation.traces import tokens
from tidegrid.simulation.traces.bytesin import refuse, reject_binary, unpack
from tidegrid.simulation.traces.trace import UNKNOWN, Header, Ints, Trace, build

FIELDS = (
    "job", "submit", "wait", "run", "allocated", "cpu", "used_memory", "requested", "estimate", "memory", "status",
    "user", "group", "application", "queue", "partition", "preceding", "think",
)  # fmt: skip
FURTHER = ("gpus", "gpu_milli", "gpu_type")
_ALEA = 21
_CHUNK = 1 << 19  # bytes: read at one go, a log is several times slower
_ESSENTIAL = ("submit", "run", "allocated", "requested")
_TIMES = ("submit", "wait", "run", "estimate")
_NUMBER = re.compile(r"-?\d+")
LABELLED = {
    "Queue": "queue", "Partition": "partition", "User": "user", "Group": "group", "Application": "application", "GpuType": "gpu_type",
}  # fmt: skip


def read_swf(data: bytes, *, repair: bool = False, processors: int | None = None) -> Trace:
    """Read a log, plain or gzip, in the order of its lines. `processors`: the machine's, where not the header's.

    Raises InvalidInput with the line: `trace.empty`, `trace.truncated`, `trace.damaged`, `trace.binary`, `trace.columns`,
    `trace.number`, `trace.negative`, `trace.too_wide`. With `repair`, lines without usable times or processors are dropped, other
    values that cannot be are made unknown, and `Trace.repairs` counts them by those codes.
    """
    text, cut = unpack(data, repair=repair)
    reject_binary(text)
    repairs = {"truncated": 1} if cut else {}
    header, labels, offset, count = _header(text)
    body = text[offset:]
    numbers: Ints | None = None
    if b";" in body:
        body, numbers = _without_comments(body)
    body = body if body.endswith(b"\n") else body + b"\n"
    whole = text.endswith((b"\n", b"\r")) and not cut
    names = _names(header)
    where = _Where(numbers, count)
    parts: list[dict[str, np.ndarray]] = []
    lines: list[Ints] = []
    extra: list[tuple[str, str]] = []
    width, before = 0, 0
    for chunk, last in _chunks(body):
        table = tokens.split(chunk)
        width = width or _width(table, len(names))
        rows = _rows(table, before, width, where, whole or not last, repair, repairs)
        before += table.lines
        if not len(rows):
            continue
        parts.append(_columns(table, names, rows, before - table.lines, where, repair, repairs))
        if width > len(names):
            extra += _alea(table, table.line[rows])
        lines.append(rows + before - table.lines)
    if not lines:
        raise refuse("empty", "the log has no jobs", mendable=False)
    rows = np.concatenate(lines)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    if extra:
        for name, column in (("queue", [q for q, _ in extra]), ("partition", [c for _, c in extra])):
            columns[name], labels[name] = coded(column)
    kept = _plausible(columns, where, rows, processors or header.processors or header.nodes, repair, repairs)
    trace = build(**columns, header=header, labels=labels, repairs=repairs)
    return trace if kept is None else trace.take(kept)


@dataclass(frozen=True, eq=False)
class _Where:
    """From a line of the table to a line of the file."""

    numbers: Ints | None
    before: int

    def line(self, row: int) -> int:
        return int(self.numbers[row]) + self.before if self.numbers is not None else row + 1 + self.before


def _header(text: bytes) -> tuple[Header, dict[str, dict[int, str]], int, int]:
    """(header, labels, where the body begins, lines before it)."""
    at, count = 0, 0
    if text.startswith(b"\xef\xbb\xbf"):
        at = 3
    pairs: list[tuple[str, str]] = []
    notes: list[str] = []
    while at < len(text):
        end = text.find(b"\n", at)
        end = len(text) if end < 0 else end
        line = text[at:end].strip()
        if line and not line.startswith(b";"):
            break
        at, count = min(end + 1, len(text)), count + 1
        content = line.lstrip(b"; \t").decode("utf-8", "replace").rstrip()
        name, colon, value = content.partition(":")
        if colon and re.fullmatch(r"[A-Za-z][A-Za-z0-9_ ]*", name.strip()) and not line.lstrip(b";").startswith(b"   "):
            pairs.append((name.strip(), value.strip()))
        elif content:
            notes.append(content)
    return _said(pairs, notes), _labels(pairs), at, count


def _said(pairs: list[tuple[str, str]], notes: list[str]) -> Header:
    first = {name.lower(): value for name, value in reversed(pairs)}

    def number(name: str, least: int = 1) -> int | None:
        match = _NUMBER.search(first.get(name, ""))
        return int(match[0]) if match and int(match[0]) >= least else None

    return Header(
        start=number("unixstarttime", 0), processors=number("maxprocs"), nodes=number("maxnodes"),
        computer=first.get("computer", ""), zone=first.get("timezonestring", ""), fields=tuple(pairs), notes=tuple(notes),
    )  # fmt: skip


def _labels(pairs: list[tuple[str, str]]) -> dict[str, dict[int, str]]:
    out: dict[str, dict[int, str]] = {}
    for name, value in pairs:
        code, _, label = value.partition(" ")
        if name in LABELLED and code.isdigit() and label.strip():
            out.setdefault(LABELLED[name], {})[int(code)] = label.strip()
    return out


def _names(header: Header) -> tuple[str, ...]:
    said = next((value for name, value in header.fields if name == "Columns"), "").split()
    return FIELDS + tuple(said) if set(said) <= set(FURTHER) else FIELDS


def _without_comments(body: bytes) -> tuple[bytes, Ints]:
    """The lines that are no comment, and their numbers from 1: for the rare log with comments between its jobs."""
    lines = body.split(b"\n")
    kept = [n for n, line in enumerate(lines, 1) if not line.lstrip().startswith(b";")]
    return b"\n".join(lines[n - 1] for n in kept), np.array(kept, dtype=np.int64)


def _chunks(body: bytes) -> Iterator[tuple[bytes, bool]]:
    """The body in pieces of whole lines that stay in the processor's cache, and whether it is the last one."""
    at = 0
    while at < len(body):
        end = body.rfind(b"\n", at, at + _CHUNK) + 1 or body.find(b"\n", at) + 1 or len(body)
        yield body[at:end], end == len(body)
        at = end


def _width(table: tokens.Table, width: int) -> int:
    """How many words a job's line has, by the first of them: `width`, or Alea's 21; 0 where the table has no job."""
    counts = table.counts()
    rows = np.flatnonzero(counts)
    return 0 if not len(rows) else _ALEA if int(counts[rows[0]]) == _ALEA else width


def _rows(table: tokens.Table, before: int, width: int, where: _Where, whole: bool, repair: bool, repairs: dict[str, int]) -> Ints:
    """Lines of the table that hold a job; `before`: lines of the tables before it."""
    counts = table.counts()
    if width and len(counts) and int(counts.min()) == int(counts.max()) == width:
        return np.arange(len(counts))
    rows = np.flatnonzero(counts)
    wrong = rows[counts[rows] != width]
    if len(wrong):
        if not repair:
            cut = not whole and wrong[0] == rows[-1] and counts[wrong[0]] < width
            found = [(where.line(before + int(r)), f"{counts[r]} columns where there should be {width}") for r in wrong[:20]]
            raise refuse("truncated" if cut else "columns", "the log ends in the middle of a line" if cut else "", found)
        last = int(not whole and wrong[-1] == rows[-1])
        _count(repairs, "truncated", last)
        _count(repairs, "columns", len(wrong) - last)
        rows = rows[counts[rows] == width]
    return rows


def _columns(table: tokens.Table, names: tuple[str, ...], rows: Ints, before: int, where: _Where, repair: bool,
             repairs: dict[str, int]) -> dict[str, np.ndarray]:  # fmt: skip
    first = table.line[rows]
    dotted = np.zeros(len(names), bool)
    if len(table.dots):
        word = np.searchsorted(table.begin, table.dots, side="right") - 1
        at = word - table.line[np.searchsorted(table.line, word, side="right") - 1]
        dotted[at[at < len(names)]] = True
    columns: dict[str, np.ndarray] = {}
    unreadable: list[tuple[int, int, str]] = []
    for c, name in enumerate(names):
        begin, end = table.begin[first + c], table.end[first + c]
        if dotted[c]:
            value, bad = tokens.decimals(table, begin, end)
            columns[name] = value if name == "cpu" else np.rint(value).astype(np.int64)
        else:
            columns[name], bad = tokens.integers(table, begin, end)
        if bad.any():
            for i in np.flatnonzero(bad):
                unreadable.append((int(i), c, table.word(int(first[i]) + c)))
            columns[name][bad] = UNKNOWN if name not in _ESSENTIAL else _NONE
    if unreadable and not repair:
        unreadable.sort()
        found = [(where.line(before + int(rows[i])), f"column {c + 1} ({names[c]}) is {word[:40]!r}, no number") for i, c, word in unreadable[:20]]
        raise refuse("number", "", found)
    _count(repairs, "number", len({i for i, _, _ in unreadable}))
    return columns


_NONE = np.iinfo(np.int64).min  # in an essential column: not readable, the line goes


def _plausible(columns: Mapping[str, np.ndarray], where: _Where, rows: Ints, machine: int | None, repair: bool,
               repairs: dict[str, int]) -> np.ndarray | None:  # fmt: skip
    """Check times and widths; the mask of lines to keep, None for all of them."""
    kept = np.ones(len(rows), bool)
    for name in _ESSENTIAL:
        kept &= columns[name] != _NONE
    negative = [(int(i), name) for name in _TIMES
                for i in np.flatnonzero((columns[name] < (0 if name == "submit" else UNKNOWN)) & kept)]  # fmt: skip
    if negative and not repair:
        found = [(where.line(int(rows[i])), f"{name} is {columns[name][i]} seconds") for i, name in sorted(negative)[:20]]
        raise refuse("negative", "", found)
    for i, name in negative:
        columns[name][i] = UNKNOWN
    _count(repairs, "negative", len({i for i, _ in negative}))
    kept &= columns["submit"] >= 0
    if machine is not None:
        width = np.where(columns["requested"] > 0, columns["requested"], columns["allocated"])
        wide = np.flatnonzero((width > machine) & kept)
        if len(wide) and not repair:
            found = [(where.line(int(rows[i])), f"{width[i]} processors on a machine of {machine}") for i in wide[:20]]
            raise refuse("too_wide", "", found)
        _count(repairs, "too_wide", len(wide))
        kept[wide] = False
    if kept.all():
        return None
    if not kept.any():
        raise refuse("empty", "no line of the log could be kept", mendable=False)
    return kept


def _alea(table: tokens.Table, first: Ints) -> list[tuple[str, str]]:
    """(queue, cluster) of Alea's last words: the queue's name, and the cluster that a request names (`cl_name`)."""
    asked = (re.search(r"\bcl_(\w+)", table.word(int(i) + 20)) for i in first)
    return [(table.word(int(i) + 19), m[1] if m else "") for i, m in zip(first, asked, strict=True)]


def coded(names: list[str]) -> tuple[Ints, dict[int, str]]:
    """Names as codes from 0 in the order they come; an empty name is unknown."""
    codes: dict[str, int] = {}
    out = np.array([codes.setdefault(name, len(codes)) if name else UNKNOWN for name in names], dtype=np.int64)
    return out, {code: name for name, code in codes.items()}


def _count(repairs: dict[str, int], code: str, n: int) -> None:
    if n:
        repairs[code] = repairs.get(code, 0) + n


"""Plots as inline SVG text: no script, no font and no host is asked. Colours are classes `s0`... of the page that holds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

W, H = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 40


@dataclass(frozen=True)
class Axis:
    """From values to positions; `ticks`: (value, text). Where `log`, values below `low` lie at `low`."""

    low: float
    high: float
    at: float
    to: float
    log: bool
    ticks: Sequence[tuple[float, str]]
    name: str

    def __call__(self, value: float) -> float:
        low, high, v = self.low, self.high, min(max(value, self.low), self.high)
        part = math.log(v / low) / math.log(high / low) if self.log else (v - low) / (high - low)
        return round(self.at + part * (self.to - self.at), 1)


@dataclass(frozen=True)
class Line:
    """`points`: (x, y); `style`: the number of its colour."""

    name: str
    points: Sequence[tuple[float, float]]
    style: int
    dashed: bool = False


DURATIONS = [(1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (6 * 3600, "6 h"), (86400, "1 d"), (7 * 86400, "1 wk"),
             (30 * 86400, "1 mo"), (365 * 86400, "1 y")]  # fmt: skip
SHARES = [(1.0, "100%"), (0.1, "10%"), (0.01, "1%"), (0.001, "0.1%"), (0.0001, "0.01%")]


def durations(low: float, high: float, at: float, to: float, name: str) -> Axis:
    return Axis(low, max(high, low * 10), at, to, True, [t for t in DURATIONS if low <= t[0] <= max(high, low * 10)], name)


def decades(low: float, high: float, at: float, to: float, name: str) -> Axis:
    """Powers of ten from below `low` to above it; twos and fives too where there are few."""
    first = math.floor(math.log10(low) + 1e-9)
    top = max(high, 10.0 ** (first + 1))
    few = top / 10.0**first <= 150
    steps = [m * 10.0**e for e in range(first, math.floor(math.log10(top)) + 1) for m in ((1, 2, 5) if few else (1,))]
    return Axis(10.0**first, top, at, to, True, [(v, f"{v:,.10g}") for v in steps if v <= top], name)


def shares(at: float, to: float, name: str) -> Axis:
    return Axis(1e-4, 1.0, at, to, True, SHARES, name)


def linear(low: float, high: float, at: float, to: float, name: str, form: Callable[[float], str], about: int = 5) -> Axis:
    """Ticks at round values: 1, 2 or 5 times a power of ten apart."""
    span = max(high - low, 1e-9)
    step = 10.0 ** math.floor(math.log10(span / about))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= about + 0.5)
    first = math.ceil(low / step - 1e-9)
    return Axis(low, low + span, at, to, False, [(i * step, form(i * step)) for i in range(first, math.floor((low + span) / step + 1e-9) + 1)], name)


def days(seconds: float, at: float, to: float, start: int | None, name: str = "") -> Axis:
    """Time from second 0 on; named by days of the log, or by dates where its Unix time of second 0 is known."""
    from datetime import UTC, datetime

    span = max(seconds, 1.0)
    steps = [3600, 2 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400, 14 * 86400, 30.4375 * 86400, 91.3125 * 86400, 182.625 * 86400,
             365.25 * 86400, 730.5 * 86400, 5 * 365.25 * 86400]  # fmt: skip
    step = next((s for s in steps if span / s <= 8), steps[-1])
    ticks = []
    first = float(-start % min(step, 86400)) if start is not None else 0.0  # at midnight, or at a round hour
    for i in range(int((span - first) / step) + 1 if span >= first else 0):
        t = first + i * step
        if start is not None:
            text = datetime.fromtimestamp(start + t, UTC).strftime("%m-%d %H:%M" if step < 86400 else "%Y-%m-%d")
        else:
            text = f"{t / 3600:.0f} h" if step < 86400 else f"day {t / 86400:.0f}"
        ticks.append((t, text))
    return Axis(0.0, span, at, to, False, ticks, name)


def frame(x: Axis, y: Axis, inside: str, *, width: int = W, height: int = H, label: str = "") -> str:
    """Axes with ticks, light lines across, and what is drawn inside."""
    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">']
    for value, text in y.ticks:
        out.append(f'<path class="grid" d="M{x.at} {y(value)}H{x.to}"/><text class="tick" text-anchor="end" x="{x.at - 6}" y="{y(value) + 3.5}">{escape(text)}</text>')
    for value, text in x.ticks:
        anchor = "end" if width > W and x(value) > x.to - 20 else "middle"
        out.append(f'<path class="grid" d="M{x(value)} {y.at}V{y.to}"/><text class="tick" text-anchor="{anchor}" x="{x(value)}" y="{y.at + 15}">{escape(text)}</text>')
    out.append(inside)
    out.append(f'<path class="axis" d="M{x.at} {y.to}V{y.at}H{x.to}"/>')
    if x.name:
        out.append(f'<text class="name" text-anchor="middle" x="{(x.at + x.to) / 2}" y="{y.at + 32}">{escape(x.name)}</text>')
    if y.name:
        middle = (y.at + y.to) / 2
        out.append(f'<text class="name" text-anchor="middle" transform="translate(13 {middle}) rotate(-90)">{escape(y.name)}</text>')
    return "".join(out) + "</svg>"


def lines(series: Sequence[Line], x: Axis, y: Axis, *, label: str, dots: bool = False) -> str:
    out = []
    for line in series:
        path = "L".join(f"{x(a)} {y(b)}" for a, b in line.points)
        kind = f"line s{line.style}" + (" dashed" if line.dashed else "")
        out.append(f'<path class="{kind}" d="M{path}"><title>{escape(line.name)}</title></path>')
        if dots:
            out += [f'<circle class="dot s{line.style}" cx="{x(a)}" cy="{y(b)}" r="3"/>' for a, b in line.points]
    return frame(x, y, "".join(out), label=label)


def tail(values: Sequence[float], quantiles: Sequence[float], least: float) -> list[tuple[float, float]]:
    """(value, share of jobs above it) from quantiles: from the share above `least` on, down to one in ten thousand."""
    start = max((q for v, q in zip(values, quantiles, strict=True) if v <= least), default=0.0)
    rest = [(v, 1 - q) for v, q in zip(values, quantiles, strict=True) if v > least and start < q < 1]
    return [(least, max(1 - start, 1e-4)), *rest]


def area(busy: Sequence[float], waiting: Sequence[float], processors: int, x: Axis, step: float, style: int, *, label: str, height: int = 150) -> str:
    """How much of the machine is busy, over time; beneath, how many times the machine is waited for, on a scale of its own."""
    middle, foot = 92.0, height - 30.0
    up = Axis(0, 1, middle - 8, 8, False, [(0, "0"), (0.5, "50%"), (1, "100%")], "")
    most = max(1.0, max(waiting, default=0) / processors)
    down = Axis(0, most, foot, middle + 4, False, [(most, f"{most:.1f}×")], "")
    out = [f'<svg viewBox="0 0 940 {height}" role="img" aria-label="{escape(label)}">']
    for axis in (up, down):
        for value, text in axis.ticks:
            out.append(f'<path class="grid" d="M{x.at} {axis(value)}H{x.to}"/><text class="tick" text-anchor="end" x="{x.at - 6}" y="{axis(value) + 3.5}">{escape(text)}</text>')
    for value, text in x.ticks:
        anchor = "end" if x(value) > x.to - 20 else "middle"
        out.append(f'<path class="grid" d="M{x(value)} 8V{foot}"/><text class="tick" text-anchor="{anchor}" x="{x(value)}" y="{foot + 15}">{escape(text)}</text>')
    for axis, values, kind in ((up, [b / processors for b in busy], "fill"), (down, [w / processors for w in waiting], "fill soft")):
        path = "".join(f"L{x(i * step)} {axis(v)}H{x((i + 1) * step)}" for i, v in enumerate(values))
        out.append(f'<path class="{kind} s{style}" d="M{x.at} {axis(0)}{path}V{axis(0)}Z"/>')
        out.append(f'<path class="axis" d="M{x.at} {axis(0)}H{x.to}"/>')
    return "".join(out) + "</svg>"


WAITS = ((0, "at once"), (3600, "within 1 h"), (6 * 3600, "within 6 h"), (86400, "within 1 d"), (math.inf, "later"))


def gantt(pieces: Sequence[Sequence[int]], span: int, processors: int, start: int | None, *, label: str, height: int = 260) -> str:
    """Jobs as rectangles, time to the right, processors upward; the colour says how long each had waited (`w0`... of WAITS)."""
    x = days(span, LEFT, 930, start)
    y = linear(0, processors, height - 28, 8, "processors", lambda v: f"{v:.0f}", 4)
    out = []
    for job, begin, end, at, n, waited in pieces:
        kind = next(i for i, (most, _) in enumerate(WAITS) if waited <= most)
        top, left, right = y(at + n), x(begin), x(end)
        tall, wide = max(0.4, round(y(at) - top, 1)), max(0.6, round(right - left, 1))
        out.append(f'<rect class="w{kind}" x="{left}" y="{top}" width="{wide}" height="{tall}"><title>job {job + 1}: {n} processors, waited {waited} s</title></rect>')
    return frame(x, y, "".join(out), width=940, height=height, label=label)


def bars(rows: Sequence[tuple[str, float, str]], *, label: str) -> str:
    """Diverging bars: (name, part, text); below 0 to the left is a gain (less waiting), above it a loss."""
    low, high = min([-0.05, *(part for _, part, _ in rows)]), max([0.05, *(part for _, part, _ in rows)])
    x = linear(low, high, 190, 820, "", lambda v: f"{100 * v:+.0f}%" if abs(v) > 1e-9 else "0", 6)
    height = 26 * len(rows) + 34
    out = []
    for i, (name, part, text) in enumerate(rows):
        at, zero, end = 26 * i + 8, x(0), x(part)
        kind = "gain" if part <= 0 else "loss"
        out.append(f'<rect class="{kind}" x="{min(zero, end)}" y="{at}" width="{max(0.5, abs(end - zero))}" height="16"/>'
                   f'<text class="row" text-anchor="end" x="180" y="{at + 12}">{escape(name)}</text>'
                   f'<text class="tick" x="830" y="{at + 12}">{escape(text)}</text>')  # fmt: skip
    foot = height - 26.0
    across = [f'<path class="grid" d="M{x(v)} 4V{foot}"/><text class="tick" text-anchor="middle" x="{x(v)}" y="{foot + 16}">{escape(t)}</text>' for v, t in x.ticks]
    middle = f'<path class="axis" d="M{x(0)} 4V{foot}"/>'
    return f'<svg viewBox="0 0 940 {height}" role="img" aria-label="{escape(label)}">' + "".join(across) + "".join(out) + middle + "</svg>"

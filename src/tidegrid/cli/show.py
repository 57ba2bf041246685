"""Text for people: tables without frames, colour only on a terminal, whole lines in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLE = {
    "succeeded": "green", "running": "bold cyan", "finishing": "cyan", "queued": "blue", "pending": "yellow",
    "waiting": "yellow", "held": "magenta", "failed": "bold red", "timeout": "bold red", "oom": "bold red",
    "lost": "bold red", "cancelled": "dim", "up": "green", "silent": "bold red", "drained": "yellow",
    "dead": "bold red", "suspect": "yellow", "draining": "bold yellow", "unsteady": "yellow", ", drained": "yellow", "unknown": "dim", "ok": "green",
}  # fmt: skip


@cache
def console(err: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 200
    return Console(stderr=err, width=width, highlight=False, soft_wrap=False)


def state(text: str) -> Text:
    """A state in its colour."""
    from rich.text import Text

    return Text(text, style=_STYLE.get(text.lower(), ""))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = (), empty: str = "") -> None:
    """Print rows under their heads; `empty` where there is none. Cells are text, or Rich's.

    Where the rows are wider than the terminal, cells are folded: none is cut.
    """
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    if not rows:
        if empty:
            console(err=True).print(Text(empty, style="dim"))
        return
    out = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    cells = [[cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [max(len(name), *(row[i].cell_len for row in cells)) + 2 for i, name in enumerate(columns)]
    whole = sum(widths[:-1]) + min(widths[-1], 20) <= console().width  # the last one is the one that may be long
    for name in columns:
        tail = name == columns[-1]
        out.add_column(name, justify="right" if name in right else "left", no_wrap=whole and not tail, overflow="fold")
    for row in cells:
        out.add_row(*row)
    console().print(out)


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one pair a line; pairs without a value are left out."""
    from rich.table import Table
    from rich.text import Text

    out = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    out.add_column(style="dim", no_wrap=True)
    out.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], {}):
            out.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    console().print(out)


def heading(text: str) -> None:
    from rich.text import Text

    console().print()
    console().print(Text(text, style="bold"))


def line(text: str, style: str = "") -> None:
    from rich.text import Text

    console().print(Text(text, style=style))


def tree(value: Any, depth: int = 0) -> None:
    """Any JSON value, indented: for answers whose terms may grow."""
    pad = "  " * depth
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(item, Mapping | list) and item:
                line(f"{pad}{name}:")
                tree(item, depth + 1)
            else:
                line(f"{pad}{name}: {scalar(item)}")
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping | list) and item:
                line(f"{pad}-")
                tree(item, depth + 1)
            else:
                line(f"{pad}- {scalar(item)}")
    else:
        line(f"{pad}{scalar(value)}")


def scalar(value: Any) -> str:
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def money(view: Any) -> str:
    """`{amount, currency}` as text."""
    return f"{view['amount']} {view['currency']}" if isinstance(view, Mapping) and "amount" in view else scalar(view)


def seconds(value: float | None) -> str:
    """A duration, in the two units that matter."""
    if value is None:
        return "-"
    if 0 < value < 10:
        return f"{value:.1f}s"
    whole = round(value)
    for unit, size, below, part in (("d", 86400, 3600, "h"), ("h", 3600, 60, "m"), ("m", 60, 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // below:02d}{part}"
    return f"{whole}s"


def ago(moment: datetime | None) -> str:
    return "-" if moment is None else seconds(max(0.0, (datetime.now(UTC) - moment).total_seconds()))


def between(start: datetime | None, end: datetime | None) -> str:
    """How long it ran, or has run."""
    if start is None:
        return "-"
    return seconds(max(0.0, ((end or datetime.now(UTC)) - start).total_seconds()))


def moment(value: datetime | str | None) -> str:
    """A time on the user's clock."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return "" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def error(code: str, message: str, hint: str, details: Mapping[str, Any]) -> None:
    """An error: what happened, what to do, the stable code."""
    from rich.text import Text

    out = console(err=True)
    out.print(Text.assemble(("error: ", "bold red"), message, (f"  [{code}]", "dim")), soft_wrap=True)
    found = details.get("problems") or details.get("errors") or ()
    untold = [text for text in map(_problem, found) if text.rpartition(": ")[2] not in message]
    for text in untold[:20]:
        out.print(Text(f"  - {text}"), soft_wrap=True)
    if len(untold) > 20:
        out.print(Text(f"  - and {len(untold) - 20} more"))
    if hint:
        out.print(Text.assemble(("hint: ", "bold"), hint), soft_wrap=True)


def _problem(problem: Any) -> str:
    if not isinstance(problem, Mapping):
        return str(problem)
    line = f"line {problem['line']}: " if problem.get("line") else ""
    where = problem.get("path") or problem.get("where")
    return line + (f"{where}: " if where else "") + str(problem.get("message", ""))

"""The demo on a screen: a live table on a terminal, plain lines elsewhere, and what is to be said at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tidegrid.client import Job, Tide
from tidegrid.domain.money import format_amount
from tidegrid.launch.demo_batch import Planned

_STYLE = {
    "succeeded": "green", "running": "bold cyan", "queued": "yellow", "pending": "yellow", "waiting": "dim",
    "failed": "red", "timeout": "magenta", "lost": "bold white on red",
}  # fmt: skip


class Board:
    """What is known of the jobs, one round of requests a look."""

    def __init__(self, user: Tide, operator: Tide, plan: Sequence[Planned]) -> None:
        self.user, self.operator, self.plan = user, operator, plan
        self.jobs: dict[str, Job] = {}
        self.where: dict[str, list[str]] = defaultdict(list)
        self.clusters: list[dict[str, Any]] = []
        self._seq = 0

    def look(self) -> None:
        """Jobs by name, the clusters each has been sent to, and the clusters' health."""
        self.jobs = {j.name: j for j in self.user.jobs(page=100)}
        names = {j.id: j.name for j in self.jobs.values()}
        while page := self.user.events_page(after=self._seq, kinds=["attempt.created"], limit=500):
            for event in page:
                if event.job in names:
                    self.where[names[event.job]].append(event.cluster or "?")
            self._seq = page[-1].seq
        self.clusters = self.operator.clusters()

    @property
    def done(self) -> bool:
        return len(self.jobs) >= len(self.plan) and all(j.final for j in self.jobs.values())

    def count(self) -> Counter[str]:
        return Counter(str(j.state) for j in self.jobs.values())

    def at(self, cluster: str, state: str) -> int:
        """Jobs in `state` whose last cluster is this one."""
        return sum(1 for n, j in self.jobs.items() if j.state == state and self.where[n][-1:] == [cluster])


class Screen:
    """`say` for what happens; `show` for the state in between. to_stderr: keeps standard output for a machine."""

    def __init__(self, *, to_stderr: bool) -> None:
        self.console = Console(stderr=to_stderr, highlight=False)
        if not self.console.is_terminal:
            self.console = Console(stderr=to_stderr, highlight=False, width=150)
        self._began = time.monotonic()
        self._live: Live | None = None
        self._last = ("", 0.0)

    def say(self, text: str) -> None:
        self.console.print(Text.assemble((f"[{time.monotonic() - self._began:5.1f} s] ", "dim"), text))

    def begin(self) -> None:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def show(self, board: Board) -> None:
        if self._live is not None:
            self._live.update(_table(board))
            return
        text = ", ".join(f"{n} {s}" for s, n in sorted(board.count().items()))
        if text != self._last[0] and time.monotonic() - self._last[1] > 1.0:
            self._last = (text, time.monotonic())
            self.say(text)

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        sys.stdout.flush()

    def heading(self, text: str) -> None:
        self.console.print()
        self.console.print(Text(text, style="bold"))

    def line(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style=style))

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for i, c in enumerate(columns):
            table.add_column(c, overflow="fold", no_wrap=i == 0)
        for row in rows:
            table.add_row(*row)
        self.console.print(table)


def _table(board: Board) -> Table:
    health = "   ".join(f"{c['name']} [{_health(c)}]" for c in board.clusters)
    table = Table(title=health, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("job", "state", "where", "charged", ""):
        table.add_column(name, no_wrap=True)
    for p in board.plan:
        job = board.jobs.get(p.name)
        state = str(job.state) if job else "-"
        table.add_row(
            p.name, Text(state, style=_STYLE.get(state, "")), " → ".join(board.where[p.name]),
            str(job.cost.amount) if job else "", Text(p.about, style="dim"),
        )  # fmt: skip
    return table


def _health(cluster: Mapping[str, Any]) -> str:
    health = str(cluster.get("health"))
    return {"up": "green", "silent": "bold red"}.get(health, "yellow") + f"]{health}[/"


def whys(plan: Sequence[Planned], jobs: Mapping[str, Job], decisions: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[list[str]]:
    """Rows (jobs, how they ended, why there); jobs of one kind share a row, with the ways they went."""
    kinds: dict[str, list[Planned]] = defaultdict(list)
    for p in plan:
        if p.name in jobs:
            kinds[p.about].append(p)
    rows = []
    for same in kinds.values():
        names = same[0].name if len(same) == 1 else f"{same[0].name} … {same[-1].name}"
        states = Counter(str(jobs[p.name].state) for p in same)
        ended = ", ".join(s if len(same) == 1 else f"{n} {s}" for s, n in states.items())
        ways = Counter(tuple(str(d["chosen"]) for d in decisions[p.name]) for p in same)
        rows.append([names, ended, why(decisions[same[0].name])])
        for way, n in ways.items():
            if len(way) > 1:
                rows.append(["", "", f"{n} went {' → '.join(way)}: {way[0].partition('/')[0]} did not answer"])
    return rows


def why(decisions: Sequence[Mapping[str, Any]]) -> str:
    """The first decision in a line: what was chosen, by what, and what came next."""
    if not decisions:
        return "never placed"
    first = decisions[0]
    chosen = next((c for c in first["candidates"] if c["partition"] == first["chosen"]), None)
    if chosen is None:
        return str(first["chosen"])
    text = (
        f"{first['chosen']} ({chosen['supply'].replace('_', '-')}): best of {first['feasible']} for {first['objective']}, "
        f"≈ {format_amount(chosen['price'])} yuan, wait ≈ {chosen['wait_p50_s']:.0f} s"
    )
    others = [c for c in first["candidates"] if c["partition"] != first["chosen"]]
    if others:
        text += f"; next {others[0]['partition']}, ≈ {format_amount(others[0]['price'])} yuan"
    elif first.get("refusals"):
        text += "; others " + ", ".join(f"{r.replace('_', ' ')}: {n}" for r, n in first["refusals"].items())
    return text


def money_by_partition(usage: Iterable[Mapping[str, Any]]) -> list[tuple[str, float, Decimal, Decimal]]:
    """(cluster/partition, core-seconds, charged, cost to the operator) of journalled use."""
    sums: dict[str, tuple[float, Decimal, Decimal]] = defaultdict(lambda: (0.0, Decimal(0), Decimal(0)))
    for u in usage:
        core_s, charge, cost = sums[f"{u['cluster']}/{u['partition']}"]
        sums[f"{u['cluster']}/{u['partition']}"] = (
            core_s + u["elapsed_ms"] / 1000 * u["cores"],
            charge + Decimal(u["charge"]["amount"]),
            cost + Decimal(u["cost"]["amount"]),
        )
    return [(name, *sums[name]) for name in sorted(sums)]

"""Offers and explanations as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegrid.cli import show
from tidegrid.domain.money import format_amount

_KNOWN = {"job", "state", "reason", "decisions", "events"}


def offers(found: Mapping[str, Any]) -> None:
    """The candidates, best first, and why the rest is none."""
    r = found.get("resources") or {}
    if found.get("formulas"):
        show.line(f"a task asks for {r.get('cores')} cores, {r.get('memory_mib')} MiB, {show.seconds(r.get('wall_s') or 0)} at most: "
                  + "; ".join(f"{k} {v}" for k, v in found["formulas"].items()))  # fmt: skip
    _candidates(found.get("offers") or [])
    _refusals(found.get("refusals") or {}, found.get("partitions"))
    if found.get("summary"):
        show.line(str(found["summary"]), "" if found.get("offers") else "bold red")


def explanation(found: Mapping[str, Any]) -> None:
    """Each decision with its candidates, then what happened."""
    state = show.state(str(found.get("state", "")))
    show.facts([("job", found.get("job")), ("state", state), ("reason", found.get("reason"))])
    for d in found.get("decisions") or []:
        objective = f", objective {d['objective']}" if d.get("objective") else ""
        show.heading(f"{show.moment(d.get('at'))}  placed on {d.get('chosen') or '-'}{objective}")
        for text in d.get("text") or []:
            show.line(str(text))
        _candidates(d.get("candidates") or [])
    events = found.get("events") or []
    if events:
        show.heading("what happened")
        show.table(
            ["WHEN", "EVENT", "CLUSTER", "DETAILS"],
            [[show.moment(e.get("at")), e.get("kind"), e.get("cluster") or "", details(e.get("body"))] for e in events],
        )
    rest = {k: v for k, v in found.items() if k not in _KNOWN}
    if rest:
        show.tree(rest)


def _candidates(candidates: list[Mapping[str, Any]]) -> None:
    if not candidates:
        return
    with_cost = any("cost" in c for c in candidates)
    show.table(
        ["", "WHERE", "REGION", "SUPPLY", "AT ONCE", "WAIT", "RUN", "PRICE", "AT MOST", *(["COST"] if with_cost else []), ""],
        [
            [
                n, c.get("partition"), c.get("region"), str(c.get("supply") or "").replace("_", "-"),
                _percent(c.get("start_now")), _span(c, "wait"), _span(c, "run"), _price(c.get("price")),
                _price(c.get("at_most", c.get("hold"))), *([_price(c.get("cost"))] if with_cost else []),
                f"staging {show.seconds(c['staging_s'])}" if c.get("staging_s") else "",
            ]
            for n, c in enumerate(candidates, 1)
        ],
        right=["AT ONCE", "PRICE", "AT MOST", "COST"],
    )  # fmt: skip


def _refusals(refusals: Mapping[str, int], partitions: Any = None) -> None:
    if refusals:
        of = f", of {partitions} partitions" if partitions else ""
        show.line("not possible: " + ", ".join(f"{why} {n}" for why, n in refusals.items()) + of, "dim")


def _span(c: Mapping[str, Any], what: str) -> str:
    """`1m02s (p90 3m00s)`."""
    half, most = c.get(f"{what}_p50_s"), c.get(f"{what}_p90_s")
    return show.seconds(half) if most in (None, half) else f"{show.seconds(half)} (p90 {show.seconds(most)})"


def _percent(value: Any) -> str:
    return "-" if value is None else f"{100 * float(value):.0f}%"


def _price(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{format_amount(value)} CNY"
    return show.money(value)


def details(body: Any) -> str:
    """An event's body on one line."""
    if not isinstance(body, Mapping):
        return ""
    return "  ".join(f"{k}={v}" for k, v in body.items() if v not in (None, "", [], {}))

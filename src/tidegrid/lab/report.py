"""A sweep as one page of HTML that holds everything it shows: it can be mailed, and opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid import __version__
from tidegrid.lab import plots
from tidegrid.lab.standings import over_logs, standings
from tidegrid.simulation.digest import QUANTILES

_STYLES = 8
KNOWING = " clairvoyant"


def page(outcomes: Sequence[Mapping[str, Any]], policies: Sequence[str], *, command: str = "") -> str:
    """The page. `policies`: labels in the order to show them, the first is compared with."""
    from jinja2 import Environment, PackageLoader

    found = standings(outcomes, policies)
    many = len(found) > 1
    logs = [_log(name, outcomes, found, policies) for name in dict.fromkeys(group["log"] for group in found)]
    view = {
        "title": ", ".join(log["name"] for log in logs), "command": command, "version": __version__, "policies": list(_styles(policies).items()),
        "over_logs": over_logs(found, policies) if many else [], "logs": logs, "waits": [text for _, text in plots.WAITS],
        "seeds": max(row["seeds"] for group in found for row in group["policies"]), "first": policies[0],
        "known": any(o["run"]["clairvoyant"] for o in outcomes),
    }  # fmt: skip
    site = Environment(loader=PackageLoader("tidegrid.lab", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    site.filters.update(duration=duration, figure=figure, percent=lambda v: f"{100 * v:.1f}%")
    return site.get_template("report.html.j2").render(view)


def write(path: Path, outcomes: Sequence[Mapping[str, Any]], policies: Sequence[str], *, command: str = "") -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(page(outcomes, policies, command=command), encoding="utf-8")
    part.replace(path)


def _styles(policies: Sequence[str]) -> dict[str, int]:
    """A number for each label: a policy and its clairvoyant reference have one colour."""
    plain = list(dict.fromkeys(label.removesuffix(KNOWING) for label in policies))
    return {label: plain.index(label.removesuffix(KNOWING)) % _STYLES for label in policies}


def _log(name: str, outcomes: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], policies: Sequence[str]) -> dict[str, Any]:
    groups = [g for g in found if g["log"] == name]
    shown = groups[len(groups) // 2]  # of several loads the one in the middle is drawn
    here = [o for o in outcomes if o["run"]["name"] == name]
    drawn = [o for o in here if o["run"]["load"] == shown["load"]]
    styles = _styles(policies)
    plain = [o for o in drawn if o["run"]["seed"] == 0] or drawn
    rivals = [label for label in policies if not label.endswith(KNOWING)]
    by_label = {label: next((o for o in plain if o["label"] == label), None) for label in rivals}
    start = plain[0].get("start")
    span = max(o["time"]["step"] * len(o["time"]["busy"]) for o in plain)
    return {
        "name": name, "groups": [_best(g) for g in groups], "load": shown["load"], "offered": shown["offered_load"],
        "wait": _tails(drawn, styles, "wait"), "slowdown": _tails(drawn, styles, "slowdown"), "loads": _loads(groups, styles),
        "time": [{"label": label, "style": styles[label], "svg": _time(o, styles[label], start, span)} for label, o in by_label.items() if o],
        "gantt": [{"label": label, "style": styles[label], "svg": _gantt(o, start), "jobs": o["gantt"]["jobs"]} for label, o in by_label.items() if o],
        "window": plain[0]["window"], "sites": [_sites(o) for o in by_label.values() if o and any(s["alone"] != s["network"] for s in o.get("sites", ()))],
    }  # fmt: skip


def _tails(drawn: Sequence[Mapping[str, Any]], styles: Mapping[str, int], what: str) -> str:
    least = 10.0 if what == "wait" else 1.0
    series = []
    for label, style in styles.items():
        runs = [o["quantiles"][what] for o in drawn if o["label"] == label]
        if runs:
            series.append(plots.Line(label, plots.tail(np.median(runs, axis=0).tolist(), QUANTILES.tolist(), least), style, label.endswith(KNOWING)))
    most = max(x for line in series for x, _ in line.points)
    axis = plots.durations if what == "wait" else plots.decades
    x = axis(least, most, plots.LEFT, plots.W - plots.RIGHT, "waited longer than" if what == "wait" else "bounded slowdown above")
    y = plots.shares(plots.H - plots.BOTTOM, plots.TOP, "share of jobs")
    return plots.lines(series, x, y, label=f"share of jobs by {what}, one line a policy")


def _loads(groups: Sequence[Mapping[str, Any]], styles: Mapping[str, int]) -> str:
    """Mean slowdown against load, where there are several."""
    if len(groups) < 2:
        return ""
    series = []
    for label, style in styles.items():
        points = [(g["load"], row["mean_bounded_slowdown"]["median"]) for g in groups for row in g["policies"] if row["policy"] == label]
        if points:
            series.append(plots.Line(label, points, style, label.endswith(KNOWING)))
    least, most = (f(p[0] for line in series for p in line.points) for f in (min, max))
    high = max(p[1] for line in series for p in line.points)
    x = plots.linear(least, most, plots.LEFT, plots.W - plots.RIGHT, "load", lambda v: f"{v:.2g}")
    low = min(p[1] for line in series for p in line.points)
    y = plots.decades(low, high, plots.H - plots.BOTTOM, plots.TOP, "mean bounded slowdown")
    return plots.lines(series, x, y, label="mean bounded slowdown by load, one line a policy", dots=True)


def _time(o: Mapping[str, Any], style: int, start: int | None, span: float) -> str:
    t = o["time"]
    x = plots.days(span, plots.LEFT, 930, start + t["first"] if start is not None else None)
    return plots.area(t["busy"], t["waiting"], t["processors"], x, t["step"], style, label=f"{o['label']}: processors busy and waited for, over time")


def _gantt(o: Mapping[str, Any], start: int | None) -> str:
    g = o["gantt"]
    return plots.gantt(g["pieces"], g["end"] - g["begin"], g["processors"], start + g["begin"] if start is not None else None, label=f"{o['label']}: jobs in the busiest window")


def _sites(o: Mapping[str, Any]) -> dict[str, Any]:
    """A site's own users, in the network against alone; `sites`: name, jobs, alone and network with a mean wait."""
    rows = []
    for s in o["sites"]:
        alone, joined = s["alone"]["mean_wait"], s["network"]["mean_wait"]
        rows.append((s["name"], (joined - alone) / max(alone, 1.0), f"{duration(alone)} → {duration(joined)}"))
    return {"label": o["label"], "svg": plots.bars(rows, label=f"{o['label']}: mean wait of each site's own jobs, in the network against alone")}


def _best(group: Mapping[str, Any]) -> dict[str, Any]:
    """With the best of each column marked; what knows run times beforehand is no rival."""
    rivals = [r for r in group["policies"] if not r["policy"].endswith(KNOWING)] or group["policies"]
    best = {name: min(r[name]["median"] for r in rivals) for name in ("mean_wait", "p95_wait", "max_wait", "mean_bounded_slowdown", "p95_bounded_slowdown")}
    best["utilisation"] = max(round(r["utilisation"]["median"], 4) for r in rivals)
    return {**group, "best": best}


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    for unit, size, least in (("d", 86400, 2), ("h", 3600, 1)):
        if seconds >= least * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min"


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

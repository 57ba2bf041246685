"""A sweep's outcomes, compared: medians over seeds with their range, and against the first policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid.lab import parquet

FIGURES = ("mean_wait", "p95_wait", "max_wait", "mean_bounded_slowdown", "p95_bounded_slowdown", "utilisation", "started_at_once")


def rows(outcomes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One flat row a run, in a fixed order."""
    out = [{
        "log": o["run"]["name"], "processors": o["run"]["processors"], "policy": o["label"], "clairvoyant": o["run"]["clairvoyant"],
        "seed": o["run"]["seed"], "load": o["run"]["load"], "offered_load": o["offered"], "shake_s": o["run"]["shake_s"], **o["figures"],
        "seconds": o["seconds"], "jobs_a_second": o["figures"]["jobs"] / max(o["seconds"], 1e-9),
    } for o in outcomes]  # fmt: skip
    return sorted(out, key=lambda r: (r["log"], r["load"] or 0, r["policy"], r["seed"]))


def write(path: Path, outcomes: Iterable[Mapping[str, Any]]) -> int:
    """The rows as Parquet; a load that is the log's own is NULL (NaN)."""
    table = rows(outcomes)
    columns = {name: [np.nan if name == "load" and r[name] is None else r[name] for r in table] for name in table[0]}
    return parquet.write(path, [{name: np.array(values) for name, values in columns.items()}])


def standings(outcomes: Sequence[Mapping[str, Any]], policies: Sequence[str]) -> list[dict[str, Any]]:
    """For each log and load the policies in the order given: of each figure the median over seeds, the least and the most.

    `ratio` is the median slowdown over the first policy's: below 1 is better than it.
    """
    groups: dict[tuple[str, float | None], dict[str, list[Mapping[str, Any]]]] = {}
    for o in outcomes:
        groups.setdefault((o["run"]["name"], o["run"]["load"]), {}).setdefault(o["label"], []).append(o)
    out = []
    for (log, load), by_policy in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        table: list[dict[str, Any]] = []
        for label in (p for p in policies if p in by_policy):
            runs = by_policy[label]
            values = {name: np.array([o["figures"][name] for o in runs]) for name in FIGURES}
            table.append({"policy": label, "seeds": len(runs), "jobs": runs[0]["figures"]["jobs"],
                          **{name: {"median": float(np.median(v)), "least": float(v.min()), "most": float(v.max())} for name, v in values.items()}})  # fmt: skip
        first = table[0]["mean_bounded_slowdown"]["median"]
        for row in table:
            row["ratio"] = row["mean_bounded_slowdown"]["median"] / first if first else None
        sample = next(iter(by_policy.values()))[0]
        out.append({"log": log, "load": load, "offered_load": sample["offered"], "processors": sample["run"]["processors"], "policies": table})
    return out


def over_logs(found: Sequence[Mapping[str, Any]], policies: Sequence[str]) -> list[dict[str, Any]]:
    """The geometric mean over logs and loads of each policy's ratio, where every one of them has it."""
    out = []
    for label in policies:
        ratios = [row["ratio"] for group in found for row in group["policies"] if row["policy"] == label and row["ratio"]]
        if len(ratios) == len(found):
            out.append({"policy": label, "ratio": float(np.exp(np.mean(np.log(ratios)))), "worst": max(ratios), "best": min(ratios), "of": len(ratios)})
    return out

"""A recorded stream of runs, replayed: every run is predicted before it is learnt, by the model and by the simple ways it has to beat."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid.scheduling import runtime, traits
from tidegrid.scheduling.runtime import Question, Run, RunTimes

WARM = 50  # runs, of both applications together, before figures count
PARAMS = ("cells", "steps", "density", "temperature", "n", "repeats", "precision", "seed")
TEXTS = ("precision",)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as f:
        return list(csv.DictReader(line for line in f if not line.startswith("#")))


def traits_of(row: dict[str, str]) -> traits.Traits:
    params = {k: row[k] if k in TEXTS else float(row[k]) for k in PARAMS if row[k]}
    return traits.of(params, {"cores": float(row["cores"]), "wall_s": float(row["wall_s"])})


def replay(rows: Iterable[dict[str, str]], model: RunTimes, speeds: dict[str, float] | None = None) -> list[dict[str, Any]]:
    """A row a run: what came, and what each way had said before (p50, p90). speeds: of partitions, as a machine card says them."""
    known = speeds or {}
    before: list[tuple[str, str, float, float]] = []
    out = []
    for row in rows:
        app, place, wall, run = row["app"], row["partition"], float(row["wall_s"]), float(row["run_s"])
        found, speed = traits_of(row), known.get(place, 1.0)
        p = model.quantiles(Question(app, found, wall), [place], np.array([speed]))
        of_app = np.array([r for a, _, r, _ in before if a == app])
        here = np.array([r for a, w, r, _ in before if a == app and w == place])
        shares = np.array([r / w for a, _, r, w in before if a == app][-200:])
        cold = (wall * runtime.MODELLED_SHARE, wall)
        out.append({
            "app": app, "partition": place, "run_s": run, "peak_mib": float(row["peak_mib"]), "peak": (p.peak_p50_mib, p.peak_p90_mib),
            "model": (float(p.p50[0]), float(p.p90[0])),
            "wall time asked for": (wall, wall),
            "share of the wall time": runtime.predict(shares, wall),
            "mean of the application": (float(of_app.mean()), float(np.quantile(of_app, 0.9))) if len(of_app) else cold,
            "mean there": (float(here.mean()), float(np.quantile(here, 0.9))) if len(here) else cold,
        })  # fmt: skip
        model.update(Run(app, place, found, run, float(row["peak_mib"]), speed))
        before.append((app, place, run, wall))
    return out


WAYS = ("model", "wall time asked for", "share of the wall time", "mean of the application", "mean there")


def figures(found: Sequence[dict[str, Any]], way: str = "model", of: str = "run_s") -> dict[str, float]:
    """n; mdape: median of |predicted / came - 1|; p90_coverage: share that stayed at or below the p90."""
    told = [r for r in found if r[way][0] is not None]
    came = np.array([r[of] for r in told])
    p50, p90 = np.array([r[way] for r in told], np.float64).T
    return {
        "n": len(told),
        "mdape": round(float(np.median(np.abs(p50 / came - 1))), 4),
        "p90_coverage": round(float(np.mean(came <= p90)), 4),
    }

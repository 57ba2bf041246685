"""A recorded stream of runs, replayed: every run is predicted before it is learnt, by the model and by the simple ways it has to beat."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegrid.scheduling import runtime, traits
from tidegrid.scheduling.accuracy import score
from tidegrid.scheduling.runtime import Prediction, Question, Run, RunTimes

WARM = 50  # runs, of both applications together, before figures count
PARAMS = ("cells", "steps", "density", "temperature", "n", "repeats", "precision", "seed")
TEXTS = ("precision",)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as f:
        return list(csv.DictReader(line for line in f if not line.startswith("#")))


def traits_of(row: dict[str, str]) -> traits.Traits:
    params = {k: row[k] if k in TEXTS else float(row[k]) for k in PARAMS if row[k]}
    return traits.of(params, {"cores": float(row["cores"]), "wall_s": float(row["wall_s"])})


def ask(model: RunTimes, row: dict[str, str], speed: float) -> Prediction:
    return model.quantiles(Question(row["app"], traits_of(row), float(row["wall_s"])), [row["partition"]], np.array([speed]))


def learn(model: RunTimes, row: dict[str, str], speed: float) -> None:
    model.update(Run(row["app"], row["partition"], traits_of(row), float(row["run_s"]), float(row["peak_mib"]), speed))


def replay(rows: Iterable[dict[str, str]], model: RunTimes, speeds: dict[str, float] | None = None) -> list[dict[str, Any]]:
    """A row a run: what came, and what each way had said before (p50, p90). speeds: of partitions, as a machine card says them."""
    known = speeds or {}
    before: list[tuple[str, str, float, float]] = []
    out = []
    for row in rows:
        app, place, wall, run = row["app"], row["partition"], float(row["wall_s"]), float(row["run_s"])
        speed = known.get(place, 1.0)
        p = ask(model, row, speed)
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
        learn(model, row, speed)
        before.append((app, place, run, wall))
    return out


WAYS = ("model", "wall time asked for", "share of the wall time", "mean of the application", "mean there")


def figures(found: Sequence[dict[str, Any]], way: str = "model", of: str = "run_s") -> dict[str, Any]:
    """n, mdape and p90_coverage (`scheduling.accuracy.score`) of one way."""
    told = [r for r in found if r[way][0] is not None]
    return score([r[way][0] for r in told], [r[way][1] for r in told], [r[of] for r in told])


def compare(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every way on the runs after the first WARM; the model also by application, by partition, and for peaks of memory."""
    warm = found[WARM:]
    out: dict[str, Any] = {way: figures(warm, way) for way in WAYS}
    for key in ("app", "partition"):
        for value in sorted({r[key] for r in warm}):
            out[f"model, {value}"] = figures([r for r in warm if r[key] == value])
    return out | {"model, peak memory": figures(warm, "peak", "peak_mib")}

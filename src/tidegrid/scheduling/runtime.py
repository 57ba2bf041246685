"""How long a job will run, and how much memory it will take: quantiles at every partition, learnt from runs as they end.

`RunTimes` is the interface: what decides live is fed by `update` as runs end, and a simulation by the runs that it replays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tidegrid.domain.errors import Broken
from tidegrid.scheduling.regression import Regression
from tidegrid.scheduling.traits import Traits, code

MODELLED_SHARE = 0.5  # of the wall time, where nothing is known: half of it at the median
ENOUGH = 5  # runs before history alone speaks
SCHEMA = 1
MODEL = "gp-1"  # regression and quantiles as they are in `regression`
WALL_AT, WALL_MARGIN = 0.99, 1.5  # a wall time is proposed at this quantile, so many times as long
_ANYWHERE = 1  # memory is taken to be the same at every place
_WALLS = (60, 120, 300, 600, 900, 1200, 1800, 2700, 3600)  # then whole hours

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def predict(history: NDArray[np.float64], wall_s: float) -> tuple[float, float]:
    """(p50, p90) seconds, never above `wall_s`.

    history float64[N]: run time / wall time asked for, of earlier runs of the application (on the partition, where known).
    With none the answer is modelled: p90 the wall time, p50 half of it. With fewer than ENOUGH it is mixed with that model.
    """
    n = len(history)
    if n == 0:
        return wall_s * MODELLED_SHARE, float(wall_s)
    p50, p90 = (float(x) for x in np.quantile(np.clip(history, 0.0, 1.0), (0.5, 0.9)))
    trust = min(1.0, n / ENOUGH)
    p50 = trust * p50 + (1 - trust) * MODELLED_SHARE
    p90 = trust * p90 + (1 - trust)
    return wall_s * min(p50, p90), wall_s * p90


@dataclass(frozen=True, slots=True)
class Run:
    """A run that ended well. partition: "cluster/partition"; speed: of it, relative to the network's reference, as it was told for the
    prediction; estimate_s: what the application's document says of such a job at speed 1, None where it says nothing; peak_mib: None
    where nobody measured it."""

    app: str
    partition: str
    traits: Traits
    run_s: float
    peak_mib: float | None = None
    speed: float = 1.0
    estimate_s: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One job that may run at any of some partitions. wall_s: its limit; the rest as in `Run`."""

    app: str
    traits: Traits
    wall_s: float
    estimate_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """p50, p90: seconds of one task at each partition, float64[P], never above the wall time; speed float64[P]: as it was told; n: runs of the application that were
    learnt; here int64[P]: of them remembered from each partition; error: median of |predicted / came - 1| of the last predictions, NaN
    before there are any; source: `history`, `document` or `wall time`; peak_p50_mib, peak_p90_mib: None where no peak is known;
    wall_s: the limit to propose, None where nothing is known but the limit asked for; own: of the runs, those of the organisation that
    asks, the only ones that it is told of.
    """

    p50: Floats
    p90: Floats
    speed: Floats
    n: int
    here: Ints
    error: float
    source: str
    peak_p50_mib: float | None = None
    peak_p90_mib: float | None = None
    wall_s: int | None = None
    own: int = 0

    def basis(self) -> dict[str, Any]:
        """Where the figures come from, as JSON; `runs` is for operators."""
        error = None if math.isnan(self.error) else round(self.error, 4)
        return {"source": self.source, "model": MODEL, "runs": self.n, "own_runs": self.own, "typical_error": error}

    def text(self, app: str) -> str:
        """The same in words, fit for a customer: nothing of the runs of others but what was learnt from them."""
        if self.source == "wall time":
            return "run time from the wall time asked for: no run is known yet"
        if self.source == "document":
            return f"run time from the document of {app}: no run is known yet"
        own = f"{self.own} of yours" if self.own else "none of yours"
        off = "" if math.isnan(self.error) else f", typically {self.error:.0%} off"
        return f"run time from earlier runs of {app} ({own}){off}"


class RunTimes(Protocol):
    """What predicts run times."""

    def update(self, run: Run) -> None:
        """Learn from a run that has ended."""
        ...

    def quantiles(self, question: Question, partitions: Sequence[str], speed: Floats) -> Prediction:
        """speed float64[P]: relative to the network's reference."""
        ...


def cold(question: Question, speed: Floats) -> Prediction:
    """Where no run is known: the document's estimate, else a share of the wall time; p90 is the wall time."""
    source = "wall time" if question.estimate_s is None else "document"
    base = question.wall_s * MODELLED_SHARE if question.estimate_s is None else question.estimate_s
    p50 = np.minimum(base / speed, question.wall_s)
    none = np.zeros(len(speed), np.int64)
    proposed = None if question.estimate_s is None else wall_time(2 * question.estimate_s / float(speed.min(initial=1.0)))
    return Prediction(p50, np.full(len(speed), float(question.wall_s)), speed, 0, none, math.nan, source, wall_s=proposed)


def wall_time(seconds: float) -> int:
    """A limit for a job that rarely runs so long: with a margin, and rounded up as people write it."""
    wanted = seconds * WALL_MARGIN
    return next((w for w in _WALLS if w >= wanted), math.ceil(wanted / 3600) * 3600)


@dataclass
class _App:
    """told: log of the speed that each place was first learnt with, by its code: what is learnt of it later is on that scale, whatever
    a newer card says."""

    told: dict[int, float] = field(default_factory=dict)
    run: Regression = field(default_factory=Regression)
    peak: Regression = field(default_factory=Regression)


class Learnt:
    """`RunTimes` by one regression an application; peaks by another. Everything is kept in arrays (`to_arrays`)."""

    def __init__(self) -> None:
        self._apps: dict[str, _App] = {}

    def update(self, run: Run) -> None:
        """A run of no length (below a millisecond) tells nothing."""
        if run.run_s < 1e-3:
            return
        app = self._apps.setdefault(run.app, _App())
        place = code(run.partition)
        app.run.update(run.traits, place, run.run_s, _level(run.estimate_s) - app.told.setdefault(place, math.log(run.speed)))
        if run.peak_mib is not None and run.peak_mib > 0:
            app.peak.update(run.traits, _ANYWHERE, run.peak_mib)

    def seen(self, app: str) -> int:
        """Runs that were learnt of an application."""
        return self._apps[app].run.seen if app in self._apps else 0

    def quantiles(self, question: Question, partitions: Sequence[str], speed: Floats) -> Prediction:
        """Partitions of which nothing is remembered share one answer, but for their speed."""
        app = self._apps.get(question.app)
        if app is None or not app.run.seen:
            return cold(question, speed)
        places = np.array([code(p) for p in partitions], np.int64)
        unknown = ~np.isin(places, app.run.place)
        asked, which = np.unique(np.where(unknown, 0, places), return_inverse=True)
        mean, sd = (v[which] for v in app.run.moments(question.traits, asked))
        told = np.where(unknown, np.log(speed), [app.told.get(p, 0.0) for p in places.tolist()])
        mean = mean + _level(question.estimate_s) - told
        wall = float(question.wall_s)
        p50 = np.minimum(np.exp(mean), wall)
        p90 = np.minimum(np.exp(mean + sd * max(app.run.quantile(), 0.0)), wall)
        most = (mean + sd * max(app.run.quantile(WALL_AT), 0.0))[slice(None) if unknown.all() else ~unknown]
        proposed = wall_time(float(np.exp(most).max())) if len(most) and app.run.seen >= ENOUGH else None
        peaks: tuple[float | None, float | None] = (None, None)
        if app.peak.seen:
            middle, around = (float(v[0]) for v in app.peak.moments(question.traits, np.array([_ANYWHERE])))
            peaks = math.exp(middle), math.exp(middle + around * max(app.peak.quantile(), 0.0))
        here = app.run.at(asked)[which] * ~unknown
        return Prediction(p50, p90, speed, app.run.seen, here, app.run.error(), "history", *peaks, proposed)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """All state, for `numpy.savez`; `from_arrays` goes on from it exactly."""
        out: dict[str, NDArray[np.generic]] = {"head": np.array(json.dumps({"schema": SCHEMA, "apps": list(self._apps)}))}
        for i, app in enumerate(self._apps.values()):
            out |= {f"{i}.told.place": np.array(list(app.told), np.int64), f"{i}.told.log": np.array(list(app.told.values()))}
            for name, part in (("run", app.run), ("peak", app.peak)):
                out |= {f"{i}.{name}.{k}": v for k, v in part.to_arrays().items()}
        return out

    @staticmethod
    def from_arrays(arrays: Mapping[str, Any]) -> Learnt:
        """Broken (prediction.schema) where the state is of another version."""
        head = json.loads(str(arrays["head"]))
        if head["schema"] != SCHEMA:
            raise Broken("prediction.schema", f"the state has schema {head['schema']}, this program reads {SCHEMA}")
        out = Learnt()
        for i, name in enumerate(head["apps"]):
            parts = {
                part: Regression.from_arrays(
                    {k.removeprefix(f"{i}.{part}."): v for k, v in arrays.items() if k.startswith(f"{i}.{part}.")}
                )
                for part in ("run", "peak")
            }
            told = zip(arrays[f"{i}.told.place"].tolist(), arrays[f"{i}.told.log"].tolist(), strict=True)
            out._apps[name] = _App(dict(told), parts["run"], parts["peak"])
        return out


def _level(estimate_s: float | None) -> float:
    return math.log(estimate_s) if estimate_s else 0.0

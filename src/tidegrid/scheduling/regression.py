"""A positive quantity (seconds, MiB) learnt run by run from traits and places, with quantiles that hold what they say.

A Gaussian process on the logarithm (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5): a level,
slopes in the logarithms of the numbers, a smooth bend, and what each word and each place adds. A place that was never seen has the
level that its speed says, and comes into its own with its first runs (partial pooling). Which traits matter is found by the evidence.

Quantiles are conformal: the share of a normal distribution is replaced by that of the standardised errors of earlier predictions, at a
level that moves with the hits and misses (Gibbs and Candès, Adaptive Conformal Inference Under Distribution Shift, NeurIPS 2021).
Single strange runs weigh less; where a place has changed for good, what is older is dropped.

Deterministic: equal updates give equal answers. The state is arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegrid.scheduling.traits import MAX_NUMBERS, MAX_WORDS, Traits

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

WINDOW = 192  # runs that are remembered
TUNED_ON = 96  # of them, the newest, when relevance is looked for
FORGET = 192.0  # runs at the same place after which an older one's noise is e times as large
LEVEL, SLOPE, PLACE, PLACE_SLOPE, WORD = 25.0, 1.0, 0.25, 0.04, 0.5  # variances before anything is known
FLOOR = 4e-4  # variance of noise: nothing repeats better than to 2 %
TARGET, STEP, RECENT, NORMAL = 0.9, 0.02, 100, 20
SETTLED = 10  # runs at a place that weigh as much as the model's own width
SLIGHT = 0.1  # weight to begin with of what is asked for beside the parameters, which often only follows a habit
_ASKED = frozenset({"wall_s", "memory_mib"})
STRANGE = 3.0  # standard deviations
CHANGED = 6  # runs in a row, on one side by STRANGE in the middle: the place is another one now
_GRID: Floats = np.array([NormalDist().inv_cdf((i + 0.5) / NORMAL) for i in range(NORMAL)])
_SEARCH: Mapping[str, tuple[float, ...]] = {
    "noise": (0.0009, 0.0036, 0.01, 0.04, 0.16, 0.64), "bend": (0.01, 0.1, 0.5), "place": (0.1, 0.5, 1.0),
    "numbers": (0.0, 0.1, 0.3, 1.0), "words": (0.0, 0.3, 1.0),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Relevance:
    """noise: variance; bend: of the smooth part; place: how far another place is from one's own; numbers, words: weights."""

    noise: float = 0.04
    bend: float = 0.1
    place: float = 0.5
    numbers: tuple[float, ...] = ()
    words: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Fit:
    """A factorised posterior. mean, spread, log: how numbers are scaled."""

    mean: Floats
    spread: Floats
    log: Bools
    u: Floats
    inverse: Floats  # of the triangular root of the covariance
    alpha: Floats


@dataclass
class Regression:
    """Rows are runs, oldest first: x float64[N,D] numbers, NaN where not given; w int64[N,C] words, 0 where not given; place int64[N]:
    code; y float64[N]: log of what came, less `prior` (log of what was expected of it there); z: standardised error of the prediction
    made before it was learnt, NaN for the first."""

    numbers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    x: Floats = field(default_factory=lambda: np.empty((0, 0)))
    w: Ints = field(default_factory=lambda: np.empty((0, 0), np.int64))
    place: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    y: Floats = field(default_factory=lambda: np.empty(0))
    z: Floats = field(default_factory=lambda: np.empty(0))
    recent: Floats = field(default_factory=lambda: np.empty(0))  # the last RECENT z
    errors: Floats = field(default_factory=lambda: np.empty(0))  # the last RECENT |predicted / came - 1|
    level: float = TARGET
    seen: int = 0
    relevance: Relevance = Relevance()
    _fit: _Fit | None = field(default=None, repr=False)

    # Learning -------------------------------------------------------------------------------------------------------

    def update(self, traits: Traits, place: int, value: float, prior: float = 0.0) -> None:
        """One more run. value: above 0; prior: log of what was expected of it at this place, from its speed."""
        y, z = math.log(value) - prior, math.nan
        if self.seen:
            here = np.array([place])
            mean, sd = (float(v[0]) for v in self.moments(traits, here))
            error = (y - mean) / sd
            hit = error <= self.quantile()
            self.level = min(max(self.level + STEP * (TARGET - hit), 0.6), 0.99)
            self.recent = np.append(self.recent, error)[-RECENT:]
            z = error * float(self._scale(here)[0])
            self.errors = np.append(self.errors, abs(math.expm1(mean - y)))[-RECENT:]
        self._widen(traits)
        number, word = self._row(traits)
        self.x, self.w = np.vstack((self.x, number)), np.vstack((self.w, word))
        self.place, self.y, self.z = np.append(self.place, place), np.append(self.y, y), np.append(self.z, z)
        self.seen += 1
        self._drop(self._outdated(place))
        if len(self.y) > WINDOW:  # the oldest of the place with most: a seldom used place keeps what is known of it
            codes, counts = np.unique(self.place, return_counts=True)
            self._drop(np.flatnonzero(self.place == codes[counts.argmax()])[:1])
        self._fit = None
        if self.seen in (4, 8, 16, 32) or self.seen % 64 == 0:
            self._tune()

    def _widen(self, traits: Traits) -> None:
        for name in traits.numbers:
            if name not in self.numbers and len(self.numbers) < MAX_NUMBERS:
                self.numbers += (name,)
                self.x = np.column_stack((self.x, np.full(len(self.y), np.nan)))
                self.relevance = replace(self.relevance, numbers=(*self.relevance.numbers, SLIGHT if name in _ASKED else 0.3))
        for word in traits.words:
            if word not in self.words and len(self.words) < MAX_WORDS:
                self.words += (word,)
                self.w = np.column_stack((self.w, np.zeros(len(self.y), np.int64)))
                self.relevance = replace(self.relevance, words=(*self.relevance.words, 0.3))

    def _row(self, traits: Traits) -> tuple[Floats, Ints]:
        return (
            np.array([traits.numbers.get(n, math.nan) for n in self.numbers], np.float64),
            np.array([traits.words.get(n, 0) for n in self.words], np.int64),
        )

    def _outdated(self, place: int) -> Ints:
        """Rows of a place that has changed: its last runs were all strange, on the same side."""
        here = np.flatnonzero(self.place == place)
        last = self.z[here[-CHANGED:]]
        one_side = len(here) > CHANGED and bool((last > 0).all() or (last < 0).all())
        return here[:-CHANGED] if one_side and abs(float(np.median(last))) > STRANGE else here[:0]

    def _drop(self, rows: Ints) -> None:
        if len(rows):
            kept = np.delete(np.arange(len(self.y)), rows)
            self.x, self.w, self.place = self.x[kept], self.w[kept], self.place[kept]
            self.y, self.z = self.y[kept], self.z[kept]

    # The posterior --------------------------------------------------------------------------------------------------

    def moments(self, traits: Traits, places: Ints) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the log, less the prior, at each place: float64[P] twice. At least one run is known."""
        fit = self._fit = self._fit or self._factorised()
        number, word = self._row(traits)
        u = np.repeat(_scaled(number[None, :], fit.mean, fit.spread, fit.log), len(places), axis=0)
        w = np.repeat(word[None, :], len(places), axis=0)
        across = _kernel(self.relevance, u, w, places, fit.u, self.w, self.place)
        own = np.diag(_kernel(self.relevance, u, w, places, u, w, places))
        half = fit.inverse @ across.T
        var = np.maximum(own - (half * half).sum(axis=0), 0.0) + self.relevance.noise + FLOOR
        return across @ fit.alpha, np.sqrt(var) * self._scale(places)

    def _scale(self, places: Ints) -> Floats:
        """How much wider errors are at each place than the model has it, drawn to 1 where few are known, float64[P]."""
        square = np.minimum(np.nan_to_num(self.z) ** 2, STRANGE**2)
        sums = [(float(square[self.place == p].sum()), int(np.count_nonzero(self.place == p))) for p in places]
        return np.array([math.sqrt((SETTLED + total) / (SETTLED + n)) for total, n in sums])

    def quantile(self, level: float | None = None) -> float:
        """Of the standardised errors, at the level that has held so far; a normal distribution's where few are known."""
        return float(np.quantile(np.concatenate((self.recent, _GRID)), self.level if level is None else level))

    def error(self) -> float:
        """Median of |predicted / came - 1| over the last predictions; NaN where none was made."""
        return float(np.median(self.errors)) if len(self.errors) else math.nan

    def at(self, places: Ints) -> Ints:
        """How many remembered runs there are of each place."""
        return np.array([int(np.count_nonzero(self.place == p)) for p in places], np.int64)

    def _noise(self, rows: slice) -> Floats:
        """Factor on the noise of each run: its age at its place, and how strange it was beside its neighbours there."""
        place, z = self.place[rows], self.z[rows]
        out = np.ones(len(z))
        for p in np.unique(place):
            here = np.flatnonzero(place == p)
            out[here] = np.exp((len(here) - 1 - np.arange(len(here))) / FORGET)
            shown = np.nan_to_num(z[here])
            if np.abs(shown).max() <= STRANGE:
                continue
            around = np.pad(shown, 4, mode="edge")
            local = np.median(np.lib.stride_tricks.sliding_window_view(around, 9), axis=1)
            odd = np.abs(shown - local) / STRANGE
            out[here] *= np.maximum(1.0, odd**2)
        return out

    def _factorised(self) -> _Fit:
        mean, spread, log = _scales(self.x)
        u = _scaled(self.x, mean, spread, log)
        k = _kernel(self.relevance, u, self.w, self.place, u, self.w, self.place)
        k[np.diag_indices_from(k)] += (self.relevance.noise + FLOOR) * self._noise(slice(None))
        inverse = np.linalg.inv(np.linalg.cholesky(k))
        return _Fit(mean, spread, log, u, inverse, inverse.T @ (inverse @ self.y))

    def _tune(self) -> None:
        """One round over all weights, each put to the value of the largest evidence with the others as they are."""
        rows = slice(-TUNED_ON, None)
        mean, spread, log = _scales(self.x[rows])
        u, w, place, y = _scaled(self.x[rows], mean, spread, log), self.w[rows], self.place[rows], self.y[rows]
        factor = self._noise(rows)

        def evidence(r: Relevance) -> float:
            k = _kernel(r, u, w, place, u, w, place)
            k[np.diag_indices_from(k)] += (r.noise + FLOOR) * factor
            root = np.linalg.cholesky(k)
            half = np.linalg.solve(root, y)
            return float(-0.5 * half @ half - np.log(np.diag(root)).sum())

        best, found = self.relevance, evidence(self.relevance)
        varied = [d for d in range(u.shape[1]) if float(np.ptp(u[:, d])) > 0]
        spoken = [c for c in range(w.shape[1]) if len(np.unique(w[:, c])) > 1]
        for name in ("noise", "numbers", "words", "place", "bend", "noise"):
            for i in {"numbers": varied, "words": spoken}.get(name, [0]):
                for value in _SEARCH[name]:
                    tried = _with(best, name, i, value)
                    if (got := evidence(tried)) > found:
                        best, found = tried, got
        self.relevance, self._fit = best, None

    # State ----------------------------------------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything that is known, as arrays; `from_arrays` goes on from it exactly."""
        r = self.relevance
        return {
            "numbers": np.array(self.numbers, np.str_), "words": np.array(self.words, np.str_), "x": self.x, "w": self.w,
            "place": self.place, "y": self.y, "z": self.z, "recent": self.recent, "errors": self.errors,
            "scalars": np.array([self.level, self.seen, r.noise, r.bend, r.place]),
            "number_weights": np.array(r.numbers, np.float64), "word_weights": np.array(r.words, np.float64),
        }  # fmt: skip

    @staticmethod
    def from_arrays(a: Mapping[str, NDArray[np.generic]]) -> Regression:
        level, seen, noise, bend, place = (float(v) for v in a["scalars"])
        r = Relevance(noise, bend, place, _tuple(a["number_weights"]), _tuple(a["word_weights"]))
        floats = {k: np.array(a[k], np.float64) for k in ("x", "y", "z", "recent", "errors")}
        ints = {k: np.array(a[k], np.int64) for k in ("w", "place")}
        names = {k: tuple(str(n) for n in a[k]) for k in ("numbers", "words")}
        return Regression(**names, **floats, **ints, level=level, seen=int(seen), relevance=r)  # type: ignore[arg-type]


def _with(r: Relevance, name: str, i: int, value: float) -> Relevance:
    put: dict[str, Any] = {name: value}
    if name in ("numbers", "words"):
        old = getattr(r, name)
        put = {name: (*old[:i], value, *old[i + 1 :])}
    return replace(r, **put)


def _tuple(a: NDArray[np.generic]) -> tuple[float, ...]:
    return tuple(float(v) for v in a)


def _scales(x: Floats) -> tuple[Floats, Floats, Bools]:
    """How numbers are made comparable: by the logarithm where all are above 0; then mean and spread. float64[D], float64[D], bool[D]."""
    columns = x.shape[1]
    if not columns:
        return np.empty(0), np.empty(0), np.empty(0, np.bool_)
    given = ~np.isnan(x)
    log: Bools = np.logical_not(np.any(x <= 0, axis=0))
    v = _plain(x, log)
    count = np.maximum(given.sum(axis=0), 1)
    mean = np.where(given, v, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(given, v - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(spread > 1e-9, spread, 1.0), log


def _plain(x: Floats, log: Bools) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.where(log, np.log(np.maximum(x, 1e-12)), np.sign(x) * np.log1p(np.abs(x)))


def _scaled(x: Floats, mean: Floats, spread: Floats, log: Bools) -> Floats:
    """Standardised; 0 where a number is not given."""
    return np.nan_to_num((_plain(x, log) - mean) / spread, nan=0.0)


def _kernel(r: Relevance, ua: Floats, wa: Ints, pa: Ints, ub: Floats, wb: Ints, pb: Ints) -> Floats:
    """Covariance of two sets of jobs, float64[A,B]."""
    weights = np.array(r.numbers, np.float64)
    a, b = ua * weights, ub * weights
    dot = a @ b.T
    far = np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2 * dot, 0.0)
    same = (pa[:, None] == pb[None, :]).astype(np.float64)
    out: Floats = LEVEL + SLOPE * dot + same * (PLACE + PLACE_SLOPE * dot)
    for c, weight in enumerate(r.words):
        if weight:
            equal = wa[:, c, None] == wb[None, :, c]
            out += WORD * weight * weight * equal
            far += weight * weight * ~equal
    out += r.bend * np.exp(-0.5 * (far + r.place * r.place * (1 - same)))
    return out

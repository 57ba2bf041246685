"""Applications, and how well their run times are predicted, as they go out."""

from __future__ import annotations

from tidegrid.server.views.base import Open, Time, View


class App(Open):
    """An application: its document, parameters as JSON Schema, and version."""

    id: str


class AppList(View):
    items: list[App]


class AppVersion(Open):
    """One version. by: who published it, for operators; empty: it came with the program."""

    id: str
    version: str
    current: bool = False
    added_at: Time | None = None


class AppVersions(View):
    items: list[AppVersion]


class AppFile(View):
    path: str
    sha256: str


class Published(Open):
    """A published version. new: it was not there before."""

    id: str
    version: str
    new: bool
    dry_run: bool = False
    files: list[AppFile] = []


class Score(View):
    """n runs; mdape: median of |said / came - 1|; p90_coverage: share of runs that stayed within the p90."""

    n: int
    mdape: float | None = None
    p90_coverage: float | None = None


class PartitionScore(Score):
    partition: str


class PeakScore(View):
    n: int
    p90_coverage: float | None = None


class Accuracy(View):
    """Of one application: what was predicted from its history, beside the wall time asked for and the mean of its earlier runs, for
    the same runs. first: placed before any run was known."""

    app: str
    runs: int
    first: int
    predicted: Score
    wall_time_asked: Score
    mean_of_application: Score
    partitions: list[PartitionScore]
    peak_memory: PeakScore


class AccuracyList(View):
    items: list[Accuracy]

"""520 real runs of two applications on four partitions that really differ, replayed: see the head of recorded/runs.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.runs import stream

from tidegrid.scheduling.runtime import Learnt

ROWS = stream.read(Path(__file__).with_name("recorded") / "runs.csv")


@pytest.fixture(scope="module")
def ways() -> dict[str, dict[str, float]]:
    return stream.compare(stream.replay(ROWS, Learnt()))


def test_the_stream_is_of_two_applications_on_four_partitions_that_differ():
    assert len(ROWS) >= 500 and {r["app"] for r in ROWS} == {"md-lj", "dense-solve"}
    where = {p: [r for r in ROWS if r["partition"] == p] for p in ("native", "sse", "half", "duo")}
    assert min(map(len, where.values())) > 80
    share = {p: np.median([float(r["cpu_s"]) / float(r["run_s"]) for r in rows]) for p, rows in where.items()}
    assert share["half"] < 0.6 < share["native"] < 1.1 < share["duo"]  # a quota, one core, two
    took = [float(r["run_s"]) for r in ROWS]
    assert np.quantile(took, 0.95) / np.quantile(took, 0.05) > 10


def test_after_fifty_runs_the_median_error_is_below_15_percent_and_p90_covers_85_to_95(ways):
    assert ways["model"]["n"] == len(ROWS) - stream.WARM
    assert ways["model"]["mdape"] <= 0.15
    assert 0.85 <= ways["model"]["p90_coverage"] <= 0.95
    assert max(ways[f"model, {app}"]["mdape"] for app in ("md-lj", "dense-solve")) <= 0.15


def test_it_beats_the_wall_time_asked_for_and_the_means(ways):
    for way in stream.WAYS:
        if way != "model":
            assert ways["model"]["mdape"] < ways[way]["mdape"] / 2, way


def test_peaks_of_memory_are_within_a_few_percent(ways):
    assert ways["model, peak memory"]["mdape"] < 0.05 and ways["model, peak memory"]["p90_coverage"] >= 0.8


def test_a_replay_is_deterministic():
    first, second = (stream.replay(ROWS[:60], Learnt()) for _ in range(2))
    assert [r["model"] for r in first] == [r["model"] for r in second]


def test_a_partition_never_seen_is_predicted_from_its_speed():
    """The runs of `half` are predicted from those of `native` alone, and from what its quota says: half the speed."""
    model = Learnt()
    for row in (r for r in ROWS if r["partition"] == "native"):
        stream.learn(model, row, 1.0)
    first = [r for r in ROWS if r["partition"] == "half"][:60]
    told = [stream.ask(model, row, 0.5) for row in first]
    errors = [abs(float(p.p50[0]) / float(r["run_s"]) - 1) for p, r in zip(told, first, strict=True)]
    assert np.median(errors) < 0.2

"""How good predictions were: statements about `accuracy.report`."""

from __future__ import annotations

from tidegrid.scheduling.accuracy import Outcome, report, score


def told(run, p50, p90, partition="a/x", wall=100.0, **more):
    return Outcome(partition, run, wall, "history", p50, p90, **more)


def test_error_is_the_median_and_coverage_the_share_within_p90():
    found = score([10, 10, 10], [12, 12, 12], [10, 8, 20])
    assert found == {"n": 3, "mdape": 0.25, "p90_coverage": 0.6667}
    assert score([], [], []) == {"n": 0, "mdape": None, "p90_coverage": None}


def test_only_what_was_said_from_history_counts_and_the_baselines_are_of_the_same_runs():
    found = report([
        Outcome("a/x", 10.0, 100.0, "wall time", 50.0, 100.0), Outcome("a/x", 30.0, 100.0), told(20.0, 22.0, 30.0),
        told(10.0, 10.0, 9.0, "b/x", wall=40.0), Outcome("a/x", 0.0, 100.0, "history", 1.0, 1.0),
    ])  # fmt: skip
    assert (found["runs"], found["first"]) == (4, 1)
    assert found["predicted"] == {"n": 2, "mdape": 0.05, "p90_coverage": 0.5}
    assert found["wall_time_asked"] == {"n": 2, "mdape": 3.5, "p90_coverage": 1.0}
    assert found["mean_of_application"]["mdape"] == 0.5  # 20 said for 20, then 20 for 10
    assert [(p["partition"], p["n"]) for p in found["partitions"]] == [("a/x", 1), ("b/x", 1)]


def test_peaks_that_nobody_measured_do_not_count():
    found = report([told(1, 1, 1, peak_mib=90.0, peak_p90_mib=100.0), told(1, 1, 1, peak_mib=110.0, peak_p90_mib=100.0), told(1, 1, 1)])
    assert found["peak_memory"] == {"n": 2, "p90_coverage": 0.5}
    assert report([])["peak_memory"] == {"n": 0, "p90_coverage": None}

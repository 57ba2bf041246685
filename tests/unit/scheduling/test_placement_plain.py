"""The row operations of placement against the plain loop of the benchmark: candidates, scores and counted reasons."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.placement import make_requests, make_snapshot, plain

from tidegrid.scheduling.placement import Refusal, decide
from tidegrid.scheduling.waits import Waits


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_mixed_batch_is_placed_as_the_plain_loop_places_it(seed):
    rng = np.random.default_rng(seed)
    snapshot = make_snapshot(rng, 60)
    requests = make_requests(rng, 80, snapshot)
    waits = Waits(snapshot)
    rows = [waits.of(r.need, r.wall_s)[0].tolist() for r in requests]
    decisions = decide(requests, snapshot)
    for (best, scores, count), decision in zip(plain(requests, snapshot, rows, 8), decisions, strict=True):
        assert [c.index for c in decision.candidates] == best
        assert [c.score for c in decision.candidates] == pytest.approx(scores, rel=1e-9)
        assert decision.refusals == {Refusal(r): n for r, n in count.items()}
    assert 0.2 < sum(d.feasible for d in decisions) / (60 * 80) < 0.8

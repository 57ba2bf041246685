"""What logs do not tell of a network: said in terms, refused where it makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegrid.domain.errors import InvalidInput
from tidegrid.lab import networking
from tidegrid.lab.terms import DAY, HOUR, Terms
from tidegrid.scheduling.kernel.policy import POLICIES


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"price": (1, 2, 3)}, "--price is given 3 times for 2 logs"),
        ({"data": (-1.0,)}, "-1 GB"),
        ({"cost": (float("nan"),)}, "cost"),
        ({"slack": 0.5}, "--slack"),
        ({"bandwidth": 0.0}, "--bandwidth"),
        ({"bandwidth": float("nan")}, "--bandwidth"),
        ({"latency": -1.0}, "--latency"),
        ({"outages": ("3:1:1",)}, "3:1:1"),
        ({"outages": ("0:1:1",)}, "0:1:1"),
        ({"outages": ("1:1",)}, "1:1"),
        ({"outages": ("1:1:0",)}, "1:1:0"),
        ({"outages": ("1:1:24", "1:1.5:2")}, "site 1 meet"),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as e:
        Terms(**terms).check(2)
    assert e.value.code == "simulate.terms" and e.value.hint


def test_outages_are_in_order_and_in_seconds() -> None:
    down = Terms(outages=("2:3:1", "2:0.5:12", "1:1:0.5")).down(3)
    assert down == [[(DAY, DAY + HOUR // 2)], [(DAY // 2, DAY), (3 * DAY, 3 * DAY + HOUR)], []]


def _logs(folder: Path, jobs: int = 60) -> list[Path]:
    rng, out = np.random.default_rng(5), []
    for name, gap in (("full", 400), ("idle", 4000)):
        t, rows = 0, ["; MaxProcs: 8"]
        for i in range(jobs):
            t += int(rng.integers(1, gap))
            run = int(rng.integers(300, 3000))
            rows.append(f"{i + 1} {t} -1 {run} 4 -1 -1 4 {run} -1 1 1 1 1 1 1 -1 -1")
        (folder / f"{name}.swf").write_text("\n".join(rows) + "\n")
        out.append(folder / f"{name}.swf")
    return out


def test_data_that_travels_and_sites_that_fail_are_in_the_figures(tmp_path: Path) -> None:
    logs, tide = _logs(tmp_path), networking.policy("tide")
    plain = networking.simulate(logs, POLICIES["easy"], tide)
    data = networking.simulate(logs, POLICIES["easy"], tide, terms=Terms(data=(2.0, 2.0), bandwidth=10.0, latency=5.0))
    heavy = networking.simulate(logs, POLICIES["easy"], tide, terms=Terms(data=(2000.0, 2000.0), bandwidth=10.0))
    failing = networking.simulate(logs, POLICIES["easy"], tide, terms=Terms(outages=("1:0.05:2",)))
    away = [round(r["scorecard"]["moved"] * r["jobs"]) for r in (plain, data, heavy)]
    assert plain["scorecard"]["carried_bytes"] == 0 and away[0] > 0 and away[1] > 0
    assert data["scorecard"]["carried_bytes"] % 2e9 == 0 and data["scorecard"]["carried_bytes"] >= 2e9 * away[1]
    assert plain["mean_wait"] < data["mean_wait"] < data["alone"]["mean_wait"]
    assert away[2] == 0 and heavy["mean_wait"] == heavy["alone"]["mean_wait"]  # the way is longer than any queue
    assert failing["scorecard"]["restarts"] > 0 and failing["alone"]["restarts"] > 0
    assert failing["mean_wait"] < failing["alone"]["mean_wait"]

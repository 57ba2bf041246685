"""`tide simulate --network`: one object for the network, its sites alone and together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tidegrid.cli.main import run
from tidegrid.lab import networking
from tidegrid.scheduling.kernel.policy import POLICIES
from tidegrid.simulation.traces import Header, write_swf
from tidegrid.simulation.traces.trace import build


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(networking, "load", lambda: False)
    names = []
    for seed, (name, size, load) in enumerate((("busy", 16, 1.2), ("idle", 16, 0.3))):
        rng = np.random.default_rng(seed)
        run_s, width = rng.integers(60, 3600, 120), 2 ** rng.integers(0, 4, 120)
        span = (run_s * width).sum() / (size * load)
        trace = build(np.sort(rng.uniform(0, span, 120)).astype(np.int64), run_s, requested=width, allocated=width, estimate=run_s * 2,
                      user=rng.integers(1, 5, 120), header=Header(start=0, processors=size))  # fmt: skip
        path = tmp_path / f"{name}.swf"
        data = write_swf(trace)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        names.append(str(path))
    return names


def test_one_object_for_the_network_with_each_site_alone_and_in_it(logs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", *logs, "--network", "tide", "--policy", "easy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["network"] == "tide" and found["jobs"] == 240
    assert [s["site"] for s in found["sites"]] == ["busy", "idle"]
    busy = found["sites"][0]
    assert busy["network"]["mean_wait"] < busy["alone"]["mean_wait"]
    for name in ("mean_wait", "mean_bounded_slowdown", "p95_bounded_slowdown", "max_wait", "utilisation", "seconds"):
        assert name in found
    assert found["mean_wait"] < found["alone"]["mean_wait"]
    assert found["gap_closed"]["low"] <= found["gap_closed"]["value"]
    assert found["foreseen"]["mean_wait"] != found["mean_wait"], "estimates are not exact"


def test_alone_the_sites_figures_are_those_of_simulate_without_a_network(logs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", *logs, "--network", "home", "--policy", "easy", "--json"]) == 0
    sites = json.loads(capsys.readouterr().out)["sites"]
    assert run(["simulate", *logs, "--policy", "easy", "--json"]) == 0
    single = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for site, alone in zip(sites, single, strict=True):
        for name in ("jobs", "mean_wait", "mean_bounded_slowdown", "p95_bounded_slowdown", "max_wait"):
            assert site["network"][name] == site["alone"][name] == alone[name]


def test_people_see_a_table_and_who_lost(logs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", *logs, "--network", "tide-fair", "--policy", "easy"]) == 0
    out = capsys.readouterr().out
    assert "one pooled machine" in out and "run times known beforehand" in out and "worse than alone" in out and "busy" in out


@pytest.mark.parametrize(("more", "code"), [(["--network", "best"], "network_policy.unknown"), (["--days", "3"], "simulate.days"),
                                            (["--network", "tide", "--window", "0:5"], "simulate.window")])  # fmt: skip
def test_wrong_use_is_refused_with_a_hint(logs: list[str], capsys: pytest.CaptureFixture[str], more: list[str], code: str) -> None:
    assert run(["simulate", *logs, *more, "--json"]) == 2
    assert code in capsys.readouterr().err


def test_days_cut_every_log_from_its_own_beginning(logs: list[str]) -> None:
    jobs, sites = networking.read([Path(p) for p in logs], POLICIES["easy"], days=1)
    assert len(sites) == 2
    assert int(jobs.submit.max()) < 86_400
    assert {0, 1} == set(jobs.home.tolist())

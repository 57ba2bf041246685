"""The project's own numerical application: energy is kept, and it says so itself when it is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegrid import apps
from tidegrid.apps import md_lj
from tidegrid.catalog import acceptance


def run(directory: Path, *args: str) -> tuple[int, dict[str, Any]]:
    (directory / "md_lj.py").write_bytes(apps.content("md_lj.py"))
    done = subprocess.run(
        [sys.executable, "md_lj.py", *args], cwd=directory, capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr
    return done.returncode, json.loads((directory / "result.json").read_text())


def quiet(_: str) -> None:
    return


def simulate(**kw: Any) -> dict[str, Any]:
    base = {"cells": 3, "steps": 40, "dt": 0.004, "density": 0.8442, "temperature": 1.0, "seed": 1, "workers": 1}
    return md_lj.simulate(**{**base, **kw}, say=quiet)


def test_it_passes_the_tests_of_its_document(tmp_path: Path) -> None:
    app = next(a for a in apps.documents() if a.id == "md-lj")
    (tmp_path / "md_lj.py").write_bytes(apps.content("md_lj.py"))
    assert app.tests
    for test in app.tests:
        script = app.render(app.validate(test.params), app.variables(python=sys.executable))
        code = subprocess.run(
            ["/bin/sh", "-c", script], cwd=tmp_path, timeout=60, check=False, capture_output=True
        ).returncode
        assert (
            acceptance.check(test, code, lambda f: (tmp_path / f).read_text() if (tmp_path / f).exists() else None)
            == []
        )


def test_it_fails_when_energy_is_not_kept(tmp_path: Path) -> None:
    code, result = run(tmp_path, "--cells", "3", "--steps", "60", "--dt", "0.02", "--temperature", "8")
    assert code == 1
    assert result["conserved"] is False


def test_the_error_of_a_step_is_of_second_order() -> None:
    coarse, fine = simulate(dt=0.004, steps=50), simulate(dt=0.002, steps=100)
    assert coarse["drift"] < 1e-3
    assert 2.5 < coarse["drift"] / fine["drift"] < 6  # velocity Verlet: 4


def test_momentum_stays_zero_and_the_same_seed_gives_the_same_run() -> None:
    one, two, other = simulate(), simulate(), simulate(seed=2)
    assert one["momentum"] < 1e-10
    assert one["energy_last"] == two["energy_last"]
    assert one["energy_last"] != other["energy_last"]


def test_several_processes_compute_what_one_does() -> None:
    one, two = simulate(cells=4, steps=20), simulate(cells=4, steps=20, workers=2)
    assert two["workers"] == 2
    assert one["energy_last"] == pytest.approx(two["energy_last"], rel=1e-9)


def test_the_cell_list_finds_every_pair_once() -> None:
    x, length = md_lj.fcc(6, 0.8442)
    x = x + np.random.default_rng(3).normal(0, 0.2, x.shape)
    box = md_lj.Box(length)
    assert int(length / box.reach) >= 3
    found = md_lj.neighbour_pairs(x, box)
    pairs = {(min(a, b), max(a, b)) for a, b in found.T.tolist()}
    i, j = np.triu_indices(len(x), 1)
    d = box.nearest(x[i] - x[j])
    near = (d * d).sum(axis=1) < box.reach**2
    assert pairs == set(zip(i[near].tolist(), j[near].tolist(), strict=True))
    assert len(pairs) == found.shape[1]


def test_forces_are_the_slope_of_the_energy() -> None:
    x, length = md_lj.fcc(3, 0.8442)
    x = x + np.random.default_rng(5).normal(0, 0.05, x.shape)
    box = md_lj.Box(length)
    pairs, f, scratch = md_lj.neighbour_pairs(x, box), np.zeros_like(x), np.zeros_like(x)
    md_lj.forces(x, pairs, box, f)
    for atom, axis in ((0, 0), (17, 1), (50, 2)):
        energies = []
        for h in (1e-5, -1e-5):
            moved = x.copy()
            moved[atom, axis] += h
            energies.append(md_lj.forces(moved, pairs, box, scratch))
        assert f[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / 2e-5, rel=1e-5, abs=1e-6)


def test_summary_of_results_of_other_jobs(tmp_path: Path) -> None:
    (tmp_path / "summarise.py").write_bytes(apps.content("summarise.py"))
    for i in (1, 3):
        (tmp_path / f"r{i}.json").write_text(json.dumps({"drift": i, "name": "x", "ok": True}))
    app = next(a for a in apps.documents() if a.id == "summarise")
    script = app.render(app.validate({"fields": ["drift"], "at_least": 2}), app.variables(python=sys.executable))
    done = subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["files"] == 2
    assert summary["mean"] == {"drift": 2}
    (tmp_path / "r9.json").write_text("{")
    assert (
        subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, timeout=30, check=False).returncode
        == 1
    )

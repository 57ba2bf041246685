"""Lennard-Jones molecular dynamics in reduced units: fcc start, neighbour list from cells, velocity Verlet, constant energy.

Runs at a site as `python3 md_lj.py …` with numpy. The potential is cut at 2.5 sigma and shifted so that it and its force end
at zero there (shifted force: Toxvaerd and Dyre, J. Chem. Phys. 134, 081102, 2011): so the energy can be held against a bound.
Writes `result.json`; exit status 0 where the relative energy drift stayed below the bound, 1 where it did not.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # the workers are the parallelism

import numpy as np  # noqa: E402

CUTOFF, SKIN = 2.5, 0.3
PATIENCE = 120.0  # seconds a process waits for another

Array = Any


class Box:
    """A cubic periodic box. cut: the potential's range; reach: the neighbour list's."""

    def __init__(self, length: float) -> None:
        self.length = length
        self.cut = min(CUTOFF, 0.45 * length)
        self.reach = min(self.cut + SKIN, 0.5 * length)
        self.energy_at_cut, self.slope_at_cut = self._at_cut()

    def _at_cut(self) -> tuple[float, float]:
        inv6 = self.cut**-6
        return 4 * (inv6 * inv6 - inv6), -24 * (2 * inv6 * inv6 - inv6) / self.cut

    def nearest(self, d: Array) -> Array:
        """Differences to the nearest image, in place."""
        d -= self.length * np.rint(d * (1.0 / self.length))
        return d


def fcc(cells: int, density: float) -> tuple[Array, float]:
    """Positions (4 cells³, 3) and the box length."""
    edge = (4.0 / density) ** (1.0 / 3.0)
    corner = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    grid = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    return ((grid + corner + 0.25) * edge).reshape(-1, 3), cells * edge


def velocities(atoms: int, temperature: float, seed: int) -> Array:
    """Maxwell's, with no net momentum, scaled to the temperature exactly."""
    v = np.random.default_rng(seed).standard_normal((atoms, 3))
    v -= v.mean(axis=0)
    return v * math.sqrt(temperature * 3 * (atoms - 1) / float((v * v).sum()))


def neighbour_pairs(x: Array, box: Box) -> Array:
    """Index pairs (2, n), each once, nearer than the box's reach."""
    atoms, side = len(x), int(box.length / box.reach)
    if side < 3:
        i, j = np.triu_indices(atoms, 1)
        return _near(x, box, i.astype(np.int32), j.astype(np.int32))
    where = np.minimum((x % box.length * (side / box.length)).astype(np.int64), side - 1)
    cell = (where[:, 0] * side + where[:, 1]) * side + where[:, 2]
    order = np.argsort(cell, kind="stable").astype(np.int32)
    counts = np.bincount(cell, minlength=side**3)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    width = int(counts.max())
    slots = np.arange(width)
    filled = slots < counts[:, None]
    members = np.where(filled, order[np.minimum(starts[:, None] + slots, atoms - 1)], -1)
    index = np.arange(side**3)
    cx, cy, cz = index // (side * side), index // side % side, index % side
    found = []
    for dx, dy, dz in _half_shell():
        other = (((cx + dx) % side) * side + (cy + dy) % side) * side + (cz + dz) % side
        i = np.broadcast_to(members[:, :, None], (side**3, width, width))
        j = np.broadcast_to(members[other][:, None, :], i.shape)
        keep = (i >= 0) & (j >= 0)
        if (dx, dy, dz) == (0, 0, 0):
            keep &= i < j
        found.append(_near(x, box, i[keep], j[keep]))
    return np.concatenate(found, axis=1)


def _half_shell() -> list[tuple[int, int, int]]:
    steps = [(a, b, c) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)]
    return [s for s in steps if s >= (0, 0, 0)]


def _near(x: Array, box: Box, i: Array, j: Array) -> Array:
    d = box.nearest(x[i] - x[j])
    keep = np.einsum("ij,ij->i", d, d) < box.reach**2
    return np.stack((i[keep], j[keep])).astype(np.int32)


def forces(x: Array, pairs: Array, box: Box, out: Array) -> float:
    """Potential energy of `pairs`; their forces go into `out` (atoms, 3)."""
    i, j = pairs
    d = box.nearest(x[i] - x[j])
    r2 = np.einsum("ij,ij->i", d, d)
    near = r2 < box.cut**2
    i, j, d, r2 = i[near], j[near], d[near], r2[near]
    inv6 = r2**-3
    r = np.sqrt(r2)
    energy = 4 * inv6 * (inv6 - 1) - box.energy_at_cut - (r - box.cut) * box.slope_at_cut
    d *= (24 * inv6 * (2 * inv6 - 1) / r2 + box.slope_at_cut / r)[:, None]
    atoms = len(x)
    for axis in range(3):
        w = d[:, axis]
        out[:, axis] = np.bincount(i, w, atoms) - np.bincount(j, w, atoms)
    return float(energy.sum())


class Alone:
    """Forces in this process."""

    def __init__(self, x: Array, box: Box) -> None:
        self.box, self.x, self.pairs = box, x, np.empty((2, 0), np.int32)

    def relist(self) -> None:
        self.pairs = neighbour_pairs(self.x, self.box)

    def forces(self, out: Array) -> float:
        return forces(self.x, self.pairs, self.box, out)

    def close(self) -> None:
        pass


class Shared:
    """Forces in several processes: each sums its share of the pairs into an array of its own, in shared memory."""

    def __init__(self, x: Array, box: Box, density: float, workers: int) -> None:
        self.box, self.workers, atoms = box, workers, len(x)
        per_atom = 2.0 / 3.0 * math.pi * box.reach**3 * max(density, 1.1)
        self.room = min(int(atoms * per_atom * 1.4) + 1000, atoms * (atoms - 1) // 2)
        fork = multiprocessing.get_context("fork")
        self.x = _shared("d", (atoms, 3))
        self.x[:] = x
        self.pairs = _shared("i", (2, self.room))
        self.parts = _shared("d", (workers, atoms, 3))
        self.energies = _shared("d", (workers,))
        self.count = _shared("q", (2,))  # pairs; whether to go on
        self.count[1] = 1
        self.begin, self.end = fork.Barrier(workers), fork.Barrier(workers)
        self.children = [fork.Process(target=self._work, args=(k,), daemon=True) for k in range(1, workers)]
        for child in self.children:
            child.start()

    def relist(self) -> None:
        found = neighbour_pairs(self.x, self.box)
        n = found.shape[1]
        if n > self.room:
            raise RuntimeError(f"{n} neighbour pairs, room for {self.room}: the atoms have run together")
        found = found[:, np.argsort(found[0], kind="stable")]
        self.pairs[:, :n] = found
        self.count[0] = n

    def _share(self, k: int) -> None:
        n = int(self.count[0])
        low, high = n * k // self.workers, n * (k + 1) // self.workers
        self.energies[k] = forces(self.x, self.pairs[:, low:high], self.box, self.parts[k])

    def _work(self, k: int) -> None:
        _die_with_parent()
        while True:
            self.begin.wait(PATIENCE)
            if not self.count[1]:
                return
            self._share(k)
            self.end.wait(PATIENCE)

    def forces(self, out: Array) -> float:
        self.begin.wait(PATIENCE)
        self._share(0)
        self.end.wait(PATIENCE)
        np.sum(self.parts, axis=0, out=out)
        return float(self.energies.sum())

    def close(self) -> None:
        self.count[1] = 0
        try:
            self.begin.wait(10)
        except Exception:  # noqa: BLE001 - a worker is gone: end the others
            for child in self.children:
                child.kill()
        for child in self.children:
            child.join(10)


def _shared(kind: str, shape: tuple[int, ...]) -> Array:
    """An array in anonymous shared memory: it goes with the last process, and leaves nothing behind."""
    return np.frombuffer(multiprocessing.RawArray(kind, math.prod(shape)), dtype=kind).reshape(shape)


def _die_with_parent() -> None:
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (OSError, AttributeError):
        return


def simulate(
    cells: int, steps: int, dt: float, density: float, temperature: float, seed: int, workers: int, say: Any = print
) -> dict[str, Any]:
    """Run; the facts of it. drift: largest |E − E₀| over the larger of |E₀| and the kinetic energy at the start."""
    began = time.perf_counter()
    start, length = fcc(cells, density)
    box, atoms = Box(length), len(start)
    workers = max(1, min(workers, atoms // 100))
    engine: Alone | Shared = Alone(start, box) if workers == 1 else Shared(start, box, density, workers)
    try:
        x, v = engine.x, velocities(atoms, temperature, seed)
        f = np.zeros_like(v)
        engine.relist()
        listed = x.copy()
        potential = engine.forces(f)
        kinetic = 0.5 * float((v * v).sum())
        first, scale = kinetic + potential, max(abs(kinetic + potential), kinetic)
        worst, relists, energy = 0.0, 1, first
        allowed = (0.5 * (box.reach - box.cut)) ** 2
        loop = time.perf_counter()
        for step in range(1, steps + 1):
            v += (0.5 * dt) * f
            x += dt * v
            moved = x - listed
            if float(np.einsum("ij,ij->i", moved, moved).max()) > allowed:
                engine.relist()
                listed[:] = x
                relists += 1
            potential = engine.forces(f)
            v += (0.5 * dt) * f
            kinetic = 0.5 * float((v * v).sum())
            energy = kinetic + potential
            worst = max(worst, abs(energy - first)) if math.isfinite(energy) else math.inf
            if not math.isfinite(energy):
                break
            if step % max(1, steps // 20) == 0 or step == steps:
                say(
                    f"step {step}/{steps} energy {energy / atoms:.6f} temperature {2 * kinetic / (3 * (atoms - 1)):.4f}"
                )
        seconds = time.perf_counter() - loop
    finally:
        engine.close()
    return {
        "program": "md-lj",
        "atoms": atoms,
        "steps": steps,
        "dt": dt,
        "density": density,
        "seed": seed,
        "workers": workers,
        "box": length,
        "energy_first": first / atoms,
        "energy_last": energy / atoms,
        "temperature_first": temperature,
        "temperature_last": 2 * kinetic / (3 * (atoms - 1)),
        "momentum": float(np.abs(v.sum(axis=0)).max()),
        "drift": worst / scale,
        "neighbour_lists": relists,
        "steps_per_second": steps / seconds if seconds > 0 else 0.0,
        "seconds": time.perf_counter() - began,
        "numpy": np.__version__,
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--dt", type=float, default=0.004)
    parser.add_argument("--density", type=float, default=0.8442)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-drift", type=float, default=1e-3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", default="result.json")
    a = parser.parse_args(argv)
    if a.cells < 3 or a.steps < 1 or a.dt <= 0 or a.density <= 0 or a.temperature <= 0 or a.workers < 0:
        parser.error("cells are at least 3, steps at least 1; dt, density and temperature are above 0")

    def say(line: str) -> None:
        print(line, flush=True)

    with np.errstate(all="ignore"):
        result = simulate(
            a.cells, a.steps, a.dt, a.density, a.temperature, a.seed, a.workers or os.cpu_count() or 1, say
        )
    result["max_drift"] = a.max_drift
    result["conserved"] = bool(result["drift"] < a.max_drift)
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in result.items()}
    temporary = f"{a.out}.tmp"
    with open(temporary, "w", encoding="utf-8") as f:
        json.dump(plain, f, indent=1, sort_keys=True, allow_nan=False)
    os.replace(temporary, a.out)
    verdict = "conserved" if result["conserved"] else "NOT conserved"
    say(
        f"{result['atoms']} atoms, {result['steps_per_second']:.1f} steps/s, energy {verdict}: drift {result['drift']:.3g}"
    )
    return 0 if result["conserved"] else 1


if __name__ == "__main__":
    sys.exit(main())

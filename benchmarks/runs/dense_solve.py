"""Solves dense random systems by LU and checks them as HPL does: |Ax - b| / (eps (|A| |x| + |b|) n) below 16.

Writes result.json; exit status 1 where a check failed.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np

THRESHOLD = 16.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--precision", choices=("double", "single"), default="double")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default="result.json")
    a = parser.parse_args()
    kind = np.float64 if a.precision == "double" else np.float32
    rng = np.random.default_rng(a.seed)
    matrix = (rng.random((a.n, a.n), dtype=kind) - kind(0.5)).astype(kind)
    right = (rng.random((a.n, 1), dtype=kind) - kind(0.5)).astype(kind)
    worst = 0.0
    for _ in range(a.repeats):
        x = np.linalg.solve(matrix, right)
        rest = float(np.abs(matrix @ x - right).max())
        scale = float(np.abs(matrix).sum(axis=1).max() * np.abs(x).max() + np.abs(right).max())
        worst = max(worst, rest / (float(np.finfo(kind).eps) * scale * a.n))
    good = worst < THRESHOLD
    with open(a.out, "w", encoding="utf-8") as f:
        json.dump({"n": a.n, "repeats": a.repeats, "residual": worst, "passed": good}, f)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Run times predicted on a stream of real runs, beside the wall time asked for, means, and a share of the wall time.

    python -m benchmarks.prediction [FILE.csv]     # a stream recorded by benchmarks.runs.record; the shipped one without it

Each run is predicted before it is learnt. Figures are of the runs after the first 50. Writes one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is loaded, as in a server

from benchmarks.calibration import calibrate
from benchmarks.runs import stream

from tidegrid.scheduling.runtime import Learnt

SHIPPED = Path(__file__).parents[1] / "tests/unit/scheduling/recorded/runs.csv"


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED
    rows = stream.read(path)
    began = time.perf_counter()
    found = stream.replay(rows, Learnt())
    took = time.perf_counter() - began
    ways = stream.compare(found)
    plain = min(ways[w]["mdape"] for w in stream.WAYS if w != "model")
    out = {
        "calibration": calibrate(), "runs": len(rows), **ways,
        "error of the best plain way / error of the model": round(plain / ways["model"]["mdape"], 2),
        "ms to predict and learn one run": round(1000 * took / len(rows), 2),
    }  # fmt: skip
    print(json.dumps(out))


if __name__ == "__main__":
    main()

"""How long a job will run: p50 and p90 from the history of its application, first version."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MODELLED_SHARE = 0.5  # of the wall time, where nothing is known: half of it at the median
ENOUGH = 5  # runs before history alone speaks


def predict(history: NDArray[np.float64], wall_s: float) -> tuple[float, float]:
    """(p50, p90) seconds, never above `wall_s`.

    history float64[N]: run time / wall time asked for, of earlier runs of the application (on the partition, where known).
    With none the answer is modelled: p90 the wall time, p50 half of it. With fewer than ENOUGH it is mixed with that model.
    """
    n = len(history)
    if n == 0:
        return wall_s * MODELLED_SHARE, float(wall_s)
    p50, p90 = (float(x) for x in np.quantile(np.clip(history, 0.0, 1.0), (0.5, 0.9)))
    trust = min(1.0, n / ENOUGH)
    p50 = trust * p50 + (1 - trust) * MODELLED_SHARE
    p90 = trust * p90 + (1 - trust)
    return wall_s * min(p50, p90), wall_s * p90

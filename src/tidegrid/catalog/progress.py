"""How far a run is, by what it writes itself: the last match of its document's `progress` in the end of its log.

    progress: 'step (\\d+)/(\\d+)'      # two groups: done, of how many
    progress: '(\\d+(?:\\.\\d+)?) %'    # one group: per cent
    progress: 'step (\\d+)'            # with `progress_of: steps`, one group: done; of how many says the parameter
    progress_in: md.log                # below the working directory; without it what it writes to its output
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TAIL = 16 * 1024  # bytes at the end of a log that are looked at


@dataclass(frozen=True, slots=True)
class Progress:
    """percent: 0 to 100; done and of: as the application says it, None where it tells per cent only."""

    percent: float
    done: float | None = None
    of: float | None = None


def read(pattern: str, text: str, of: float | None = None) -> Progress | None:
    """None where the text tells nothing. of: what `progress_of` says."""
    matches = list(re.finditer(pattern, text))
    if not matches:
        return None
    last = matches[-1]
    try:
        first = float(last[1])
        total = float(last[2]) if last.re.groups == 2 else of
        if total is None:
            return Progress(_percent(first))
        return Progress(_percent(100 * first / total), first, total)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None


def _percent(value: float) -> float:
    return round(min(100.0, max(0.0, value)), 1)

"""How demand moves over the year, the week and the day, at a place on the globe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tidegrid.simulation.traces.lublin import cycle
from tidegrid.simulation.traces.trace import Floats

# First day of the Spring Festival.
SPRING_FESTIVALS = (
    "2020-01-25", "2021-02-12", "2022-02-01", "2023-01-22", "2024-02-10", "2025-01-29", "2026-02-17", "2027-02-06",
    "2028-01-26", "2029-02-13", "2030-02-03", "2031-01-23", "2032-02-11", "2033-01-31", "2034-02-19", "2035-02-08",
)  # fmt: skip
_WEEK = np.array([1.12, 1.16, 1.16, 1.14, 1.08, 0.70, 0.64])  # from Monday; mean 1
_FESTIVAL = {-3: 0.8, -2: 0.6, -1: 0.45, 0: 0.3, 1: 0.28, 2: 0.28, 3: 0.3, 4: 0.32, 5: 0.36, 6: 0.45, 7: 0.6, 8: 0.75, 9: 0.85, 10: 0.9}


@dataclass(frozen=True)
class Region:
    """A place: hours its working day is ahead of UTC, its part of all demand, whether the Spring Festival is kept, how far the year swings."""

    name: str
    ahead: float = 0.0
    part: float = 1.0
    festival: bool = False
    swing: float = 0.12


REGIONS = (
    Region("east", 8, 0.34, True), Region("north", 8, 0.26, True), Region("south", 8, 0.18, True), Region("west", 6, 0.12, True),
    Region("europe", 1, 0.10, False, 0.08),
)  # fmt: skip


def hours(region: Region, start: int, days: int) -> Floats:
    """Demand in each hour from Unix time `start` (a midnight, UTC) for so many days; the mean is 1.

    The day is Lublin and Feitelson's, Saturdays and Sundays have three fifths of a working day, the year has its crest in early December
    (deadlines, budgets) and its trough in June, and around the Spring Festival demand falls to three tenths.
    """
    local = np.arange(days * 24) + round(region.ahead)
    day = start // 86400 + local // 24
    out: Floats = cycle().reshape(24, 2).mean(axis=1)[local % 24]
    out = out * _WEEK[(day + 3) % 7]  # 1970-01-01 was a Thursday
    out = out * (1 + region.swing * np.cos(2 * np.pi * (day % 365.2425 - 338) / 365.2425))
    if region.festival:
        first = np.array(SPRING_FESTIVALS, "datetime64[D]").astype(np.int64)
        for offset, part in _FESTIVAL.items():
            out = np.where(np.isin(day, first + offset), out * part, out)
    out /= out.mean()
    return out

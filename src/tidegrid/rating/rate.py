"""The one formula of price: use x rates -> micro-yuan, rounded once."""

from __future__ import annotations

from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.money import MICRO, MS_PER_HOUR, PRICE_UNIT, div_half_up
from tidegrid.rating.rates import Rates

MIB_PER_GIB = 1024
_SCALE = MS_PER_HOUR * MIB_PER_GIB * (PRICE_UNIT // MICRO)


def rate(elapsed_ms: int, cores: int, gpus: int, memory_mib: int, rates: Rates) -> int:
    """Micro-yuan for `elapsed_ms` of an allocation, half up, rounded once over all its resources.

    cores, gpus: counts; memory_mib: MiB. InvalidInput usage.negative where anything is below 0.
    """
    return rate_millicores(elapsed_ms, cores * 1000, gpus, memory_mib, rates)


def rate_millicores(elapsed_ms: int, millicores: int, gpus: int, memory_mib: int, rates: Rates) -> int:
    """`rate` for allocations counted in 1/1000 core."""
    if min(elapsed_ms, millicores, gpus, memory_mib) < 0:
        raise InvalidInput(
            "usage.negative",
            f"use cannot be negative: {elapsed_ms} ms, {millicores} millicores, {gpus} GPUs, {memory_mib} MiB",
        )
    per_hour = (
        millicores * rates.core_hour * MIB_PER_GIB
        + gpus * rates.gpu_hour * (1000 * MIB_PER_GIB)
        + memory_mib * rates.memory_gib_hour * 1000
    )
    return div_half_up(elapsed_ms * per_hour, _SCALE * 1000)

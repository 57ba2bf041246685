"""What a centre's accounting says of a span of time: for settling with it, not for watching jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tidegrid.domain.attempt import Ended


@dataclass(frozen=True, slots=True)
class Allocation:
    """An allocation that ended, of anybody who uses the same Unix account.

    id: as the centre's users write it (`12_3`); event: its end; submitted_at: µs on the site's clock. elapsed_ms: as accounted,
    which leaves out time suspended. cores, gpus, memory_mib: allocated, over all its nodes; None where accounting does not say.
    """

    id: str
    name: str
    event: Ended
    elapsed_ms: int
    submitted_at: int | None = None
    cores: int | None = None
    gpus: int | None = None
    memory_mib: int | None = None
    user: str = ""
    account: str = ""
    partition: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """Allocations in the order of accounting. site_time_us: the site's clock when it answered."""

    allocations: tuple[Allocation, ...]
    site_time_us: int


@runtime_checkable
class Accountable(Protocol):
    """A connector whose cluster keeps accounts of what ran."""

    async def statement(self, since: int, until: int) -> Statement:
        """Everything that ended in [since, until), unix seconds. SiteRefused (site.no_accounting) where nothing is kept,
        SiteUnsure where there is no complete answer."""
        ...

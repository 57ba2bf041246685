"""Machine cards, as they go out."""

from __future__ import annotations

from typing import Any

from tidegrid.server.views.base import Time, View


class MachineCard(View):
    """What a node of a partition can do. card: {schema, host, cpu_s, values: {name: {value, unit, tier, error, n, note}}}."""

    id: str
    partition: str
    measured_at: Time | None = None
    hash: str
    job: str | None = None
    by: str | None = None
    card: dict[str, Any]


class MachineCardList(View):
    items: list[MachineCard]


class MachineCardPage(MachineCardList):
    next: str | None = None

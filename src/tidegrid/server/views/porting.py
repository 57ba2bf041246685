"""The porting board, as it goes out."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Time, View


class CustomerDemand(View):
    org: str
    core_hours: float


class PortingItem(View):
    """An application on an architecture: a candidate, or an item of the board. Amounts in yuan, of the window."""

    id: str | None = Field(None, description="null: a candidate that nobody has put on the board")
    rank: int | None = None
    app: str
    arch: str
    state: str
    score: float | None = Field(None, description="yuan a person-day; null: no partition of that architecture has a price")
    worth: float | None = Field(None, description="what the window's demand would have been worth")
    gain: float | None = Field(None, description="yuan saved a core-hour that moves")
    speed: float | None = Field(None, description="of a core there against those in use")
    speed_tier: str = ""
    place: str = Field("", description="where it would run")
    used_core_hours: float = 0.0
    refused_core_hours: float = Field(0.0, description="asked for and refused, at full wall time")
    refused_jobs: int = 0
    customers: list[CustomerDemand] = []
    effort_days: float = 0.0
    effort_tier: str = ""
    note: str = ""
    changed_at: Time | None = None
    changed_by: str | None = None


class PortingList(View):
    items: list[PortingItem]


class PortingStep(View):
    at: Time | None = None
    by: str = ""
    state: str
    effort_days: float | None = None
    note: str = ""


class PortingDetails(PortingItem):
    history: list[PortingStep] = []

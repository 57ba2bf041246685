"""Incidents, as they go out."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Time, View


class IncidentStep(View):
    at: Time | None = None
    what: str = ""


class Incident(View):
    """A place's trouble from its first sign to its end."""

    id: str
    cluster: str
    partition: str = Field("", description="empty: the cluster as a whole")
    cause: str = Field("", description="submit, run, contact, silent or dead")
    condition: str = Field("", description="the worst it came to: suspect, draining, silent or dead")
    opened_at: Time | None = None
    changed_at: Time | None = None
    closed_at: Time | None = None
    moved: int = Field(0, description="jobs placed anew for it")
    lost: int = Field(0, description="attempts that ended `lost` for it")
    evidence: dict[str, float] = Field({}, description="how often each sign of trouble was seen")
    steps: list[IncidentStep] = []


class IncidentPage(View):
    items: list[Incident]
    next: str | None = None

"""Events, as they go out."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tidegrid.server.views.base import Time, View


class Event(View):
    seq: int
    at: Time | None = None
    kind: str
    org: str | None = None
    job: str | None = None
    attempt: str | None = None
    cluster: str | None = None
    body: dict[str, Any] = {}


class EventPage(View):
    items: list[Event]
    next: str | None = Field(None, description="give it as `after`; null where no event followed")

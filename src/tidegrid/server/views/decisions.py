"""Decisions made again, as they go out."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Time, View


class Differing(View):
    call: str
    at: Time
    why: str = Field(description="place; here and elsewhere: whether what waits is better off placed anew")
    snapshot: str


class Replay(View):
    """Kept calls of placement, decided again."""

    since: Time
    calls: int
    requests: int = Field(description="of all these calls")
    identical: int = Field(description="gave the same bytes again")
    differ: int = Field(description="did not, under the same policy: a defect")
    other_policy: int = Field(description="were decided by another policy than this program's")
    changed: int = Field(description="of these, by which this program decides otherwise")
    no_picture: int = Field(description="whose picture of the network is no longer kept")
    differences: list[Differing]

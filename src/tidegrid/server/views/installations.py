"""Installations, trials and licences, as they go out."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tidegrid.server.views.base import Time, View


class Speed(View):
    """Of good runs of acceptance tests: relative to the other partitions measured, whose geometric mean is 1."""

    relative: float | None = None
    seconds: float
    n: int
    spread: float | None = Field(None, description="half the span of the runs, relative to their median")
    tier: str = "measured"


class Installation(View):
    """A version of an application at a partition."""

    app: str
    version: str
    partition: str
    arch: str = ""
    state: str = Field(description="wanted, installed, verified, tuned, failed or withdrawn")
    remark: str = ""
    reason: str = Field("", description="why, where it failed or an operator said so")
    invoked: str = Field("", description="how it is called there")
    way: dict[str, Any] | None = None
    tested: bool = Field(False, description="the application has acceptance tests")
    speed: Speed | None = None
    changed_at: Time | None = None
    changed_by: str | None = None


class InstallationList(View):
    items: list[Installation]


class InstallationEvent(View):
    id: str
    version: str
    state: str
    reason: str = ""
    way: dict[str, Any] | None = None
    at: Time | None = None
    by: str | None = None


class InstallationHistory(View):
    items: list[InstallationEvent]
    next: str | None = None


class Trial(View):
    """A job that verifies an installation or measures a machine. state: running, passed, failed, or void: it says nothing."""

    id: str
    kind: str
    app: str
    version: str
    partition: str
    test: str = ""
    job: str
    state: str
    failed: list[str] = Field([], description="what was not as expected")
    values: dict[str, Any] = Field({}, description="what the test looked at")
    seconds: float | None = None
    by: str = ""
    created_at: Time | None = None
    ended_at: Time | None = None


class TrialList(View):
    items: list[Trial]


class TrialPage(TrialList):
    next: str | None = None


class LicenceHolder(View):
    org: str
    count: int


class Licence(View):
    """A pool of licences that count together. holders: for operators."""

    name: str
    feature: str
    count: int
    used: int = Field(description="by attempts that were placed and have not ended")
    free: int
    at: list[str] = Field([], description="partitions that it serves")
    holders: list[LicenceHolder] | None = None


class LicenceList(View):
    items: list[Licence]

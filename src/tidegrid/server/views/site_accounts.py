"""Accounts at centres, as they go out."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Time, View


class Binding(View):
    """Whose an account at a centre is or was, for a time."""

    org: str
    project: str | None = Field(None, description="null: all of the organisation's")
    valid_from: Time
    valid_until: Time | None = None
    bound_by: str = ""
    released_by: str | None = None


class BindingList(View):
    items: list[Binding]


class SiteAccount(View):
    """A Unix account at a centre. identity (the name of the secret with its key) and binding: for operators only."""

    id: str
    cluster: str
    user: str
    uid: int
    root: str
    account: str = Field("", description="Slurm's account")
    qos: str = ""
    kind: str = Field(description="pool or dedicated")
    state: str = Field(description="free, bound, dirty (released, not yet cleaned) or retired")
    trouble: str = Field("", description="why it does not answer")
    live_attempts: int = 0
    identity: str | None = None
    binding: Binding | None = None
    created_at: Time | None = None
    retired_at: Time | None = None


class SiteAccountList(View):
    items: list[SiteAccount]

"""Servers and the roles they hold, as they go out."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Time, View


class RoleHeld(View):
    """role: `submit`, or `cluster:` and its name; token: its holder's, higher at every change of holder."""

    role: str
    token: int = 0
    since: Time | None = None
    expires_at: Time | None = None


class Server(View):
    """A server of this network."""

    name: str
    url: str = Field("", description="where it listens, on its host")
    host: str = ""
    pid: int = 0
    version: str = ""
    live: bool = Field(False, description="it said so within the life of a lease")
    started_at: Time | None = None
    seen_at: Time | None = None
    able: list[str] = Field([], description="roles it could take")
    roles: list[RoleHeld] = []


class ServerList(View):
    items: list[Server]
    free: list[str] = Field([], description="roles that some server could take and nobody holds")

"""Whether the server is well, and whose token asks, as they go out."""

from __future__ import annotations

from tidegrid.server.views.base import View


class Me(View):
    """Whose token this is."""

    org: str
    user: str
    role: str
    permissions: list[str]


class Health(View):
    status: str
    version: str

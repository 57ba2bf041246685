"""Files of a job, as they go out."""

from __future__ import annotations

from tidegrid.server.views.base import View


class Output(View):
    path: str
    size: int = 0
    sha256: str | None = None
    state: str | None = None


class OutputList(View):
    items: list[Output]

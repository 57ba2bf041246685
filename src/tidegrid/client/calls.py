"""What the parts of `Tide` share: one call, decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tidegrid.client.transport import Transport

View = dict[str, Any]


class Calls:
    """_t: the connection; _sleep: pauses, in seconds."""

    _t: Transport
    _sleep: Callable[[float], None]

    def _view(self, method: str, path: str, *, retry: bool = True, **kw: Any) -> View:
        found: View = self._t.json(method, path, retry=retry, **kw)
        return found

    def _items(self, path: str) -> list[View]:
        found: list[View] = self._view("GET", path)["items"]
        return found

    def _post(self, path: str, body: View, key: str) -> View:
        found: View = self._t.json("POST", path, json=body, headers={"Idempotency-Key": key})
        return found


def quoted(text: str) -> str:
    """One part of a path; what would climb is made harmless."""
    return quote(text, safe="") if text not in ("", ".", "..") else "%20"

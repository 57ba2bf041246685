"""The one error tree.

TideError
├── InvalidInput      wrong use: exit 2, HTTP 422
├── Unauthenticated   no or unknown token: exit 4, HTTP 401
├── Forbidden         known, not allowed: exit 4, HTTP 403
├── NotFound          exit 2, HTTP 404
├── Conflict          exit 4, HTTP 409
├── InsufficientFunds exit 4, HTTP 402
├── NoSpace           exit 4, HTTP 507
├── Unreachable       the server or a cluster does not answer: exit 3, HTTP 503
└── Broken            state on disk that cannot be trusted: exit 4, HTTP 500

A message says what happened, to what, and what to do next. `code` is stable; texts are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TideError(Exception):
    """An error a person can act on. code: dotted, stable; hint: what to do next; details: JSON values."""

    status = 500
    exit_status = 1

    def __init__(self, code: str, message: str, *, hint: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message} ({self.code})" + (f": {self.hint}" if self.hint else "")


class InvalidInput(TideError):
    status, exit_status = 422, 2


class Unauthenticated(TideError):
    status, exit_status = 401, 4


class Forbidden(TideError):
    status, exit_status = 403, 4


class NotFound(TideError):
    status, exit_status = 404, 2


class Conflict(TideError):
    status, exit_status = 409, 4


class InsufficientFunds(TideError):
    status, exit_status = 402, 4


class NoSpace(TideError):
    status, exit_status = 507, 4


class Unreachable(TideError):
    status, exit_status = 503, 3


class Broken(TideError):
    status, exit_status = 500, 4

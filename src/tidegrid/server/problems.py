"""Errors as RFC 9457 problems (`application/problem+json`) with the stable codes of `domain.errors`."""

from __future__ import annotations

import secrets
import traceback
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegrid.domain.errors import TideError

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger("tidegrid.server")

TITLES = {
    400: "Malformed request",
    401: "No valid token",
    402: "Insufficient funds",
    403: "Not allowed",
    404: "Not found",
    405: "No such method",
    409: "Conflict",
    413: "Too large",
    416: "Range outside of the file",
    422: "Invalid input",
    500: "Internal error",
    503: "Unreachable",
    507: "No space",
}
_CODES = {400: "request.malformed", 404: "route.unknown", 405: "route.method", 413: "request.too_large"}


class FieldProblem(BaseModel):
    """One refused field: where it stands and what is wrong."""

    where: str
    message: str


class Problem(BaseModel):
    """Every answer that is no success has this shape. `code` is stable, texts are not."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    hint: str = ""
    details: dict[str, Any] = Field(default_factory=dict, description="JSON values that belong to the code")
    errors: list[FieldProblem] = Field(default_factory=list, description="refused fields, for request.invalid")
    error_id: str = Field("", description="names the server's log line, for internal.error")


_STATUSES = (400, 401, 402, 403, 404, 405, 409, 413, 416, 422, 500, 503, 507)
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": TITLES[status],
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in _STATUSES
}


def response(
    status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A problem as a response."""
    body = Problem(title=TITLES.get(status, "Error"), status=status, code=code, detail=detail, **more)
    return JSONResponse(_plain(body.model_dump()), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _plain(value: Any) -> Any:
    """`value` with every text encodable: what a client sent may come back inside a message."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_plain(str(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        return value
    return _plain(str(value))


def of(error: TideError) -> JSONResponse:
    """The problem that says `error`."""
    headers = {"WWW-Authenticate": 'Bearer realm="tidegrid"'} if error.status == 401 else None
    return response(error.status, error.code, error.message, hint=error.hint, details=error.details, headers=headers)


async def _on_tide(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TideError)
    if error.status >= 500:
        log.warning("request refused", code=error.code, status=error.status)
    return of(error)


def _said(e: Any) -> str:
    """Pydantic's words; of an id in the path, its own: nobody reads a regular expression."""
    if e.get("type") == "string_pattern_mismatch" and e.get("loc", ("",))[0] == "path":
        return f"{str(e.get('input'))[:40]!r} is no {e['loc'][-1]} id (`{e['loc'][-1]}-` and 13 characters)"
    return str(e.get("msg", "invalid"))


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [
        FieldProblem(where=".".join(str(p) for p in e.get("loc", ())), message=_said(e)) for e in error.errors()
    ]
    first = f"{found[0].where}: {found[0].message}" if found else "the request does not fit the schema"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return response(422, "request.invalid", first + more, errors=found[:50])


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, f"http.{error.status_code}")
    headers = dict(error.headers) if error.headers else {}
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(request.app.state.methods_of(request.url.path)))
    return response(error.status_code, code, str(error.detail), headers=headers)


def install(app: FastAPI) -> None:
    """Handlers for every error that has a meaning; `LastResort` takes the rest."""
    app.add_exception_handler(TideError, _on_tide)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


class LastResort:
    """What nobody expected becomes a 500 problem with an id; the traceback goes to the log under that id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            log.info("client went away", method=scope["method"], path=scope["path"])
        except Exception as error:
            error_id = secrets.token_hex(6)
            # as text: a renderer that shows local variables would show secrets
            log.error("internal error", error_id=error_id, method=scope["method"], path=scope["path"],
                      traceback=traceback.format_exc())  # fmt: skip
            if started:
                raise
            answer = (
                of(error)
                if isinstance(error, TideError)
                else response(500, "internal.error", "the server failed on this request", error_id=error_id,
                              hint=f"ask the operator, naming error {error_id}")
            )  # fmt: skip
            await answer(scope, receive, send)

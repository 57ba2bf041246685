"""The application: routes under /api/v1, limits, problems, access log, OpenAPI."""

from __future__ import annotations

import time
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegrid import __version__
from tidegrid.server import problems
from tidegrid.server.limits import BodyLimit
from tidegrid.server.ports import Platform
from tidegrid.server.routes import PREFIX, ROUTERS

log = structlog.get_logger("tidegrid.access")

_ABOUT = """Many supercomputers, one network: submit, watch, fetch, pay.

Every answer that is no success is an `application/problem+json` with a stable `code`. Lists are paged by cursor:
give `next` as `after`. Send an `Idempotency-Key` with what must not be done twice."""


class AccessLog:
    """One line a request: method, path, status, ms. No query, header or body: they may hold secrets."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            ms = round((time.perf_counter() - began) * 1000, 1)
            log.info("request", method=scope["method"], path=scope["path"], status=status, ms=ms)


def create_app(platform: Platform) -> FastAPI:
    """The service over `platform`. Open and close the platform outside of it."""
    app = FastAPI(
        title="Tidegrid",
        version=__version__,
        description=_ABOUT,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # the usual pages load scripts from other hosts
        redoc_url=None,
        responses=problems.RESPONSES,
        redirect_slashes=False,
    )
    app.state.platform = platform
    app.state.methods_of = methods_of
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    app.add_middleware(BodyLimit)
    app.add_middleware(problems.LastResort)
    app.add_middleware(AccessLog)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def methods_of(path: str) -> set[str]:
    """What may be done with a path: the router itself names only the first route that has it."""
    rest = path.removeprefix(PREFIX)
    routes = [r for router in ROUTERS for r in router.routes if isinstance(r, APIRoute)]
    return {m for r in routes if r.path_regex.match(rest) for m in r.methods or ()}


def _openapi(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1, with the problem's schema."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        models = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        components.update(models.pop("$defs", {}))
        components["Problem"] = models
        app.openapi_schema = schema
    return app.openapi_schema

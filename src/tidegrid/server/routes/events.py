"""Events: a page of them, or a stream that goes on (server-sent events, resumed by Last-Event-ID)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tidegrid.domain.errors import TideError
from tidegrid.server import auth
from tidegrid.server.auth import Network, ReadsEvents
from tidegrid.server.fields import BIGINT, JobId, Name
from tidegrid.server.params import MAX_PAGE
from tidegrid.server.ports import Platform
from tidegrid.server.views import events as views
from tidegrid.store import events as store_events

router = APIRouter(tags=["events"])
log = structlog.get_logger("tidegrid.server")
HEARTBEAT_S = 15.0
PACE_S = 0.1  # between two reads of one stream: a burst of commits is one read
POLL_S = 1.0  # commits of other servers on the same database wake nobody here
BATCH = 200

_STREAM = {
    200: {
        "description": "a page; or with `Accept: text/event-stream` a stream whose ids are `seq`",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/EventPage"}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    }
}


@router.get("/events", response_model=views.EventPage, responses=_STREAM)  # type: ignore[arg-type]
async def events(
    request: Request,
    platform: Network,
    actor: ReadsEvents,
    after: Annotated[int, Query(ge=0, le=BIGINT, description="the last `seq` already seen")] = 0,
    kind: Annotated[list[Name] | None, Query(max_length=50, description="of these kinds only")] = None,
    job: Annotated[JobId | None, Query(description="of this job only")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    tail: Annotated[bool, Query(description="leave out what has already happened")] = False,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", max_length=20, pattern="^[0-9]{1,18}$")
    ] = None,
) -> Response:
    """What happened, in order."""
    kinds = tuple(kind or ())
    position = int(last_event_id) if last_event_id else after
    if tail and not last_event_id:
        position = max(position, await platform.store.read(store_events.last))
    if "text/event-stream" in request.headers.get("accept", ""):
        stream = follow(platform, request, position, kinds, job)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    found = await platform.events(actor, position, kinds, job, limit)
    page = views.EventPage(items=[views.Event(**e) for e in found], next=str(found[-1]["seq"]) if found else None)
    return JSONResponse(page.model_dump(mode="json"))


async def follow(
    platform: Platform, request: Request, position: int, kinds: tuple[str, ...], job: str | None
) -> AsyncIterator[str]:
    """Events as they are committed, with a comment every HEARTBEAT_S; ends when the token ends."""
    _, _, token = request.headers.get("authorization", "").partition(" ")
    loop = asyncio.get_running_loop()
    checked = 0.0
    actor = None
    spoke = loop.time()
    yield f"id: {position}\nretry: 1000\n\n"  # where it begins: a client that breaks off at once resumes here
    while True:
        now = loop.time()
        if actor is None or now - checked >= HEARTBEAT_S:
            try:
                actor, checked = await auth.authenticate(platform, token.strip()), now
            except TideError:
                return
        seen = platform.store.commits
        try:
            found = await platform.events(actor, position, kinds, job, BATCH)
        except Exception as error:  # noqa: BLE001 - half an answer is out: ending it lets the client resume
            log.warning("event stream broke", error=repr(error))
            return
        for event in found:
            position = int(event["seq"])
            yield encode(event)
        if found:
            spoke = loop.time()
        if len(found) < BATCH:
            await platform.store.wait_for_commit(POLL_S, seen)
            await asyncio.sleep(PACE_S)
        if loop.time() - spoke >= HEARTBEAT_S:
            yield ": alive\n\n"
            spoke = loop.time()


def encode(event: dict[str, Any]) -> str:
    """One event as server-sent-event text."""
    view = views.Event(**event)
    return f"id: {view.seq}\nevent: {view.kind}\ndata: {view.model_dump_json()}\n\n"

"""Looking at clusters: what one is before it joins, and whether one can do what the network needs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tidegrid.domain.errors import TideError
from tidegrid.server import problems
from tidegrid.server.auth import Network, WritesClusters
from tidegrid.server.bodies import CheckBody, DiscoverBody
from tidegrid.server.params import ClusterName
from tidegrid.server.problems import log
from tidegrid.server.views import discovery as views

router = APIRouter(tags=["discovery"])
HEARTBEAT_S = 10.0
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the report; or with `Accept: text/event-stream` each finding as it comes (`finding`), then the `report` "
        "or a `problem`",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/CheckReport"}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    }
}


@router.post("/clusters/discover", response_model=views.Discovered)
async def discover(body: DiscoverBody, platform: Network, actor: WritesClusters) -> Any:
    """Log in to a cluster and read what it is; the network file's section for it is in `yaml`. Changes nothing."""
    return await platform.cluster_discover(actor, body.model_dump())


@router.post("/clusters/{cluster}/check", response_model=views.CheckReport, responses=_STREAM)
async def check(
    request: Request, cluster: ClusterName, body: CheckBody, platform: Network, actor: WritesClusters
) -> Response:
    """Try what the network needs of a cluster, with tiny jobs in every partition. What it makes there is removed at the end,
    also when the client goes away."""
    found: asyncio.Queue[Any] = asyncio.Queue()
    work = asyncio.create_task(
        platform.cluster_check(actor, cluster, wait_s=body.wait_s, document=body.document, say=found.put_nowait)
    )
    if "text/event-stream" in request.headers.get("accept", ""):
        return StreamingResponse(_told(work, found), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    try:
        report = views.CheckReport(**await work)
    finally:
        work.cancel()
    return JSONResponse(report.model_dump(mode="json"))


async def _told(work: asyncio.Task[Any], found: asyncio.Queue[Any]) -> AsyncIterator[str]:
    """The check's findings, then its report. Ends the check where nobody listens any more."""
    work.add_done_callback(lambda _: found.put_nowait(None))
    try:
        while True:
            try:
                finding = await asyncio.wait_for(found.get(), HEARTBEAT_S)
            except TimeoutError:
                yield ": alive\n\n"
                continue
            if finding is None:
                break
            yield _event("finding", finding.view())
        yield _event("report", await work)
    except TideError as error:
        yield _event("problem", json.loads(bytes(problems.of(error).body)))
    except Exception as error:  # noqa: BLE001 - half an answer is out; the cause is in the log, and no secret in the answer
        log.error("check broke", error=type(error).__name__)
        yield _event("problem", {"status": 500, "code": "internal.error", "detail": "the check broke off", "title": "Internal error"})
    finally:
        work.cancel()


def _event(kind: str, value: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'kind': kind, 'value': value}, ensure_ascii=False)}\n\n"

"""Jobs: submit, look, change, explain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from tidegrid.domain.job import JobState
from tidegrid.server.auth import Network, ReadsJobs, WritesJobs
from tidegrid.server.bodies import OfferBody, Submission, SubmissionList
from tidegrid.server.fields import Name
from tidegrid.server.params import After, IdempotencyKey, Job, Limit, Offset
from tidegrid.server.views import jobs as views

router = APIRouter(tags=["jobs"])
LOG_CHUNK = 4 << 20


@router.post("/jobs", status_code=201, response_model=views.Job)
async def submit(body: Submission, platform: Network, actor: WritesJobs, key: IdempotencyKey = None) -> Any:
    """Submit a job. It is committed when this answers."""
    return await platform.submit(actor, body.plain(), key)


@router.post("/batches", status_code=201, response_model=views.JobList)
async def submit_many(body: SubmissionList, platform: Network, actor: WritesJobs, key: IdempotencyKey = None) -> Any:
    """Submit up to 1,000 jobs in one transaction: all of them or none."""
    return {"items": await platform.submit_many(actor, [b.plain() for b in body.jobs], key)}


@router.post("/offers", response_model=views.Offers)
async def offers(body: OfferBody, platform: Network, actor: WritesJobs) -> Any:
    """Where this job could run now, with predicted wait and price. Nothing is submitted."""
    return await platform.offers(actor, body.plain())


@router.get("/jobs", response_model=views.JobPage)
async def jobs(
    platform: Network,
    actor: ReadsJobs,
    state: Annotated[JobState | None, Query()] = None,
    project: Annotated[Name | None, Query()] = None,
    limit: Limit = 50,
    after: After = None,
) -> Any:
    """Jobs, newest first."""
    state_name = state.value if state else None
    items, following = await platform.jobs(actor, state=state_name, project=project, limit=limit, after=after)
    return {"items": items, "next": following}


@router.get("/jobs/{job}", response_model=views.Job)
async def job(job: Job, platform: Network, actor: ReadsJobs) -> Any:
    """One job with its attempts."""
    return await platform.job(actor, job)


@router.get("/jobs/{job}/explain", response_model=views.Explanation)
async def explain(job: Job, platform: Network, actor: ReadsJobs) -> Any:
    """Why it went where it went, and what else was possible."""
    return await platform.explain(actor, job)


@router.get("/jobs/{job}/progress", response_model=views.Progress)
async def progress(job: Job, platform: Network, actor: ReadsJobs) -> Any:
    """How far it is, by what its application writes, or by how many tasks have ended."""
    return await platform.progress(actor, job)


@router.post("/jobs/{job}/cancel", response_model=views.Job)
async def cancel(job: Job, platform: Network, actor: WritesJobs) -> Any:
    """Wish the job cancelled: durable, and idempotent."""
    return await platform.cancel(actor, job)


@router.post("/jobs/{job}/hold", response_model=views.Job)
async def hold(job: Job, platform: Network, actor: WritesJobs) -> Any:
    """Keep what has not been placed from being placed."""
    return await platform.hold(actor, job)


@router.post("/jobs/{job}/release", response_model=views.Job)
async def release(job: Job, platform: Network, actor: WritesJobs) -> Any:
    """End a hold."""
    return await platform.release(actor, job)


_TEXT = {
    200: {
        "description": "the bytes from `offset`; `Tide-Next-Offset` says where to go on",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {"Tide-Next-Offset": {"schema": {"type": "integer"}, "description": "offset of the next byte"}},
    }
}


@router.get("/jobs/{job}/logs", response_class=Response, responses=_TEXT)  # type: ignore[arg-type]
async def logs(
    job: Job,
    platform: Network,
    actor: ReadsJobs,
    task: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    stream: Annotated[Literal["out", "err"], Query()] = "out",
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=LOG_CHUNK, description="bytes")] = 65_536,
) -> Response:
    """What a task wrote, while it runs and after. Empty: nothing (more) yet."""
    data = await platform.logs(actor, job, task, stream, offset, limit)
    return Response(
        data,
        media_type="application/octet-stream",
        headers={"Tide-Next-Offset": str(offset + len(data)), "X-Content-Type-Options": "nosniff"},
    )

"""Data that users bring: uploads by content hash, data sets, quotas.

Three ways up: the whole content in one request; many small ones in one (`packs`); piece by piece, resumed where it broke off
(`POST /contents/pieces`, then `PATCH` at the offset that `HEAD` tells). Nothing is seen before it is whole and has its hash.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from tidegrid.server.auth import Network, ReadsJobs, WritesAccounts, WritesJobs
from tidegrid.server.bodies import DatasetBody, HashesBody, QuotaBody, UploadBody
from tidegrid.server.fields import BIGINT, Name
from tidegrid.server.params import OfOrg, Upload
from tidegrid.server.views import data as views

router = APIRouter(tags=["data"])
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"requestBody": {"required": False, "content": {"application/octet-stream": _BINARY}}}
_OFFSET = {"Upload-Offset": {"schema": {"type": "integer"}, "description": "bytes that have arrived"}}
Project = Annotated[Name | None, Query(description="the project that it is counted to")]
At = Annotated[int, Header(alias="Upload-Offset", ge=0, le=BIGINT, description="where these bytes belong: where the upload stands")]


@router.post("/uploads", status_code=201, response_model=views.Upload, openapi_extra=_BODY)
async def upload(request: Request, platform: Network, actor: WritesJobs, project: Project = None) -> Any:
    """Store the body; name it in a job's inputs by its hash. The same content is stored once."""
    return await platform.upload(actor, request.stream(), project or "")


@router.post("/contents/packs", status_code=201, response_model=views.Packed, openapi_extra=_BODY)
async def upload_pack(request: Request, platform: Network, actor: WritesJobs, project: Project = None) -> Any:
    """Store many small contents: for each a line `<sha256> <bytes>`, then the bytes. What came whole before the connection broke
    stays."""
    return await platform.upload_pack(actor, request.stream(), project or "")


@router.post("/contents/missing", response_model=views.Hashes)
async def uploads_missing(body: HashesBody, platform: Network, actor: WritesJobs) -> Any:
    """Those of the hashes whose content one's organisation has not brought yet."""
    return {"hashes": await platform.uploads_missing(actor, body.hashes)}


@router.post("/contents/pieces", status_code=201, response_model=views.UploadState)
async def upload_begin(body: UploadBody, platform: Network, actor: WritesJobs) -> Any:
    """Begin an upload piece by piece, or find the one under way. `done`: the organisation has this content already."""
    return await platform.upload_begin(actor, body.sha256, body.size, body.project)


@router.get("/uploads/{upload}", response_model=views.UploadState)
async def upload_state(upload: Upload, platform: Network, actor: WritesJobs) -> Any:
    """How much of it has arrived."""
    return await platform.upload_state(actor, upload)


@router.head("/uploads/{upload}", response_class=Response, responses={200: {"headers": _OFFSET}})
async def upload_offset(upload: Upload, platform: Network, actor: WritesJobs) -> Response:
    """The same in headers: `Upload-Offset` and `Upload-Length`."""
    found = await platform.upload_state(actor, upload)
    return Response(headers={"Upload-Offset": str(found["offset"]), "Upload-Length": str(found["size"]), "Cache-Control": "no-store"})


@router.patch("/uploads/{upload}", response_model=views.UploadState, openapi_extra=_BODY)
async def upload_append(
    upload: Upload, request: Request, response: Response, platform: Network, actor: WritesJobs, at: At
) -> Any:
    """Add the body at the offset. The last byte completes it: then its hash is checked. After a broken connection ask for the
    offset, and go on there; upload.offset tells it too."""
    found = await platform.upload_append(actor, upload, at, request.stream())
    response.headers["Upload-Offset"] = str(found["offset"])
    return found


@router.delete("/uploads/{upload}", status_code=204)
async def upload_drop(upload: Upload, platform: Network, actor: WritesJobs) -> None:
    """Give it up."""
    await platform.upload_drop(actor, upload)


@router.get("/datasets", response_model=views.DatasetList)
async def datasets(platform: Network, actor: ReadsJobs) -> Any:
    """The organisation's data sets."""
    return {"items": await platform.datasets(actor)}


@router.get("/datasets/{name}", response_model=views.Dataset)
async def dataset(name: Name, platform: Network, actor: ReadsJobs) -> Any:
    """One of them; give its `sha256` as `tree` of a job's input."""
    return await platform.dataset(actor, name)


@router.put("/datasets/{name}", response_model=views.Dataset)
async def dataset_put(name: Name, body: DatasetBody, platform: Network, actor: WritesJobs) -> Any:
    """Name an uploaded directory, and say where it must stay. A name that is there is given the new content."""
    return await platform.dataset_put(actor, name, body.sha256, body.regions)


@router.delete("/datasets/{name}", response_model=views.Freed)
async def dataset_remove(name: Name, platform: Network, actor: WritesJobs) -> Any:
    """Remove it with what of its content no other data set has."""
    return await platform.dataset_remove(actor, name)


@router.get("/quota", response_model=views.Quota)
async def quota(platform: Network, actor: ReadsJobs, org: OfOrg = None) -> Any:
    """What the organisation and its projects keep, and may keep."""
    return await platform.quota(actor, org)


@router.put("/quota", response_model=views.Quota)
async def quota_set(body: QuotaBody, platform: Network, actor: WritesAccounts) -> Any:
    """Set a quota: an operator of an organisation, a project admin of its projects."""
    return await platform.quota_set(actor, body.org, body.project, body.bytes, body.files)

"""Files that jobs produced."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Request
from fastapi import Path as PathParam
from fastapi.responses import FileResponse, Response

from tidegrid.domain.errors import NotFound
from tidegrid.server import problems
from tidegrid.server.auth import Network, ReadsJobs
from tidegrid.server.fields import RelativePath
from tidegrid.server.params import Job
from tidegrid.server.views import files as views

router = APIRouter(tags=["files"])
_RANGE = re.compile(r"^bytes=(\d{0,18})-(\d{0,18})$")
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE = {
    200: {"description": "the file", "content": {"application/octet-stream": _BINARY}},
    206: {"description": "the bytes asked for", "content": {"application/octet-stream": _BINARY}},
}


@router.get("/jobs/{job}/outputs", response_model=views.OutputList)
async def outputs(job: Job, platform: Network, actor: ReadsJobs) -> Any:
    """What the job produced and the platform fetched."""
    return {"items": await platform.outputs(actor, job)}


@router.get("/jobs/{job}/outputs/{path:path}", response_class=Response, responses=_FILE)  # type: ignore[arg-type]
async def output(
    job: Job,
    path: Annotated[RelativePath, PathParam(description="as `outputs` lists it")],
    request: Request,
    platform: Network,
    actor: ReadsJobs,
    range_: Annotated[str | None, Header(alias="Range", max_length=200, description="one range: `bytes=0-99`")] = None,
) -> Response:
    """One output, or a range of it."""
    found = platform.output_path(actor, job, path)
    file = Path(await found if inspect.isawaitable(found) else found)
    size = await asyncio.to_thread(_size, file, platform.home)
    if size is None:
        raise NotFound("output.unknown", f"{job} has no output {path!r}", hint=f"see `tide fetch --list {job}`")
    if range_ is not None:
        match = _RANGE.match(range_.strip())
        usable = match is not None and (match[1] or match[2])
        if usable and match and match[1] and int(match[1]) >= size:
            return problems.response(416, "range.outside", f"{path!r} has {size} bytes",
                                     headers={"Content-Range": f"bytes */{size}"})  # fmt: skip
        if not usable or (match and match[1] and match[2] and int(match[2]) < int(match[1])) or size == 0:
            # RFC 9110: a range that makes no sense, or a kind not served here, is as if it were not there
            request.scope["headers"] = [(k, v) for k, v in request.scope["headers"] if k != b"range"]
    return FileResponse(
        file,
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
            "X-Content-Type-Options": "nosniff",
        },
    )


def _size(file: Path, home: Path) -> int | None:
    """Bytes of a regular file that really lies below `home`; None for anything else: a job may have written links."""
    try:
        real = file.resolve(strict=True)
        if not real.is_relative_to(home.resolve()) or file.is_symlink() or not real.is_file():
            return None
        return real.stat().st_size
    except (OSError, ValueError, RuntimeError):
        return None

"""Bounds on what a request may carry, held while it is read: a body without a length is counted too."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegrid.server import problems

MIB = 1 << 20
BODY = 1 * MIB
BULK = 32 * MIB  # POST /batches
NETWORK = 8 * MIB  # PUT /network
APPLICATION = 24 * MIB  # POST /apps: a document and its files in base64
PACK = 256 * MIB  # POST /contents/packs; read as it comes
MISSING = 8 * MIB  # POST /contents/missing
UPLOAD = 64 << 30  # POST /uploads; never held in memory


def limit_of(path: str) -> int:
    """Bytes a body sent to `path` may have."""
    if path.endswith("/uploads") or "/uploads/upl-" in path:
        return UPLOAD
    if path.endswith("/contents/packs"):
        return PACK
    if path.endswith("/contents/missing"):
        return MISSING
    if path.endswith("/batches"):
        return BULK
    if path.endswith(("/network", "/sbatch")):
        return NETWORK
    if path.endswith("/apps"):
        return APPLICATION
    return BODY


class BodyLimit:
    """Refuses longer bodies with 413 request.too_large."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = limit_of(scope["path"])
        text = f"the body is longer than the {limit} bytes allowed here"
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
                await problems.response(413, "request.too_large", text)(scope, receive, send)
                return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b"") or b"")
            if seen > limit:
                raise HTTPException(413, text)
            return message

        await self.app(scope, counted, send)

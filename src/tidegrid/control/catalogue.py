"""Applications into the store: those that come with the program, and those an operator publishes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

from sqlalchemy import Connection

from tidegrid import apps as packaged
from tidegrid.catalog import document
from tidegrid.catalog.document import Application
from tidegrid.catalog.yamldoc import canonical
from tidegrid.control.blobstore import BlobStore
from tidegrid.control.context import Context
from tidegrid.domain.errors import Conflict, InvalidInput
from tidegrid.store import apps, events

MIB = 1 << 20
MAX_TEXT = 1 * MIB  # of a document
MAX_FILES = 16 * MIB  # of its files together: they go to a site with every job


async def install(ctx: Context, applications: list[Application], by: str = "") -> list[str]:
    """Make these versions current; ids of those that were new. Their files must be in the blob store."""

    def commit(conn: Connection) -> list[str]:
        new = []
        for a in applications:
            if apps.put(conn, a.id, a.version, canonical(a.body), ctx.now()):
                new.append(a.id)
                body = {"app": a.id, "version": a.version} | ({"by": by} if by else {})
                events.append(conn, kind="app.added", at=ctx.now(), body=body)
        return new

    return await ctx.write(commit)


async def install_packaged(ctx: Context) -> list[str]:
    """The applications that come with the program, with their files. Again at every start: changes nothing then."""
    store = BlobStore(ctx.home / "blobs")
    for name in packaged.files():
        store.put_bytes(packaged.content(name))
    return await install(ctx, packaged.documents())


async def publish(
    ctx: Context, text: str, files: Mapping[str, bytes], by: str, *, dry_run: bool = False
) -> tuple[Application, bool]:
    """Check a document with its files and make it the current version; whether it was new. files: by the names under which the
    document has them; what it names beyond these are files that come with the program.

    InvalidInput (document.invalid, document.too_large, document.files), Conflict (app.packaged).
    """
    if len(text.encode()) > MAX_TEXT:
        raise InvalidInput("document.too_large", f"the document has more than {MAX_TEXT} bytes")
    total = sum(len(f) for f in files.values())
    if total > MAX_FILES:
        raise InvalidInput("document.too_large", f"its files have {total} bytes; {MAX_FILES} are possible",
                           hint="large data is an input of the job: upload it, or keep it at the site")  # fmt: skip
    hashes = {n: packaged.sha256(n) for n in packaged.files()} | {n: hashlib.sha256(f).hexdigest() for n, f in files.items()}
    application = document.parse(text, files=hashes)
    if unused := sorted(set(files) - {f.package for f in application.files}):
        raise InvalidInput("document.files", f"{application.id} names no file {unused[0]!r}", hint="leave it out")
    known = set(hashes.values())
    if strange := [f for f in application.files if f.sha256 not in known]:
        raise InvalidInput("document.files", f"{application.id}: the content of {strange[0].package!r} was not sent",
                           hint="leave `sha256` out of the document: it is computed")  # fmt: skip
    if application.id in packaged.ids():
        raise Conflict("app.packaged", f"{application.id} comes with the program, and would come back at the next start",
                       hint="give yours an id of its own")  # fmt: skip
    row = await ctx.store.read(lambda c: apps.get(c, application.id, application.version))
    if not dry_run:
        store = BlobStore(ctx.home / "blobs")
        for content in files.values():
            await asyncio.to_thread(store.put_bytes, content)
        await install(ctx, [application], by)
    return application, row is None

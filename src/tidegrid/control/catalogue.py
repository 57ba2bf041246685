"""Applications into the store: those that come with the program, and those an operator adds."""

from __future__ import annotations

from sqlalchemy import Connection

from tidegrid import apps as packaged
from tidegrid.catalog import document
from tidegrid.catalog.document import Application
from tidegrid.catalog.yamldoc import canonical
from tidegrid.control.blobstore import BlobStore
from tidegrid.control.context import Context
from tidegrid.store import apps, events


async def install(ctx: Context, applications: list[Application]) -> list[str]:
    """Make these versions current; ids of those that were new. Their files must be in the blob store."""

    def commit(conn: Connection) -> list[str]:
        new = []
        for a in applications:
            if apps.put(conn, a.id, a.version, canonical(a.body), ctx.now()):
                new.append(a.id)
                body = {"app": a.id, "version": a.version}
                events.append(conn, kind="app.added", at=ctx.now(), body=body)
        return new

    return await ctx.write(commit)


async def install_packaged(ctx: Context) -> list[str]:
    """The applications that come with the program, with their files. Again at every start: changes nothing then."""
    store = BlobStore(ctx.home / "blobs")
    for name in packaged.files():
        store.put_bytes(packaged.content(name))
    return await install(ctx, packaged.documents())


async def add(ctx: Context, text: str) -> Application:
    """Check a document and make it the current version; InvalidInput (document.invalid)."""
    application = document.parse(text, files={n: packaged.sha256(n) for n in packaged.files()})
    await install(ctx, [application])
    return application

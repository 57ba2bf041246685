"""What caches at sites give up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from tidegrid.connectors.contract import Connector
from tidegrid.connectors.rooted import split
from tidegrid.domain.errors import TideError
from tidegrid.store import site_data
from tidegrid.store.scope import Scope

if TYPE_CHECKING:
    from tidegrid.control.staging import Staging

log = structlog.get_logger(__name__)
Row = Mapping[Any, Any]


async def evict(staging: Staging, connector: Connector, attempt: Row, at: str) -> int:
    """Take out of a cache what was wanted longest ago, where it holds more than it may or what is too old; bytes. What jobs have
    is linked, and stays theirs."""
    ctx = staging.ctx
    settings, scope, user = ctx.settings, Scope(attempt["org_id"]), split(attempt["directory"])[0]
    if staging.bringer.under_way(at):
        return 0
    rows = await ctx.store.read(lambda c: site_data.of_cluster(c, connector.cluster, attempt["org_id"], user))
    oldest, total, kept, gone = ctx.now() - ctx.micro(settings.cache_days * 86_400), 0, list[Row](), list[Row]()
    for row in rows:
        total += row["size"]
        (kept if not kept or (total <= settings.cache_bytes and row["used_at"] >= oldest) else gone).append(row)
    if not gone:
        return 0
    keep = {sha for row in kept for sha in await _contents_of(staging, scope, row) or ()}
    named = [await _contents_of(staging, scope, row) for row in gone]
    if any(n is None for n in named):  # a list that is no longer here: all that nobody keeps
        found = await connector.files.glob(at, ["*/*"], limit=5_000_000)
        drop = {f.path.rpartition("/")[2] for f in found} - keep
    else:
        drop = {sha for n in named for sha in n or ()} - keep
    await connector.files.uncache(at, sorted(drop))
    hashes = [row["sha256"] for row in gone]
    await ctx.write(lambda c: site_data.forget(c, connector.cluster, attempt["org_id"], user, hashes))
    log.info("data.evicted", cluster=connector.cluster, contents=len(drop), of=len(gone))
    return sum(row["size"] for row in gone)


async def _contents_of(staging: Staging, scope: Scope, row: Row) -> list[str] | None:
    """Hashes of the files; None where they are not known any more."""
    if not row["tree"]:
        return [row["sha256"]]
    try:
        return [f.sha256 for f in await staging.tree(scope, row["sha256"])]
    except TideError:
        return None

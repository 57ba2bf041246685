"""Decisions made again from what was kept of them: the network's picture and what was asked, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from tidegrid.control import views
from tidegrid.control.context import Context
from tidegrid.domain.errors import Broken
from tidegrid.domain.ids import show
from tidegrid.scheduling import record
from tidegrid.scheduling.placement import Decision
from tidegrid.scheduling.record import Asked
from tidegrid.scheduling.snapshot import Snapshot
from tidegrid.store import decisions

AT_ONCE = 50  # calls looked at before others get a turn
LATEST = 100  # differences told


def keep(
    conn: Connection, ctx: Context, asked: Asked, snapshot: Snapshot, chosen: Sequence[Decision], *, why: str, acted: int
) -> int:
    """In the transaction that acts on a call of placement: the call and its picture. Its id."""
    id_, now = ctx.ids.new(), ctx.now()
    decisions.keep_snapshot(conn, snapshot.revision, now, snapshot.to_bytes())
    decisions.keep_batch(
        conn,
        {
            "id": id_, "at": now, "why": why, "snapshot": snapshot.revision, "policy": chosen[0].policy,
            "requests": len(asked.requests), "acted": acted, "asked": asked.to_bytes(), "answer": record.digest(chosen),
        },
    )  # fmt: skip
    return id_


async def prune(ctx: Context) -> int:
    """Keep what the settings say; 0."""
    now, s = ctx.now(), ctx.settings
    before, idle = now - ctx.micro(s.keep_calls), now - ctx.micro(s.keep_idle_calls)
    await ctx.write(lambda c: decisions.prune(c, before=before, idle_before=idle))
    return 0


async def replay(ctx: Context, *, since: int, limit: int) -> dict[str, Any]:
    """Every kept call since then (µs), oldest first, at most `limit`, decided again.

    identical: the same bytes came out; differ: they did not, under the same policy: a defect; other_policy: the program decides
    by another policy now, so that its answers may differ (`changed` of them do); no_picture: the snapshot is no longer kept.
    """
    found: dict[str, Any] = {
        "calls": 0, "requests": 0, "identical": 0, "differ": 0, "other_policy": 0, "changed": 0, "no_picture": 0,
        "since": views.when(since), "differences": [],
    }  # fmt: skip
    after = 0
    while found["calls"] < limit:
        most = min(AT_ONCE, limit - found["calls"])
        rows = await ctx.store.read(partial(decisions.batches, since=since, after=after, limit=most))
        if not rows:
            break
        after = rows[-1][0]["id"]
        for row, verdict in zip([r for r, _ in rows], await asyncio.to_thread(_again, rows), strict=True):
            found["calls"] += 1
            found["requests"] += row["requests"]
            found["changed"] += verdict == "changed"
            found["other_policy" if verdict in ("changed", "unchanged") else verdict] += 1
            if verdict == "differ" and len(found["differences"]) < LATEST:
                found["differences"].append(
                    {"call": show("call", row["id"]), "at": views.when(row["at"]), "why": row["why"], "snapshot": row["snapshot"]}
                )
    return found


def _again(rows: Sequence[tuple[Any, bytes | None]]) -> list[str]:
    return [_verdict(row, picture) for row, picture in rows]


def _verdict(row: Any, picture: bytes | None) -> str:
    if picture is None:
        return "no_picture"
    try:
        snapshot = Snapshot.from_bytes(picture)
        chosen = Asked.from_bytes(bytes(row["asked"])).decide(snapshot)
    except Broken:  # of another release's schema, or damaged
        return "no_picture"
    same = record.digest(chosen) == row["answer"] and snapshot.revision == row["snapshot"]
    if chosen[0].policy != row["policy"]:
        return "unchanged" if same else "changed"
    return "identical" if same else "differ"

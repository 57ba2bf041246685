"""Requests already answered: (organisation, key) -> what was asked and what was said, kept in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy import delete as sql_delete

from tidegrid.domain.errors import Conflict
from tidegrid.store import upsert
from tidegrid.store.schema import idempotency

Row = Mapping[Any, Any]


def get(conn: Connection, org_id: int, key: str, body_hash: str) -> Row | None:
    """What was answered to this key; None: it is new. Conflict idempotency.mismatch where it came with another body."""
    query = select(idempotency).where(idempotency.c.org_id == org_id, idempotency.c.key == key)
    row = conn.execute(query).mappings().first()
    if row is not None and row["body_hash"] != body_hash:
        raise Conflict(
            "idempotency.mismatch",
            f"the Idempotency-Key {key!r} was used for another request",
            hint="use a new key for a new request; repeat a request word for word",
        )
    return row


def put(conn: Connection, org_id: int, key: str, body_hash: str, response: str, at: int, *, status: int = 200) -> None:
    """Keep the answer. Conflict idempotency.race where another server is answering the same request: the caller's
    transaction must fail with it, and a repetition gets the other's answer."""
    row = {"org_id": org_id, "key": key, "body_hash": body_hash, "status": status, "response": response,
           "created_at": at}  # fmt: skip
    if not upsert.added(conn, idempotency, row):
        raise Conflict("idempotency.race", f"the request with key {key!r} is being answered already", hint="repeat it")


def delete(conn: Connection, org_id: int, key: str) -> None:
    """Release a key whose request was definitely refused."""
    conn.execute(sql_delete(idempotency).where(idempotency.c.org_id == org_id, idempotency.c.key == key))


def prune(conn: Connection, before: int) -> int:
    """Drop answers older than `before`; how many."""
    return conn.execute(sql_delete(idempotency).where(idempotency.c.created_at < before)).rowcount

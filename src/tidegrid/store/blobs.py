"""Whose content lies in the blob store. The bytes are there once; an organisation sees those it has a row for."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, RowMapping, delete, func, insert, select

from tidegrid.domain.errors import InvalidInput
from tidegrid.store.schema import apps, blobs
from tidegrid.store.scope import Scope

Row = RowMapping


def put(conn: Connection, scope: Scope, sha256: str, size: int, at: int) -> bool:
    """Give the scope's organisation this content; whether it was new to it."""
    if scope.org_id is None:
        raise InvalidInput("scope.organisation", "content belongs to an organisation; the operator's view has none")
    if get(conn, scope, sha256) is not None:
        return False
    conn.execute(insert(blobs).values(org_id=scope.org_id, sha256=sha256, size=size, created_at=at))
    return True


def get(conn: Connection, scope: Scope, sha256: str) -> Row | None:
    return conn.execute(select(blobs).where(blobs.c.sha256 == sha256, scope.filter(blobs))).mappings().first()


def missing(conn: Connection, scope: Scope, hashes: Iterable[str]) -> list[str]:
    """Those of `hashes` that the scope does not see."""
    wanted = sorted(set(hashes))
    known: set[str] = set()
    for i in range(0, len(wanted), 500):
        query = select(blobs.c.sha256).where(blobs.c.sha256.in_(wanted[i : i + 500]), scope.filter(blobs))
        known.update(conn.execute(query).scalars())
    return [h for h in wanted if h not in known]


def total(conn: Connection, scope: Scope) -> int:
    """Bytes the scope's content takes: what a quota counts."""
    return int(conn.execute(select(func.coalesce(func.sum(blobs.c.size), 0)).where(scope.filter(blobs))).scalar_one())


def used(conn: Connection, sha256: str) -> bool:
    """Whether any organisation still has this content, or a version of an application has it among its files."""
    mine = select(blobs.c.sha256).where(blobs.c.sha256 == sha256).limit(1)
    files = select(apps.c.id).where(apps.c.body.contains(sha256, autoescape=True)).limit(1)
    return conn.execute(mine).first() is not None or conn.execute(files).first() is not None


def drop(conn: Connection, scope: Scope, sha256: str) -> None:
    conn.execute(delete(blobs).where(blobs.c.sha256 == sha256, scope.filter(blobs)))

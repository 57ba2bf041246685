"""Uploads under way, data sets, and how much an organisation may keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from tidegrid.store.schema import datasets, quotas, uploads
from tidegrid.store.scope import Scope

Row = RowMapping


def begin(conn: Connection, row: dict[str, Any]) -> Row:
    """The upload of this content that the organisation has under way, or a new one."""
    known = conn.execute(
        select(uploads).where(
            uploads.c.org_id == row["org_id"], uploads.c.sha256 == row["sha256"], uploads.c.user_id == row["user_id"]
        )
    ).mappings().first()  # fmt: skip
    if known is not None:
        return known
    conn.execute(insert(uploads).values(**row))
    return conn.execute(select(uploads).where(uploads.c.id == row["id"])).mappings().one()


def get(conn: Connection, scope: Scope, id: int) -> Row | None:
    return conn.execute(select(uploads).where(uploads.c.id == id, scope.filter(uploads))).mappings().first()


def end(conn: Connection, id: int) -> None:
    conn.execute(delete(uploads).where(uploads.c.id == id))


def older(conn: Connection, at: int) -> list[Row]:
    """Begun before `at`."""
    return list(conn.execute(select(uploads).where(uploads.c.created_at < at)).mappings())


def promised(conn: Connection, scope: Scope, project_id: int | None = None) -> tuple[int, int]:
    """(bytes, files) of the uploads under way."""
    query = select(func.coalesce(func.sum(uploads.c.size), 0), func.count()).where(scope.filter(uploads))
    if project_id is not None:
        query = query.where(uploads.c.project_id == project_id)
    size, files = conn.execute(query).one()
    return int(size), int(files)


# Data sets ---------------------------------------------------------------------------------------------------------------


def put_dataset(conn: Connection, row: dict[str, Any]) -> Row:
    """A name for a directory; one that is there already is given this content."""
    known = dataset(conn, Scope(row["org_id"]), row["name"])
    if known is None:
        conn.execute(insert(datasets).values(**row))
    else:
        values = {k: v for k, v in row.items() if k not in ("id", "org_id", "name")}
        conn.execute(update(datasets).where(datasets.c.id == known["id"]).values(**values))
    found = dataset(conn, Scope(row["org_id"]), row["name"])
    assert found is not None
    return found


def dataset(conn: Connection, scope: Scope, name: str) -> Row | None:
    return conn.execute(select(datasets).where(datasets.c.name == name, scope.filter(datasets))).mappings().first()


def list_datasets(conn: Connection, scope: Scope) -> list[Row]:
    return list(conn.execute(select(datasets).where(scope.filter(datasets)).order_by(datasets.c.name)).mappings())


def by_content(conn: Connection, scope: Scope, hashes: Sequence[str]) -> list[Row]:
    """Data sets that have one of these contents."""
    if not hashes:
        return []
    query = select(datasets).where(datasets.c.sha256.in_(sorted(set(hashes))), scope.filter(datasets))
    return list(conn.execute(query).mappings())


def drop_dataset(conn: Connection, scope: Scope, name: str) -> None:
    conn.execute(delete(datasets).where(datasets.c.name == name, scope.filter(datasets)))


# Quotas ------------------------------------------------------------------------------------------------------------------


def quota(conn: Connection, org_id: int, project_id: int = 0) -> Row | None:
    query = select(quotas).where(quotas.c.org_id == org_id, quotas.c.project_id == project_id)
    return conn.execute(query).mappings().first()


def quotas_of(conn: Connection, org_id: int) -> list[Row]:
    return list(conn.execute(select(quotas).where(quotas.c.org_id == org_id).order_by(quotas.c.project_id)).mappings())


def set_quota(conn: Connection, org_id: int, project_id: int, size: int | None, files: int | None) -> None:
    """None: no limit."""
    conn.execute(delete(quotas).where(quotas.c.org_id == org_id, quotas.c.project_id == project_id))
    if size is not None or files is not None:
        conn.execute(insert(quotas).values(org_id=org_id, project_id=project_id, bytes=size, files=files))

"""Application documents, immutable by (id, version); one version of each is current."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from tidegrid.store.schema import apps

Row = RowMapping


def put(conn: Connection, id: str, version: str, body: str, at: int) -> bool:
    """Store a version and make it the current one; whether it was new. body: canonical JSON; at: µs UTC."""
    conn.execute(update(apps).where(apps.c.id == id, apps.c.version != version, apps.c.current).values(current=False))
    same = (apps.c.id == id) & (apps.c.version == version)
    if conn.execute(update(apps).where(same).values(current=True)).rowcount:
        return False
    conn.execute(insert(apps).values(id=id, version=version, body=body, created_at=at, current=True))
    return True


def get(conn: Connection, id: str, version: str) -> Row | None:
    """A version, by its whole hash or an unambiguous beginning of at least 8 characters."""
    exact = conn.execute(select(apps).where(apps.c.id == id, apps.c.version == version)).mappings().first()
    if exact is not None or len(version) < 8:
        return exact
    query = select(apps).where(apps.c.id == id, apps.c.version.startswith(version, autoescape=True)).limit(2)
    rows = list(conn.execute(query).mappings())
    return rows[0] if len(rows) == 1 else None


def current(conn: Connection, id: str) -> Row | None:
    return conn.execute(select(apps).where(apps.c.id == id, apps.c.current)).mappings().first()


def versions(conn: Connection, id: str) -> list[Row]:
    """Every version of an application, the current one first, then newest first."""
    query = select(apps).where(apps.c.id == id).order_by(apps.c.current.desc(), apps.c.created_at.desc(), apps.c.version)
    return list(conn.execute(query).mappings())


def list_current(conn: Connection) -> list[Row]:
    """The current version of every application, by id."""
    return list(conn.execute(select(apps).where(apps.c.current).order_by(apps.c.id)).mappings())


def generation(conn: Connection) -> tuple[int, int]:
    """Changes with every version that is added."""
    count, newest = conn.execute(select(func.count(), func.coalesce(func.max(apps.c.created_at), 0))).one()
    return int(count), int(newest)

"""Networks as applied, by content hash; one is current."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, insert, select, update

from tidegrid.store.schema import networks

Row = RowMapping


def save(conn: Connection, hash: str, body: str, source: str, at: int) -> None:
    """Make this network the current one. body: canonical JSON; source: the file as applied; at: µs UTC."""
    conn.execute(update(networks).where(networks.c.current, networks.c.hash != hash).values(current=False))
    found = conn.execute(
        update(networks).where(networks.c.hash == hash).values(source=source, applied_at=at, current=True)
    )
    if found.rowcount == 0:
        conn.execute(insert(networks).values(hash=hash, body=body, source=source, applied_at=at, current=True))


def current(conn: Connection) -> Row | None:
    """hash, body, source, applied_at; None before the first."""
    return conn.execute(select(networks).where(networks.c.current)).mappings().first()


def current_hash(conn: Connection) -> str | None:
    """Without the body, for those who ask often."""
    return conn.execute(select(networks.c.hash).where(networks.c.current)).scalar()


def get(conn: Connection, hash: str) -> Row | None:
    return conn.execute(select(networks).where(networks.c.hash == hash)).mappings().first()

"""Leases and the servers that may hold them. Times are the database's: no server's clock decides who holds what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, select, text, update

from tidegrid.domain.lease import SUBMIT, Lease, Server
from tidegrid.store import upsert
from tidegrid.store.connect import shown_as
from tidegrid.store.schema import leases, servers

Row = Mapping[Any, Any]
_NOW = {
    "postgresql": text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"),
    "sqlite": text("SELECT CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000"),
}


def now(conn: Connection) -> int:
    """Microseconds UTC on the database's clock."""
    return int(conn.execute(_NOW[conn.dialect.name]).scalar_one())


# Leases ------------------------------------------------------------------------------------------------------------------


def ensure(conn: Connection, roles: Iterable[str]) -> None:
    """A row for every role. Rows stay for ever: a token must never start again."""
    known = set(conn.execute(select(leases.c.role)).scalars())
    fresh = sorted(set(roles) - known)
    if fresh:
        conn.execute(upsert.insert(conn, leases).on_conflict_do_nothing(), [{"role": r} for r in fresh])


def all(conn: Connection) -> list[Row]:
    """Every lease, by role."""
    return list(conn.execute(select(leases).order_by(leases.c.role)).mappings())


def locked(conn: Connection, roles: Sequence[str], *, wait: bool = True) -> list[Lease]:
    """These leases, kept from changing until the transaction ends. wait=False leaves out those that are locked: their
    holder is at work this moment. Locked in the order in which whoever places locks them, the clusters by name behind the submit role: else
    two servers may wait for each other until the database ends it, a second later."""
    query = select(leases).where(leases.c.role.in_(list(roles))).order_by(case((leases.c.role == SUBMIT, 0), else_=1), leases.c.role)
    query = query.with_for_update(skip_locked=not wait)
    return [lease(r) for r in conn.execute(query).mappings()]


def lease(row: Row) -> Lease:
    return Lease(row["role"], row["holder"], row["token"], row["expires_at"])


def save(conn: Connection, changed: Lease, at: int, *, renewal: bool = False) -> None:
    """Write a lease that this transaction has locked. at: when, for people."""
    cols: dict[str, Any] = {"holder": changed.holder, "token": changed.token, "expires_at": changed.expires_at}
    if not renewal:
        cols["since"] = at
    conn.execute(update(leases).where(leases.c.role == changed.role).values(**cols))


_STILL = select(leases.c.holder, leases.c.token).where(leases.c.role == bindparam("b_role")).with_for_update()


def still(conn: Connection, role: str, server: str, token: int) -> bool:
    """Whether the role is held with this token; it stays so until the transaction ends."""
    row = conn.execute(_STILL, {"b_role": role}).first()
    return row is not None and row.holder == server and row.token == token


def forfeit(conn: Connection, server: str = "") -> None:
    """Leases of a server that is known to be gone, of all where none is named, have run out."""
    query = update(leases).where(leases.c.holder == server) if server else update(leases)
    conn.execute(query.values(expires_at=0))
    query = update(servers).where(servers.c.name == server) if server else update(servers)
    conn.execute(query.values(expires_at=0))


def evict(conn: Connection, names: Iterable[str], idle_us: int) -> int:
    """End transactions of these servers in which nothing was said for so long; how many. PostgreSQL does it by itself after
    `idle_s`, but its timer was seen not to fire, and a pooler between may not pass the setting on."""
    if conn.dialect.name != "postgresql":
        return 0
    query = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user "
        "AND state LIKE 'idle in transaction%' AND application_name = ANY(:names) "
        "AND clock_timestamp() - state_change > make_interval(secs => :idle_s)"
    )
    return int(conn.execute(query, {"names": [shown_as(n) for n in names], "idle_s": idle_us / 1e6}).scalar_one())


def running(conn: Connection) -> frozenset[str]:
    """Roles that somebody holds now."""
    at = now(conn)
    return frozenset(
        conn.execute(select(leases.c.role).where(leases.c.holder != "", leases.c.expires_at > at)).scalars()
    )


def bind(conn: Connection, role: str, place: str) -> str:
    """Where a role's holder must be: `place` where nothing was said before. The place that holds."""
    ensure(conn, [role])
    conn.execute(update(leases).where(leases.c.role == role, leases.c.place == "").values(place=place))
    return str(conn.execute(select(leases.c.place).where(leases.c.role == role)).scalar_one())


# Servers -----------------------------------------------------------------------------------------------------------------


def beat(conn: Connection, row: Mapping[str, Any]) -> None:
    """This server lives: its row as of now. Columns of `servers`."""
    statement = upsert.insert(conn, servers).values(**row)
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={c: statement.excluded[c] for c in row if c != "name"}
        )
    )


def farewell(conn: Connection, name: str) -> None:
    """The server has ended, in order."""
    conn.execute(update(servers).where(servers.c.name == name).values(expires_at=0, able=""))


def known(conn: Connection) -> list[Row]:
    """Every server that was ever seen and not forgotten, by name."""
    return list(conn.execute(select(servers).order_by(servers.c.name)).mappings())


def living(conn: Connection, at: int) -> list[Server]:
    rows = conn.execute(
        select(servers.c.name, servers.c.able).where(servers.c.expires_at > at).order_by(servers.c.name)
    )
    return [Server(r.name, frozenset(r.able.split())) for r in rows]


def forget(conn: Connection, before: int) -> int:
    """Drop servers not seen since `before` (the database's µs); how many."""
    return conn.execute(delete(servers).where(servers.c.expires_at < before, servers.c.seen_at < before)).rowcount

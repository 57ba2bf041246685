"""Connections to SQLite and PostgreSQL, set up once and the same everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from tidegrid.domain.errors import InvalidInput

_BUSY_MS = 10_000


def parse(url: str) -> URL:
    """InvalidInput store.url for what is neither SQLite nor PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _wrong("this is no database URL") from None
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return parsed
    raise _wrong(f"{parsed.drivername} is not supported")


def _wrong(why: str) -> InvalidInput:
    return InvalidInput("store.url", why, hint="use sqlite:///path or postgresql+psycopg://user@host/database")


def shown(url: URL) -> str:
    """The database for people: without password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)


def writer_engine(url: URL, *, name: str = "", idle_s: float = 0.0) -> Engine:
    """One connection, whose transactions take the write lock at once (SQLite) or run in READ COMMITTED (PostgreSQL). name,
    idle_s: as for `Store`."""
    if url.get_backend_name() == "sqlite":
        _prepare_file(url)
        engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=1,
                               connect_args={"check_same_thread": False, "timeout": _BUSY_MS / 1000})  # fmt: skip
        _sqlite(engine, begin="BEGIN IMMEDIATE", read_only=False)
        return engine
    idle = f"-c idle_in_transaction_session_timeout={max(500, int(idle_s * 1000))}" if idle_s else ""
    return create_engine(
        url, pool_size=1, max_overflow=1, isolation_level="READ COMMITTED", connect_args=_postgres_args(idle, name)
    )


def reader_engine(url: URL, size: int) -> Engine:
    """`size` connections that write nothing; each transaction is one snapshot."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, poolclass=QueuePool, pool_size=size, max_overflow=16,
                               connect_args={"check_same_thread": False, "timeout": _BUSY_MS / 1000})  # fmt: skip
        _sqlite(engine, begin="BEGIN", read_only=True)
        return engine
    engine = create_engine(url, pool_size=size, max_overflow=16, isolation_level="REPEATABLE READ",
                           connect_args=_postgres_args("-c default_transaction_read_only=on"))  # fmt: skip
    return engine


def shown_as(name: str) -> str:
    """How PostgreSQL shows the connections of a server."""
    return f"tidegrid {name}".strip()[:63]


def _postgres_args(options: str = "", name: str = "") -> dict[str, Any]:
    return {
        "connect_timeout": 10,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "application_name": shown_as(name),
        "options": f"-c timezone=UTC {options}".strip(),
    }


def _prepare_file(url: URL) -> None:
    """The file exists before SQLite opens it, so that nobody else ever could read it."""
    if not url.database or url.database == ":memory:":
        raise InvalidInput("store.url", "a database in memory cannot be shared by threads", hint="name a file")
    path = Path(url.database)
    if not path.parent.is_dir():
        raise InvalidInput("store.url", f"{path.parent} is no directory", hint="make it, or name another file")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError:
        return  # SQLite says why, in its own words, when it is opened


def _sqlite(engine: Engine, *, begin: str, read_only: bool) -> None:
    """WAL with full sync: a commit that was reported survives a power cut. Transactions are begun by us, not by the driver."""

    @event.listens_for(engine, "connect")
    def _connect(raw: Any, _record: Any) -> None:
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        if not read_only:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute(f"PRAGMA journal_size_limit={64 << 20}")
        else:
            cursor.execute("PRAGMA query_only=ON")
        cursor.execute("PRAGMA cache_size=-32768")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(conn: Any) -> None:
        conn.exec_driver_sql(begin)

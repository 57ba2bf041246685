"""INSERT … ON CONFLICT, which SQLite and PostgreSQL spell alike and SQLAlchemy keeps in two places."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, literal_column
from sqlalchemy.dialects import postgresql, sqlite

_ONE: Any = literal_column("1")  # a row count is not to be had from every driver


def insert(conn: Connection, table: Table) -> Any:
    """An insert that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return _insert(conn.dialect.name, table)


def _insert(dialect: str, table: Table) -> Any:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def added(conn: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert unless one of the table's unique keys is taken; whether it was inserted.

    On PostgreSQL it waits for another transaction that is about to take the same key.
    """
    return conn.execute(_unless_there(conn.dialect.name, table), row).first() is not None


@cache
def _unless_there(dialect: str, table: Table) -> Any:
    return _insert(dialect, table).on_conflict_do_nothing().returning(_ONE)

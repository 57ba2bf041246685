"""Statements on single rows, built once: building one costs more than running it, and hundreds of jobs may end in a second."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, RowMapping, Select, Table, Update, bindparam, select, update


@cache
def _select(key: Column[Any], lock: bool) -> Select[Any]:
    query = select(key.table).where(key == bindparam("key"))
    return query.with_for_update() if lock else query


@cache
def _update(key: Column[Any], columns: tuple[str, ...]) -> Update:
    assert isinstance(key.table, Table)
    return update(key.table).where(key == bindparam("key")).values({c: bindparam(f"v_{c}") for c in columns})


def row_of(conn: Connection, key: Column[Any], value: Any, *, lock: bool = False) -> RowMapping | None:
    """The first row whose column `key` has this value."""
    return conn.execute(_select(key, lock), {"key": value}).mappings().first()


def change(conn: Connection, key: Column[Any], value: Any, cols: Mapping[str, Any]) -> None:
    """Set columns of the rows whose column `key` has this value."""
    if cols:
        conn.execute(_update(key, tuple(cols)), {"key": value, **{f"v_{c}": v for c, v in cols.items()}})


"""What a database says when it fails, in the project's own errors.

Retryable: nothing was done and doing it again can succeed. Lost: the connection is gone.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy.exc import DBAPIError

from tidegrid.domain.errors import Broken, NoSpace, TideError, Unreachable

_FULL = {sqlite3.SQLITE_FULL}
_SHM_FULL = 4874  # SQLITE_IOERR_SHMSIZE: no room for the shared-memory file beside the database
_RETRY = {"40001", "40P01"}  # serialization failure, deadlock
_LOST = {"57P01", "57P02", "57P03", "53300", "25P03"}  # shut down, crashed, starting up, too many connections, idle too long


def lost(error: BaseException) -> bool:
    """Whether the connection is gone or could not be made."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    origin = error.orig
    if isinstance(origin, sqlite3.Error):
        return False
    state = getattr(origin, "sqlstate", None)
    if state is None:  # psycopg: the failure is the client's own, not an answer of the server
        return type(origin).__name__ in ("OperationalError", "InterfaceError", "ConnectionTimeout")
    return state.startswith("08") or state in _LOST


def retryable(error: BaseException) -> bool:
    """Serialization failures and deadlocks."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _RETRY


def translate(error: BaseException, where: str) -> BaseException:
    """The project's error for a failure of the database itself; any other error unchanged. where: shown to people."""
    if not isinstance(error, DBAPIError):
        return error
    origin: Any = error.orig
    if isinstance(origin, sqlite3.Error):
        return _of_sqlite(origin, where) or error
    if lost(error):
        return unreachable(where, str(origin))
    return _of_postgres(origin, where) or error


def unreachable(where: str, why: str, *, unknown: bool = False) -> Unreachable:
    """unknown: the connection broke while committing, so it may or may not have been committed, but never in part."""
    first = why.strip().splitlines()[0] if why.strip() else "no answer"
    return Unreachable(
        "store.unreachable",
        f"the database {where} does not answer: {first}",
        hint="try again with the same idempotency key; see whether the database runs",
        details={"committed": "unknown" if unknown else "no"},
    )


def _no_space(where: str, why: str) -> NoSpace:
    return NoSpace(
        "store.no_space",
        f"the database {where} cannot be written: {why}",
        hint="free space or make it writable, then try again; what was refused was not done",
    )


def _corrupt(where: str, why: str) -> Broken:
    return Broken(
        "store.corrupt",
        f"the database {where} is damaged: {why}",
        hint="stop the server and restore the database from a backup",
    )


def _of_sqlite(origin: sqlite3.Error, where: str) -> TideError | None:
    code = getattr(origin, "sqlite_errorcode", 0) or 0
    primary = code & 0xFF
    if primary in _FULL or code == _SHM_FULL or primary == sqlite3.SQLITE_READONLY:
        return _no_space(where, str(origin))
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _corrupt(where, str(origin))
    if primary == sqlite3.SQLITE_IOERR:
        return Broken(
            "store.io", f"the database {where} cannot be read or written: {origin}", hint="see the disk's health"
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unreachable(
            "store.busy",
            f"the database {where} is locked by another process",
            hint="only one server may open it: stop the other one",
        )
    if primary == sqlite3.SQLITE_CANTOPEN:
        return Unreachable(
            "store.unreachable", f"the database {where} cannot be opened: {origin}", hint="see its directory"
        )
    return None


def _of_postgres(origin: Any, where: str) -> TideError | None:
    state = getattr(origin, "sqlstate", None) or ""
    why = str(origin).strip().splitlines()[0] if str(origin).strip() else state
    if state in ("53100", "25006"):
        return _no_space(where, why)
    if state in ("XX001", "XX002"):
        return _corrupt(where, why)
    if state[:2] == "28" or state == "3D000":
        return Unreachable("store.unreachable", f"the database {where} refuses the login: {why}", hint="see its URL")
    if state in _RETRY:
        return Unreachable(
            "store.contended", f"the database {where} kept refusing for contention: {why}", hint="try again"
        )
    return None

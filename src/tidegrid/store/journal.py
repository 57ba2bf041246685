"""Rows of the journal, of holds and of customers' balances. What they mean is the ledger's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from tidegrid.store import upsert
from tidegrid.store.schema import balances, holds, jobs, journal, journal_lines
from tidegrid.store.scope import Scope
from tidegrid.store.statements import change, row_of

Row = Mapping[Any, Any]
ACCOUNTS = ("held", "prepaid")


def entry(conn: Connection, key: str) -> Row | None:
    return conn.execute(select(journal).where(journal.c.key == key)).mappings().first()


def lines(conn: Connection, entry_id: int) -> list[Row]:
    """In their order."""
    query = select(journal_lines).where(journal_lines.c.entry_id == entry_id).order_by(journal_lines.c.line)
    return list(conn.execute(query).mappings())


def add(conn: Connection, row: Mapping[str, Any], line_rows: Sequence[tuple[str, int, str]]) -> bool:
    """Insert an entry with lines (account, micro-yuan, currency); false where its key is journalled already."""
    if not upsert.added(conn, journal, dict(row)):
        return False
    conn.execute(
        insert(journal_lines),
        [
            {"entry_id": row["id"], "line": i, "account": account, "currency": currency, "amount": amount}
            for i, (account, amount, currency) in enumerate(line_rows)
        ],
    )
    return True


def page(conn: Connection, scope: Scope, *, limit: int = 100, after: int | None = None) -> list[Row]:
    """Entries, newest first."""
    query = select(journal).where(scope.filter(journal)).order_by(journal.c.id.desc()).limit(limit)
    if after is not None:
        query = query.where(journal.c.id < after)
    return list(conn.execute(query).mappings())


# Balances ----------------------------------------------------------------------------------------------------------------

_ADD = (
    update(balances)
    .where(
        balances.c.org_id == bindparam("b_org"),
        balances.c.account == bindparam("b_account"),
        balances.c.currency == bindparam("b_currency"),
    )
    .values(amount=balances.c.amount + bindparam("b_amount"))
)


_BALANCES = (
    select(balances.c.account, balances.c.amount)
    .where(balances.c.org_id == bindparam("b_org"), balances.c.currency == "CNY")
    .order_by(balances.c.account)
)
_BALANCES_LOCKED = _BALANCES.with_for_update()


def balances_of(conn: Connection, org_id: int, *, lock: bool = False) -> dict[str, int]:
    """{prepaid, held} in micro-yuan. lock: nobody else changes them until this transaction ends; only in a writer."""
    query = _BALANCES_LOCKED if lock and conn.dialect.name == "postgresql" else _BALANCES
    found = {account: amount for account, amount in conn.execute(query, {"b_org": org_id})}
    if lock and len(found) < len(ACCOUNTS):
        rows = [{"org_id": org_id, "account": a, "currency": "CNY", "amount": 0} for a in ACCOUNTS]
        conn.execute(upsert.insert(conn, balances).on_conflict_do_nothing(), rows)
        found = {account: amount for account, amount in conn.execute(query, {"b_org": org_id})}
    return {a: int(found.get(a, 0)) for a in ACCOUNTS}


def add_to_balance(conn: Connection, org_id: int, account: str, amount: int, currency: str = "CNY") -> None:
    """The row must exist: `balances_of(…, lock=True)` sees to it."""
    done = conn.execute(_ADD, {"b_org": org_id, "b_account": account, "b_currency": currency, "b_amount": amount})
    if done.rowcount != 1:
        raise AssertionError(f"no balance row of {org_id} {account} {currency}")


_RESERVED = (
    select(func.coalesce(func.sum(jobs.c.reserved), 0))
    .where(jobs.c.org_id == bindparam("b_org"))
    .where(text("jobs.open AND jobs.reserved <> 0"))  # literally as the partial index has it, or no planner takes it
)


def reserved(conn: Connection, org_id: int) -> int:
    """Micro-yuan kept free for parts of open jobs that are not placed yet."""
    return int(conn.execute(_RESERVED, {"b_org": org_id}).scalar_one())


# Holds -------------------------------------------------------------------------------------------------------------------


def hold(conn: Connection, attempt_id: int, *, lock: bool = False) -> Row | None:
    return row_of(conn, holds.c.attempt_id, attempt_id, lock=lock and conn.dialect.name == "postgresql")


def add_hold(conn: Connection, attempt_id: int, org_id: int, amount: int, at: int) -> bool:
    """False where the attempt has one."""
    row = {
        "attempt_id": attempt_id,
        "org_id": org_id,
        "amount": amount,
        "captured": 0,
        "state": "pending",
        "created_at": at,
    }
    return upsert.added(conn, holds, row)


def update_hold(conn: Connection, attempt_id: int, **cols: Any) -> None:
    change(conn, holds.c.attempt_id, attempt_id, cols)

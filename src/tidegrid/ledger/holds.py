"""Money set aside with an attempt, so that what was started can be paid.

hold -> (capture, …) -> release       pending -> closed, or void where nothing was captured
"""

from __future__ import annotations

from sqlalchemy import Connection

from tidegrid.domain.errors import Conflict, InsufficientFunds
from tidegrid.domain.ids import Ids, b32
from tidegrid.domain.money import format_amount
from tidegrid.ledger.accounts import Kind, held, prepaid
from tidegrid.ledger.post import post
from tidegrid.ledger.prepaid import balance
from tidegrid.store import journal


def hold(conn: Connection, ids: Ids, at: int, org_id: int, attempt_id: int, amount: int) -> None:
    """Set `amount` aside for an attempt; again with the same amount: nothing more.

    What was reserved for the part being placed is released before, in the same transaction. InsufficientFunds
    balance.insufficient with the amounts in `details`; Conflict hold.mismatch where the attempt holds another amount.
    """
    if amount < 0:
        raise ValueError(f"a hold of {amount}")
    now = balance(conn, org_id, lock=True)
    known = journal.hold(conn, attempt_id)
    if known is not None:
        if known["amount"] != amount or known["org_id"] != org_id:
            raise Conflict(
                "hold.mismatch", f"the attempt {b32(attempt_id)} holds {format_amount(known['amount'])} already"
            )
        return
    if amount > now.available:
        raise insufficient(now.available, amount)
    journal.add_hold(conn, attempt_id, org_id, amount, at)
    lines = [(prepaid(org_id), amount), (held(org_id), -amount)]
    post(
        conn, ids, at, key=f"hold:{b32(attempt_id)}", kind=Kind.HOLD, org_id=org_id, lines=lines, attempt_id=attempt_id
    )


def insufficient(available: int, needed: int) -> InsufficientFunds:
    """The refusal, with its amounts in micro-yuan."""
    return InsufficientFunds(
        "balance.insufficient",
        f"this needs {format_amount(needed)} CNY and {format_amount(available)} CNY are available",
        hint=f"deposit {format_amount(needed - available)} CNY more, ask for less wall time, or wait for holds to end",
        details={"needed": needed, "available": available, "missing": needed - available, "currency": "CNY"},
    )


def release(conn: Connection, ids: Ids, at: int, attempt_id: int) -> int:
    """Close the attempt's hold; what went back to prepaid. 0 where there is none, or none any more."""
    return _close(conn, ids, at, attempt_id, "closed")


def void(conn: Connection, ids: Ids, at: int, attempt_id: int) -> int:
    """`release` of a hold nothing was captured of, remembered as void; one that was captured of is closed."""
    return _close(conn, ids, at, attempt_id, "void")


def _close(conn: Connection, ids: Ids, at: int, attempt_id: int, state: str) -> int:
    known = journal.hold(conn, attempt_id)
    if known is None:
        return 0
    org_id = known["org_id"]
    journal.balances_of(conn, org_id, lock=True)
    known = journal.hold(conn, attempt_id)  # as it is now that nobody else can change it
    if known is None or known["state"] != "pending":
        return 0
    rest: int = known["amount"] - known["captured"]
    lines = [(held(org_id), rest), (prepaid(org_id), -rest)]
    post(
        conn,
        ids,
        at,
        key=f"release:{b32(attempt_id)}",
        kind=Kind.RELEASE,
        org_id=org_id,
        lines=lines,
        attempt_id=attempt_id,
    )
    journal.update_hold(conn, attempt_id, state="closed" if known["captured"] else state, closed_at=at)
    return rest

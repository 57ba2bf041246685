"""Writing an entry: checked, once per key, with the customer's balances moved in the same breath."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from tidegrid.domain.ids import Ids
from tidegrid.ledger.accounts import CURRENCY, Kind, Line, check_route, role
from tidegrid.store import journal


def post(
    conn: Connection,
    ids: Ids,
    at: int,
    *,
    key: str,
    kind: Kind,
    org_id: int,
    lines: Sequence[Line],
    attempt_id: int | None = None,
    reverses: int | None = None,
    memo: str = "",
) -> int | None:
    """Journal an entry; its id, or None where `key` was journalled before or nothing would move.

    Lines of zero are left out. The caller holds the organisation's balances (`journal.balances_of(…, lock=True)`).
    """
    moving = [line for line in lines if line[1] != 0]
    if not moving:
        return None
    check_route(kind, moving)
    entry_id = ids.new()
    row: dict[str, Any] = {
        "id": entry_id, "org_id": org_id, "key": key, "kind": str(kind), "at": at, "attempt_id": attempt_id,
        "reverses": reverses, "memo": memo,
    }  # fmt: skip
    if not journal.add(conn, row, [(account, amount, CURRENCY) for account, amount in moving]):
        return None
    for account, amount in moving:
        if account.startswith("customer:"):
            journal.add_to_balance(conn, org_id, role(account), -amount, CURRENCY)
    return entry_id


def reverse_entry(conn: Connection, ids: Ids, at: int, key: str, *, memo: str = "") -> list[Line]:
    """Journal the negated lines of the entry `key`, once; what was moved back, empty where there is no such entry or it
    was reversed before."""
    entry = journal.entry(conn, key)
    if entry is None:
        return []
    lines: list[Line] = [(line["account"], -line["amount"]) for line in journal.lines(conn, entry["id"])]
    done = post(
        conn,
        ids,
        at,
        key=f"reverse:{key}",
        kind=Kind.REVERSAL,
        org_id=entry["org_id"],
        lines=lines,
        attempt_id=entry["attempt_id"],
        reverses=entry["id"],
        memo=memo,
    )
    return lines if done is not None else []

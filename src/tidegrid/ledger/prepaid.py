"""The customer's prepaid account: what comes in, what is there, what of it is free."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from tidegrid.domain.errors import Conflict, InvalidInput
from tidegrid.domain.ids import Ids, b32
from tidegrid.domain.money import MICRO, format_amount
from tidegrid.ledger.accounts import CASH, Kind, prepaid
from tidegrid.ledger.post import post
from tidegrid.store import events, journal

GRACE = 10 * MICRO  # how far use beyond a hold may draw an account below zero before it is called out


@dataclass(frozen=True, slots=True)
class Balance:
    """Micro-yuan. prepaid: what is on the account, holds apart; held: set aside for attempts under way; reserved: of
    prepaid, kept free for jobs that wait to be placed."""

    prepaid: int
    held: int
    reserved: int

    @property
    def available(self) -> int:
        """What new work may use."""
        return self.prepaid - self.reserved

    @property
    def total(self) -> int:
        """What the customer has."""
        return self.prepaid + self.held


def deposit(conn: Connection, ids: Ids, at: int, org_id: int, amount: int, key: str, memo: str = "") -> bool:
    """Put `amount` micro-yuan on the account; false where `key` was deposited before.

    InvalidInput deposit.amount below one micro-yuan; Conflict deposit.mismatch where `key` came with another amount.
    """
    if amount <= 0:
        raise InvalidInput(
            "deposit.amount", f"{format_amount(amount)} cannot be deposited", hint="give an amount above 0"
        )
    journal.balances_of(conn, org_id, lock=True)
    full = f"deposit:{b32(org_id)}:{key}"
    lines = [(CASH, amount), (prepaid(org_id), -amount)]
    if post(conn, ids, at, key=full, kind=Kind.DEPOSIT, org_id=org_id, lines=lines, memo=memo) is not None:
        return True
    known = journal.entry(conn, full)
    before = 0 if known is None else max(line["amount"] for line in journal.lines(conn, known["id"]))
    if before != amount:
        raise Conflict(
            "deposit.mismatch",
            f"the key {key!r} already stands for a deposit of {format_amount(before)}",
            hint="use a new key for a new deposit",
        )
    return False


def balance(conn: Connection, org_id: int, *, lock: bool = False) -> Balance:
    """lock: as for `available`."""
    found = journal.balances_of(conn, org_id, lock=lock)
    return Balance(found["prepaid"], found["held"], journal.reserved(conn, org_id))


def available(conn: Connection, org_id: int, *, lock: bool = False) -> int:
    """Micro-yuan that new work may use: prepaid less what waiting jobs reserve; below zero where overdrawn.

    lock: keeps other servers from spending it until this transaction ends. A decision to admit rests on a locked answer;
    only in a writer's transaction.
    """
    return balance(conn, org_id, lock=lock).available


def warn_if_overdrawn(conn: Connection, at: int, org_id: int, before: int, after: int) -> None:
    """One event for each time the account sinks below zero, and one below the grace."""
    for kind, line in (("balance.overdrawn", 0), ("balance.beyond_grace", -GRACE)):
        if before >= line > after:
            events.append(conn, kind=kind, at=at, org_id=org_id, body={"prepaid": after, "grace": GRACE})

"""Names of accounts, and which pairs of them an entry may move money between.

A line's amount is a debit above zero and a credit below. A customer's accounts are the house's debts: what the customer
has is the negative of their lines' sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from tidegrid.domain.ids import b32

CURRENCY = "CNY"
CASH = "house:cash"
REVENUE = "house:revenue"

Line = tuple[str, int]  # account, micro-yuan


class Kind(StrEnum):
    DEPOSIT = "deposit"
    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"
    COST = "cost"
    REVERSAL = "reversal"


def prepaid(org_id: int) -> str:
    return f"customer:{b32(org_id)}:prepaid"


def held(org_id: int) -> str:
    return f"customer:{b32(org_id)}:held"


def cost(cluster: str, partition: str) -> str:
    """What the use of a partition cost the house."""
    return f"house:cost:{cluster}/{partition}"


def payable(cluster: str, partition: str) -> str:
    """Owed to the partner whose capacity was used."""
    return f"partner:payable:{cluster}/{partition}"


def owned(cluster: str, partition: str) -> str:
    """Accrued for capacity of the house's own."""
    return f"house:owned:{cluster}/{partition}"


def role(account: str) -> str:
    """`customer:<org>:held` -> `held`, `house:cost:a/b` -> `cost`."""
    head, _, rest = account.partition(":")
    return rest.rpartition(":")[2] if head == "customer" else rest.partition(":")[0]


_ROUTES: dict[Kind, frozenset[tuple[str, bool]]] = {  # (role, is it a debit)
    Kind.DEPOSIT: frozenset({("cash", True), ("prepaid", False)}),
    Kind.HOLD: frozenset({("prepaid", True), ("held", False)}),
    Kind.CAPTURE: frozenset({("held", True), ("prepaid", True), ("revenue", False)}),
    Kind.RELEASE: frozenset({("held", True), ("prepaid", False)}),
    Kind.COST: frozenset({("cost", True), ("payable", False), ("owned", False)}),
}


def check_route(kind: Kind, lines: Sequence[Line]) -> None:
    """ValueError where the lines do not sum to zero, or `kind` may not move money so: a fault of the program."""
    if sum(amount for _, amount in lines) != 0:
        raise ValueError(f"the lines of a {kind} do not balance: {lines}")
    if kind is Kind.REVERSAL:
        return  # its lines are those of an entry that was allowed, negated
    for account, amount in lines:
        if (role(account), amount > 0) not in _ROUTES[kind]:
            raise ValueError(f"a {kind} may not move {amount} on {account}")

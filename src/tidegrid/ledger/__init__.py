"""The books: prepaid accounts, holds, metered use and its charges, in double entry and integer micro-yuan.

Every function works on the caller's connection, inside the caller's transaction, and may be called again with the same
facts: nothing is booked twice. Entries are immutable; a correction reverses the original lines, it never recomputes them.
Nothing here knows a price: amounts come rated from `rating`.
"""

from tidegrid.ledger.audit import BalanceReport, balanced
from tidegrid.ledger.holds import hold, release, void
from tidegrid.ledger.metering import Outcome, UsageEvent, capture, record_usage, reverse, reverse_beyond
from tidegrid.ledger.prepaid import GRACE, Balance, available, balance, deposit
from tidegrid.ledger.statement import statement
from tidegrid.store.usage import UsageKey

__all__ = [
    "GRACE",
    "Balance",
    "BalanceReport",
    "Outcome",
    "UsageEvent",
    "UsageKey",
    "available",
    "balance",
    "balanced",
    "capture",
    "deposit",
    "hold",
    "record_usage",
    "release",
    "reverse",
    "reverse_beyond",
    "statement",
    "void",
]

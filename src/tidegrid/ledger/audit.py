"""Do the books balance? Everything is computed again from the lines; nothing is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, not_, select

from tidegrid.domain.ids import b32
from tidegrid.ledger.accounts import CURRENCY, held, role
from tidegrid.store.schema import balances, holds, journal, journal_lines, usage

_SHOWN = 20  # problems named at most of each sort


@dataclass(frozen=True, slots=True)
class BalanceReport:
    """totals: micro-yuan by currency and role of account (prepaid, held, cash, revenue, cost, payable, owned), debits above
    zero; problems: in words, empty where the books balance."""

    entries: int
    lines: int
    totals: Mapping[str, Mapping[str, int]]
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems


def balanced(conn: Connection) -> BalanceReport:
    """Checks that every entry and every currency sums to zero, that customers' balances are their lines, that what is held
    is the open holds, and that each usage event that counts is charged once and no other is."""
    accounts = _accounts(conn)
    totals: dict[str, dict[str, int]] = {}
    for (account, currency), amount in accounts.items():
        by_role = totals.setdefault(currency, {})
        by_role[role(account)] = by_role.get(role(account), 0) + amount
    problems = [
        *(f"{c}: all lines sum to {s}, not 0" for c, r in totals.items() if (s := sum(r.values())) != 0),
        *_entries(conn),
        *_balances(conn, accounts),
        *_holds(conn, accounts),
        *_usage(conn),
    ]
    entries = conn.execute(select(func.count()).select_from(journal)).scalar_one()
    lines = conn.execute(select(func.count()).select_from(journal_lines)).scalar_one()
    return BalanceReport(entries, lines, totals, tuple(problems))


def _accounts(conn: Connection) -> dict[tuple[str, str], int]:
    query = select(journal_lines.c.account, journal_lines.c.currency, func.sum(journal_lines.c.amount))
    grouped = query.group_by(journal_lines.c.account, journal_lines.c.currency)
    return {(account, currency): int(total) for account, currency, total in conn.execute(grouped)}


def _entries(conn: Connection) -> list[str]:
    total = func.sum(journal_lines.c.amount)
    uneven = (
        select(journal_lines.c.entry_id, journal_lines.c.currency, total)
        .group_by(journal_lines.c.entry_id, journal_lines.c.currency)
        .having(total != 0)
        .limit(_SHOWN)
    )
    empty = (
        select(journal.c.key)
        .outerjoin(journal_lines, journal_lines.c.entry_id == journal.c.id)
        .where(journal_lines.c.entry_id.is_(None))
        .limit(_SHOWN)
    )
    out = [f"entry {b32(i)} sums to {s} {c}, not 0" for i, c, s in conn.execute(uneven)]
    return out + [f"entry {key} has no lines" for key in conn.execute(empty).scalars()]


def _balances(conn: Connection, accounts: Mapping[tuple[str, str], int]) -> list[str]:
    shown = {
        (f"customer:{b32(r.org_id)}:{r.account}", r.currency): int(r.amount) for r in conn.execute(select(balances))
    }
    real = {key: -amount for key, amount in accounts.items() if key[0].startswith("customer:")}
    return [
        f"{key[0]}: the balance is {shown.get(key, 0)}, its lines say {real.get(key, 0)}"
        for key in sorted(shown.keys() | real.keys())
        if shown.get(key, 0) != real.get(key, 0)
    ][:_SHOWN]


def _holds(conn: Connection, accounts: Mapping[tuple[str, str], int]) -> list[str]:
    rest = func.sum(holds.c.amount - holds.c.captured)
    query = select(holds.c.org_id, rest).where(holds.c.state == "pending").group_by(holds.c.org_id)
    want = {held(org_id): int(total) for org_id, total in conn.execute(query)}
    have = {a: -amount for (a, c), amount in accounts.items() if role(a) == "held" and c == CURRENCY}
    out = [
        f"{account}: {have.get(account, 0)} held, open holds sum to {want.get(account, 0)}"
        for account in sorted(want.keys() | have.keys())
        if want.get(account, 0) != have.get(account, 0)
    ]
    wrong = select(holds.c.attempt_id).where((holds.c.captured < 0) | (holds.c.captured > holds.c.amount)).limit(_SHOWN)
    out += [f"the hold of attempt {b32(i)} is captured beyond itself" for i in conn.execute(wrong).scalars()]
    return out[:_SHOWN]


def _usage(conn: Connection) -> list[str]:
    key = (usage.c.attempt_id, usage.c.task, usage.c.restart, usage.c.segment)
    twice = select(*key).where(not_(usage.c.reversed)).group_by(*key).having(func.count() > 1).limit(_SHOWN)
    out = [f"usage {b32(r[0])}.{r[1]}.{r[2]}.{r[3]} counts more than once" for r in conn.execute(twice)]
    sums = (
        select(usage.c.attempt_id, func.sum(usage.c.sell), func.sum(usage.c.cost))
        .where(not_(usage.c.reversed))
        .group_by(usage.c.attempt_id)
    )
    want = {attempt: (int(sell), int(cost)) for attempt, sell, cost in conn.execute(sums)}
    booked: dict[int, list[int]] = {}
    query = (
        select(journal.c.attempt_id, journal_lines.c.account, func.sum(journal_lines.c.amount))
        .join(journal_lines, journal_lines.c.entry_id == journal.c.id)
        .where(journal.c.attempt_id.is_not(None), journal_lines.c.account.like("house:%"))
        .group_by(journal.c.attempt_id, journal_lines.c.account)
    )
    for attempt, account, total in conn.execute(query):
        have = booked.setdefault(attempt, [0, 0])
        if role(account) == "revenue":
            have[0] -= int(total)
        elif role(account) == "cost":
            have[1] += int(total)
    for attempt in sorted(want.keys() | booked.keys()):
        sell, cost = want.get(attempt, (0, 0))
        if [sell, cost] != booked.get(attempt, [0, 0]):
            out.append(
                f"attempt {b32(attempt)}: usage says {sell} and {cost}, the journal {booked.get(attempt, [0, 0])}"
            )
    return out[:_SHOWN]

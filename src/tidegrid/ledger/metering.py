"""From a stretch of metered use to the books, once, whatever arrives and however often.

A usage event's key is (attempt, task, restart, segment). The same facts again: nothing. Other facts from a stronger
witness: the charge is reversed and booked anew as the next revision. Other facts from anyone else: quarantine, an event
for people to look at, and no money moves. What a job may have written itself never moves money.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from tidegrid.domain.attempt import STRENGTH, Witness
from tidegrid.domain.ids import Ids, b32
from tidegrid.ledger import accounts
from tidegrid.ledger.accounts import REVENUE, Kind, held, prepaid
from tidegrid.ledger.post import post, reverse_entry
from tidegrid.ledger.prepaid import warn_if_overdrawn
from tidegrid.store import events, journal
from tidegrid.store import usage as rows
from tidegrid.store.usage import UsageKey


class Outcome(StrEnum):
    RECORDED = "recorded"
    SAME = "same"  # known already
    CORRECTED = "corrected"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """One stretch of one execution. Times: µs on the site's clock; memory in MiB. owned: the capacity is the house's own,
    so that its cost accrues and is owed to nobody."""

    org_id: int
    job_id: int
    attempt_id: int
    task: int
    restart: int
    segment: int
    cluster: str
    partition: str
    source: Witness
    native_id: str
    estimated: bool
    started_at: int
    ended_at: int
    elapsed_ms: int
    cores: int
    gpus: int
    memory_mib: int
    owned: bool = False

    @property
    def key(self) -> UsageKey:
        return UsageKey(self.attempt_id, self.task, self.restart, self.segment)


_KEY = {"attempt_id", "task", "restart", "segment"}
_BODY = tuple(f.name for f in fields(UsageEvent) if f.name not in _KEY | {"owned"})


def record_usage(conn: Connection, ids: Ids, at: int, event: UsageEvent, *, sell: int, cost: int, rewritten: bool = False) -> Outcome:
    """Keep the event and book its charge (`sell`) and its cost, both in micro-yuan.

    rewritten: the witness has changed its own record, so that what it said before does not stand in the way.
    """
    journal.balances_of(conn, event.org_id, lock=True)  # one writer of an organisation's money at a time
    known = rows.last(conn, event.key)
    if known is not None and _same(known, event) and not (rewritten and known["reversed"]):
        return Outcome.SAME
    if event.source is Witness.SPOOL or event.elapsed_ms < 0 or event.ended_at < event.started_at:
        return _quarantine(conn, at, event, known)
    if known is None:
        _book(conn, ids, at, event, 0, sell, cost)
        return Outcome.RECORDED
    weaker = _strength(event.source, event.estimated) <= _strength(Witness(known["source"]), known["estimated"])
    own = rewritten and event.source is Witness.ACCOUNTING
    if known["org_id"] != event.org_id or (weaker and not own):
        return _quarantine(conn, at, event, known)
    if not known["reversed"]:
        reverse(conn, ids, at, event.key, memo=f"replaced by {event.source}")
    _book(conn, ids, at, event, known["revision"] + 1, sell, cost)
    return Outcome.CORRECTED


def _strength(source: Witness, estimated: Any) -> tuple[int, bool]:
    return STRENGTH[source], not estimated


def _same(known: rows.Row, event: UsageEvent) -> bool:
    return all(known[name] == getattr(event, name) for name in _BODY)


def _quarantine(conn: Connection, at: int, event: UsageEvent, known: rows.Row | None) -> Outcome:
    events.append(
        conn,
        kind="usage.quarantined",
        at=at,
        org_id=event.org_id,
        job_id=event.job_id,
        attempt_id=event.attempt_id,
        cluster=event.cluster,
        body={
            "task": event.task,
            "restart": event.restart,
            "segment": event.segment,
            "offered": {name: getattr(event, name) for name in _BODY},
            "known": None if known is None else {name: known[name] for name in (*_BODY, "revision")},
        },
    )
    return Outcome.QUARANTINED


def _book(conn: Connection, ids: Ids, at: int, event: UsageEvent, revision: int, sell: int, cost: int) -> None:
    row = {name: getattr(event, name) for name in (*_BODY, *_KEY)}
    row["source"] = str(event.source)
    rows.add(conn, {**row, "revision": revision, "sell": sell, "cost": cost, "recorded_at": at})
    capture(conn, ids, at, event, revision, sell=sell, cost=cost)


def capture(conn: Connection, ids: Ids, at: int, event: UsageEvent, revision: int, *, sell: int, cost: int) -> None:
    """Journal one revision of a usage event: customer -> revenue, and what it cost -> partner or own accrual.

    The hold pays first, prepaid the rest, below zero if it must: use is never lost. `record_usage` calls it; it keeps no
    usage row itself.
    """
    if sell < 0 or cost < 0:
        raise ValueError(f"amounts below zero: {sell}, {cost}")
    org_id, name = event.org_id, _name(event.key, revision)
    before = journal.balances_of(conn, org_id, lock=True)["prepaid"]
    kept = journal.hold(conn, event.attempt_id)
    left = kept["amount"] - kept["captured"] if kept is not None and kept["state"] == "pending" else 0
    from_hold = min(sell, left)
    from_prepaid = sell - from_hold
    lines = [(held(org_id), from_hold), (prepaid(org_id), from_prepaid), (REVENUE, -sell)]
    done = post(conn, ids, at, key=f"usage:{name}", kind=Kind.CAPTURE, org_id=org_id, lines=lines,
                attempt_id=event.attempt_id)  # fmt: skip
    if done is not None and kept is not None and from_hold:
        journal.update_hold(conn, event.attempt_id, captured=kept["captured"] + from_hold)
    if done is not None:
        warn_if_overdrawn(conn, at, org_id, before, before - from_prepaid)
    place = event.cluster, event.partition
    other = accounts.owned(*place) if event.owned else accounts.payable(*place)
    lines = [(accounts.cost(*place), cost), (other, -cost)]
    post(conn, ids, at, key=f"cost:{name}", kind=Kind.COST, org_id=org_id, lines=lines, attempt_id=event.attempt_id)


def reverse(conn: Connection, ids: Ids, at: int, key: UsageKey, *, memo: str = "") -> bool:
    """Take back what the newest revision of a usage event booked, line by line; false where nothing of it counts.

    What came out of the hold goes back into it, or to prepaid where the hold is closed.
    """
    known = rows.last(conn, key)
    if known is None:
        return False
    org_id: int = known["org_id"]
    journal.balances_of(conn, org_id, lock=True)
    known = rows.last(conn, key)
    if known is None or known["reversed"]:
        return False
    name = _name(key, known["revision"])
    rows.mark_reversed(conn, key, known["revision"])
    back = reverse_entry(conn, ids, at, f"usage:{name}", memo=memo)
    reverse_entry(conn, ids, at, f"cost:{name}", memo=memo)
    to_hold = -sum(amount for account, amount in back if account == held(org_id))
    if to_hold:
        kept = journal.hold(conn, key.attempt_id)
        if kept is None:
            raise AssertionError(f"captured from a hold that is not there: {name}")
        if kept["state"] == "pending":
            journal.update_hold(conn, key.attempt_id, captured=kept["captured"] - to_hold)
        else:
            lines = [(held(org_id), to_hold), (prepaid(org_id), -to_hold)]
            post(conn, ids, at, key=f"return:{name}", kind=Kind.RELEASE, org_id=org_id, lines=lines,
                 attempt_id=key.attempt_id, memo="its hold is closed")  # fmt: skip
    return True


def reverse_beyond(conn: Connection, ids: Ids, at: int, last: UsageKey, *, memo: str = "") -> int:
    """Reverse the segments of the same execution after `last` (segment −1: all): a witness showed that it ended there.
    How many were."""
    later = rows.beyond(conn, last)
    return sum(reverse(conn, ids, at, key, memo=memo) for key in later)


def _name(key: UsageKey, revision: int) -> str:
    return f"{b32(key.attempt_id)}.{key.task}.{key.restart}.{key.segment}.r{revision}"

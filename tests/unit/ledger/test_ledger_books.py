"""Deposits, holds, charges and their reversal, as a customer and an auditor see them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from tests.parts.stores import T0, Tenant, add_attempt, add_tenant, job_row, make_ids

from tidegrid import ledger
from tidegrid.domain.attempt import Witness
from tidegrid.domain.errors import Conflict, InsufficientFunds, InvalidInput
from tidegrid.domain.ids import Ids, b32
from tidegrid.domain.money import MICRO
from tidegrid.ledger import Outcome, UsageEvent, UsageKey
from tidegrid.store import events, usage
from tidegrid.store.engine import Store
from tidegrid.store.schema import holds, jobs, journal, journal_lines
from tidegrid.store.scope import OPERATOR, Scope

YUAN = MICRO


class Desk:
    """One customer with 100 yuan and an attempt, and short words for what is done to them."""

    def __init__(self, store: Store, ids: Ids) -> None:
        self.store, self.ids = store, ids
        self.tenant: Tenant = store.write_sync(lambda c: add_tenant(c, ids))
        self.attempt: int = store.write_sync(lambda c: add_attempt(c, ids, self.tenant))["id"]
        self.do(ledger.deposit, self.org, 100 * YUAN, "first")

    @property
    def org(self) -> int:
        return self.tenant.org_id

    def do(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.store.write_sync(lambda c: fn(c, self.ids, T0, *args, **kwargs))

    def see(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.store.read_sync(lambda c: fn(c, *args, **kwargs))

    def event(self, **cols: Any) -> UsageEvent:
        row: dict[str, Any] = {
            "org_id": self.org, "job_id": 7, "attempt_id": self.attempt, "task": 0, "restart": 0, "segment": 0,
            "cluster": "east", "partition": "cpu", "source": Witness.ACCOUNTING, "native_id": "1", "estimated": False,
            "started_at": T0, "ended_at": T0 + 1_000_000, "elapsed_ms": 1000, "cores": 1, "gpus": 0, "memory_mib": 256,
        }  # fmt: skip
        return UsageEvent(**{**row, **cols})

    def use(self, sell: int, cost: int = 0, **cols: Any) -> Outcome:
        return self.do(ledger.record_usage, self.event(**cols), sell=sell, cost=cost)

    def has(self) -> tuple[int, int]:
        """(prepaid, held)"""
        found = self.see(ledger.balance, self.org)
        return found.prepaid, found.held

    def totals(self) -> dict[str, int]:
        """By role of account, after the auditor found nothing."""
        report = self.see(ledger.balanced)
        assert report.problems == ()
        return {k: v for k, v in report.totals["CNY"].items() if v}

    def entries(self) -> int:
        return self.see(lambda c: c.execute(select(func.count()).select_from(journal)).scalar_one())

    def kinds(self) -> list[str]:
        return [e["kind"] for e in self.see(events.after, OPERATOR, 0)]


@pytest.fixture
def desk(store: Store, ids: Ids) -> Desk:
    return Desk(store, ids)


def test_a_deposit_counts_once(desk: Desk) -> None:
    assert desk.do(ledger.deposit, desk.org, 100 * YUAN, "first") is False
    assert desk.do(ledger.deposit, desk.org, 5 * YUAN, "second") is True
    assert desk.has() == (105 * YUAN, 0)
    assert desk.totals() == {"cash": 105 * YUAN, "prepaid": -105 * YUAN}
    with pytest.raises(Conflict) as refused:
        desk.do(ledger.deposit, desk.org, 1, "second")
    assert refused.value.code == "deposit.mismatch"


@pytest.mark.parametrize("amount", [0, -1])
def test_a_deposit_is_above_zero(desk: Desk, amount: int) -> None:
    with pytest.raises(InvalidInput):
        desk.do(ledger.deposit, desk.org, amount, "k")


def test_hold_capture_release(desk: Desk) -> None:
    for _ in range(2):
        desk.do(ledger.hold, desk.org, desk.attempt, 10 * YUAN)
    assert desk.has() == (90 * YUAN, 10 * YUAN)
    assert [desk.use(4 * YUAN, 3 * YUAN) for _ in range(2)] == [Outcome.RECORDED, Outcome.SAME]
    assert desk.has() == (90 * YUAN, 6 * YUAN)
    assert [desk.do(ledger.release, desk.attempt) for _ in range(2)] == [6 * YUAN, 0]
    assert desk.has() == (96 * YUAN, 0)
    assert desk.totals() == {
        "cash": 100 * YUAN, "prepaid": -96 * YUAN, "revenue": -4 * YUAN, "cost": 3 * YUAN, "payable": -3 * YUAN,
    }  # fmt: skip


def test_a_hold_that_is_not_covered_is_refused_with_the_amounts(desk: Desk) -> None:
    with pytest.raises(InsufficientFunds) as refused:
        desk.do(ledger.hold, desk.org, desk.attempt, 100 * YUAN + 1)
    assert refused.value.code == "balance.insufficient"
    assert refused.value.details == {
        "needed": 100 * YUAN + 1, "available": 100 * YUAN, "missing": 1, "currency": "CNY",
    }  # fmt: skip
    assert desk.has() == (100 * YUAN, 0)
    assert desk.see(lambda c: c.execute(select(holds)).all()) == []
    desk.do(ledger.hold, desk.org, desk.attempt, 100 * YUAN)
    assert desk.has() == (0, 100 * YUAN)


def test_another_amount_for_the_same_attempt_is_a_conflict(desk: Desk) -> None:
    desk.do(ledger.hold, desk.org, desk.attempt, 10)
    with pytest.raises(Conflict) as refused:
        desk.do(ledger.hold, desk.org, desk.attempt, 11)
    assert refused.value.code == "hold.mismatch"


def test_what_waiting_jobs_reserve_is_not_available(desk: Desk, ids: Ids) -> None:
    rows = [job_row(ids, desk.tenant, reserved=30 * YUAN), job_row(ids, desk.tenant, reserved=50 * YUAN)]
    desk.store.write_sync(lambda c: c.execute(insert(jobs), rows))
    assert desk.see(ledger.available, desk.org) == 20 * YUAN
    with pytest.raises(InsufficientFunds):
        desk.do(ledger.hold, desk.org, desk.attempt, 21 * YUAN)
    desk.store.write_sync(lambda c: c.execute(update(jobs).where(jobs.c.id == rows[0]["id"]).values(open=False)))
    assert desk.see(ledger.available, desk.org) == 50 * YUAN
    desk.do(ledger.hold, desk.org, desk.attempt, 50 * YUAN)
    assert desk.store.write_sync(lambda c: ledger.available(c, desk.org, lock=True)) == 0


def test_use_beyond_the_hold_is_taken_from_prepaid_and_never_lost(desk: Desk) -> None:
    desk.do(ledger.hold, desk.org, desk.attempt, 10 * YUAN)
    desk.use(115 * YUAN)
    assert desk.has() == (-15 * YUAN, 0)
    assert desk.kinds() == ["balance.overdrawn", "balance.beyond_grace"], "each called out once"
    desk.use(1, segment=1)
    assert len(desk.kinds()) == 2
    assert desk.totals()["revenue"] == -115 * YUAN - 1
    assert desk.see(ledger.available, desk.org) < 0
    with pytest.raises(InsufficientFunds):
        desk.do(ledger.hold, desk.org, desk.store.write_sync(lambda c: add_attempt(c, desk.ids, desk.tenant))["id"], 1)


def test_nothing_to_pay_is_recorded_without_an_entry(desk: Desk) -> None:
    desk.do(ledger.hold, desk.org, desk.attempt, 0)
    before = desk.entries()
    assert desk.use(0, 0) is Outcome.RECORDED
    assert desk.do(ledger.release, desk.attempt) == 0
    assert desk.entries() == before
    assert len(desk.see(usage.page, OPERATOR)) == 1
    desk.totals()


def test_own_capacity_accrues_and_is_owed_to_nobody(desk: Desk) -> None:
    desk.use(5, 3, owned=True)
    assert desk.totals()["owned"] == -3
    accounts = desk.see(lambda c: set(c.execute(select(journal_lines.c.account)).scalars()))
    assert accounts == {
        "house:cash", f"customer:{b32(desk.org)}:prepaid", "house:revenue", "house:cost:east/cpu", "house:owned:east/cpu",
    }  # fmt: skip


def test_void_gives_everything_back(desk: Desk) -> None:
    desk.do(ledger.hold, desk.org, desk.attempt, 10)
    assert [desk.do(ledger.void, desk.attempt) for _ in range(2)] == [10, 0]
    assert desk.do(ledger.release, desk.attempt) == 0
    assert desk.has() == (100 * YUAN, 0)
    assert desk.see(lambda c: c.execute(select(holds.c.state)).scalar()) == "void"
    desk.totals()


def test_release_of_nothing_is_nothing(desk: Desk) -> None:
    assert desk.do(ledger.release, 424242) == 0
    assert desk.do(ledger.void, 424242) == 0


# Corrections ---------------------------------------------------------------------------------------------------------------


def test_a_stronger_witness_corrects_by_reversal(desk: Desk) -> None:
    desk.do(ledger.hold, desk.org, desk.attempt, 10 * YUAN)
    desk.use(8 * YUAN, 4 * YUAN, source=Witness.PROVISIONAL, estimated=True)
    assert desk.use(5 * YUAN, 2 * YUAN, elapsed_ms=600) is Outcome.CORRECTED
    assert desk.has() == (90 * YUAN, 5 * YUAN)
    assert desk.totals()["revenue"] == -5 * YUAN
    assert desk.totals()["cost"] == 2 * YUAN
    revisions = desk.see(usage.page, OPERATOR, current=False)
    assert [(r["revision"], r["reversed"], r["sell"]) for r in revisions] == [(1, False, 5 * YUAN), (0, True, 8 * YUAN)]
    reversal = desk.see(
        lambda c: (
            c.execute(select(journal).where(journal.c.kind == "reversal").order_by(journal.c.id)).mappings().first()
        )
    )
    assert reversal["reverses"] is not None


def test_a_correction_after_the_hold_was_closed_settles_with_prepaid(desk: Desk) -> None:
    desk.do(ledger.hold, desk.org, desk.attempt, 10 * YUAN)
    desk.use(8 * YUAN, source=Witness.PROVISIONAL, estimated=True)
    desk.do(ledger.release, desk.attempt)
    assert desk.has() == (92 * YUAN, 0)
    assert desk.use(3 * YUAN, elapsed_ms=300) is Outcome.CORRECTED
    assert desk.has() == (97 * YUAN, 0)
    desk.totals()


@pytest.mark.parametrize("first,second", [
    (Witness.ACCOUNTING, Witness.ACCOUNTING), (Witness.ACCOUNTING, Witness.CONTROLLER),
    (Witness.CONTROLLER, Witness.PROVISIONAL),
])  # fmt: skip
def test_other_facts_from_no_stronger_witness_are_quarantined(desk: Desk, first: Witness, second: Witness) -> None:
    desk.use(5, source=first)
    assert desk.use(9, source=second, elapsed_ms=1) is Outcome.QUARANTINED
    assert desk.totals()["revenue"] == -5
    found = desk.see(events.after, Scope(desk.org), 0)
    assert [e["kind"] for e in found] == ["usage.quarantined"]
    assert (found[0]["body"]["known"]["elapsed_ms"], found[0]["body"]["offered"]["elapsed_ms"]) == (1000, 1)


def test_an_exact_figure_of_the_same_witness_replaces_its_estimate(desk: Desk) -> None:
    desk.use(5, source=Witness.CONTROLLER, estimated=True)
    assert desk.use(4, source=Witness.CONTROLLER, elapsed_ms=900) is Outcome.CORRECTED
    assert desk.totals()["revenue"] == -4


def test_what_a_job_may_write_moves_no_money(desk: Desk) -> None:
    assert desk.use(5, source=Witness.SPOOL) is Outcome.QUARANTINED
    assert desk.use(5, ended_at=T0 - 1) is Outcome.QUARANTINED
    assert "revenue" not in desk.totals()


def test_reverse_takes_back_once_and_the_same_facts_do_not_return(desk: Desk) -> None:
    desk.do(ledger.hold, desk.org, desk.attempt, 10)
    desk.use(15, 7)
    key = UsageKey(desk.attempt, 0, 0, 0)
    assert [desk.do(ledger.reverse, key, memo="dispute 12") for _ in range(2)] == [True, False]
    assert desk.has() == (100 * YUAN - 10, 10)
    assert desk.use(15, 7) is Outcome.SAME
    assert desk.totals() == {"cash": 100 * YUAN, "prepaid": -100 * YUAN + 10, "held": -10}
    assert desk.do(ledger.reverse, UsageKey(desk.attempt, 9, 0, 0)) is False


def test_segments_after_the_witnessed_end_are_taken_back(desk: Desk) -> None:
    for segment in range(4):
        desk.use(10, 1, segment=segment, source=Witness.PROVISIONAL, estimated=True)
    assert desk.do(ledger.reverse_beyond, UsageKey(desk.attempt, 0, 0, 1)) == 2
    assert desk.do(ledger.reverse_beyond, UsageKey(desk.attempt, 0, 0, 1)) == 0
    assert desk.totals()["revenue"] == -20


# Seen by --------------------------------------------------------------------------------------------------------------------


def test_a_statement_shows_cost_to_operators_only(desk: Desk) -> None:
    other = desk.store.write_sync(lambda c: add_tenant(c, desk.ids, "other"))
    theirs = desk.store.write_sync(lambda c: add_attempt(c, desk.ids, other))["id"]
    desk.use(5, 3, cores=4, elapsed_ms=1000)
    desk.use(6, 4, segment=1, partition="gpu", gpus=2, source=Witness.PROVISIONAL, estimated=True)
    desk.use(100, 50, org_id=other.org_id, attempt_id=theirs, job_id=8)
    mine = desk.see(ledger.statement, Scope(desk.org))
    assert mine["total"] == {
        "elapsed_ms": 2000, "core_ms": 5000, "gpu_ms": 2000, "mib_ms": 512000, "sell": 11, "segments": 2, "estimated": 1,
    }  # fmt: skip
    assert [j["job_id"] for j in mine["jobs"]] == [7]
    assert [(p["partition"], p["sell"]) for p in mine["partitions"]] == [("cpu", 5), ("gpu", 6)]
    everything = desk.see(ledger.statement, OPERATOR)
    assert (everything["total"]["sell"], everything["total"]["cost"]) == (111, 57)
    assert desk.see(ledger.statement, Scope(desk.org), since=T0 + 1)["total"]["sell"] == 0


def test_usage_is_read_in_pages(desk: Desk) -> None:
    for segment in range(5):
        desk.use(1, segment=segment)
    first = desk.see(usage.page, Scope(desk.org), limit=3)
    last = first[-1]
    rest = desk.see(
        usage.page, Scope(desk.org), limit=3,
        after=tuple(last[k] for k in ("attempt_id", "task", "restart", "segment", "revision")),
    )  # fmt: skip
    assert [r["segment"] for r in [*first, *rest]] == [4, 3, 2, 1, 0]
    assert desk.see(usage.page, Scope(desk.org + 1)) == []


# The auditor can fail -------------------------------------------------------------------------------------------------------

_TAMPER = {
    "entry": "INSERT INTO journal_lines (entry_id, line, account, amount) SELECT id, 9, 'house:cash', 1 FROM journal",
    "empty": "INSERT INTO journal (id, key) VALUES (1, 'nothing')",
    "balance": "UPDATE balances SET amount = amount + 1 WHERE account = 'prepaid'",
    "hold": "UPDATE holds SET captured = captured - 1",
    "closed": "UPDATE holds SET state = 'closed'",
    "usage": "UPDATE usage SET sell = sell + 1",
    "lost": "UPDATE usage SET reversed = true",
    "twice": "INSERT INTO usage (org_id, attempt_id, task, restart, segment, revision, sell) "
    "SELECT org_id, attempt_id, task, restart, segment, 1, 0 FROM usage",
}


@pytest.mark.parametrize("how", sorted(_TAMPER))
def test_the_auditor_finds_what_was_tampered_with(desk: Desk, how: str) -> None:
    desk.do(ledger.hold, desk.org, desk.attempt, 10)
    desk.use(5, 3)
    assert desk.see(ledger.balanced).ok
    desk.store.write_sync(lambda c: c.execute(text(_TAMPER[how])))
    assert not desk.see(ledger.balanced).ok


def test_the_journal_cannot_be_rewritten(desk: Desk) -> None:
    def rewrite(c: Connection) -> None:
        c.execute(update(journal_lines).values(amount=1))

    with pytest.raises(DBAPIError, match="immutable"):
        desk.store.write_sync(rewrite)


def test_two_servers_do_not_spend_the_same_money(store_url: str, ids: Ids) -> None:
    """Both ask for 60 of 100 yuan at the same moment: one gets it."""
    with Store.open(store_url, now_us=lambda: T0) as a, Store.open(store_url, now_us=lambda: T0) as b:
        desk = Desk(a, ids)
        attempts = [desk.attempt, a.write_sync(lambda c: add_attempt(c, ids, desk.tenant))["id"]]
        meet = threading.Barrier(2, timeout=20)
        refused: list[str] = []

        def ask(store: Store, attempt: int) -> None:
            meet.wait()
            try:
                store.write_sync(lambda c: ledger.hold(c, make_ids(attempt % 1000), T0, desk.org, attempt, 60 * YUAN))
            except InsufficientFunds as e:
                refused.append(e.code)

        threads = [threading.Thread(target=ask, args=pair) for pair in zip((a, b), attempts, strict=True)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert refused == ["balance.insufficient"]
        assert desk.has() == (40 * YUAN, 60 * YUAN)
        desk.totals()

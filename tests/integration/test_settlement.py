"""Accounting that comes late and differs: money is corrected by reversal, and reconciliation says so. On both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from tests.parts.protocol import Bench, Site

from tidegrid import ledger
from tidegrid.connectors.contract import Record, SiteRefused, SiteUnsure
from tidegrid.connectors.statement import Allocation, Statement
from tidegrid.control.contact import native_name
from tidegrid.control.reconcile import Reconciler
from tidegrid.control.settlement import Settlement
from tidegrid.domain.attempt import Ended, Reason, Started, State, Witness
from tidegrid.domain.clock import HOUR, SECOND
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, Unreachable
from tidegrid.store import events, usage
from tidegrid.store.engine import Store
from tidegrid.store.schema import journal
from tidegrid.store.schema import usage as usage_table
from tidegrid.store.scope import Scope

PRICE = 5_000_000  # 1e-8 yuan a core-hour, as the bench's offers: 0.05 yuan


class Centre(Site):
    """A site with accounts: `bill` is what they say."""

    bill: list[Allocation]
    refuses: Exception | None = None

    async def statement(self, since: int, until: int) -> Statement:
        if self.refuses is not None:
            raise self.refuses
        return Statement(tuple(a for a in self.bill if since <= a.event.ended_at // SECOND < until), self.clock.at)


class Desk(Settlement):
    """The bench's platform, as far as settling goes."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.ctx = bench, bench.ctx
        self.centre = Centre("north", bench.clock)
        self.centre.bill = []
        bench.ctx.connectors["north"] = self.centre  # type: ignore[assignment]
        bench.sites["north"] = self.centre
        bench.reconcilers["north"] = Reconciler(bench.ctx, self.centre, bench.contacts)  # type: ignore[arg-type]

    def accounts(self, id_: int, start: int | None, end: int, *, cores: int = 1, task: int = 0, **cols: Any) -> Allocation:
        id = str(1000 + len(self.centre.bill))
        event = Ended(task, 0, id, Reason.OK, 0, start, end)
        row = Allocation(id, native_name(id_), event, 0 if start is None else (end - start) // 1000, cores=cores, **cols)
        self.centre.bill.append(row)
        return row

    def reconcile(self, **kw: Any) -> dict[str, Any]:
        return asyncio.run(self.usage_reconcile(self.bench.actor, "north", **kw))

    def causes(self, **kw: Any) -> list[tuple[str, bool]]:
        return [(d["cause"], d["explained"]) for d in self.reconcile(**kw)["differences"]]

    def rows(self, *, current: bool = True) -> list[Any]:
        found = self.bench.store.read_sync(lambda c: usage.page(c, Scope(), current=current))
        return sorted(found, key=lambda r: (r["attempt_id"], r["task"], r["segment"], r["revision"]))

    def spent(self) -> int:
        """Micro-yuan the customer has paid."""
        b = self.bench.store.read_sync(lambda c: ledger.balance(c, self.bench.actor.org_id))
        return 10**9 - b.prepaid - b.held

    def told(self) -> list[str]:
        return [e["kind"] for e in self.bench.store.read_sync(lambda c: events.after(c, Scope(), 0, limit=1000))]


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(Bench(store))


def run_and_end(desk: Desk, seconds: int, source: Witness = Witness.CONTROLLER) -> tuple[int, int, int]:
    """(attempt, start, end) of a job that the witness ended; the clock stands at its end."""
    bench = desk.bench
    bench.submit()
    (id_,) = bench.place()
    start = (bench.clock.at // SECOND + 1) * SECOND
    end = start + seconds * SECOND
    desk.centre.lists(id_, running=(0,))
    desk.centre.records.append(Record(native_name(id_), Started(0, 0, "1", start, Witness.CONTROLLER)))
    desk.centre.marks(id_, body=f"nonce 1 {start}\n")
    bench.tick()
    bench.clock.at = max(bench.clock.at, end)
    desk.centre.jobs.clear()
    desk.centre.records.append(Record(native_name(id_), Ended(0, 0, "1", Reason.OK, 0, start, end, source)))
    bench.tick()
    assert bench.attempt(id_).attempt.state is State.ENDED
    return id_, start, end


def cost(seconds: int) -> int:
    """Of one core, rounded as a segment is."""
    return (2 * seconds * PRICE + 360_000) // 720_000


def test_accounting_that_comes_late_and_differs_is_booked_by_reversal(desk: Desk) -> None:
    id_, start, end = run_and_end(desk, 600)
    (row,) = desk.rows()
    assert (row["source"], row["estimated"], row["elapsed_ms"], row["sell"]) == ("controller", True, 600_000, cost(600))
    desk.accounts(id_, start, end - 100 * SECOND)
    assert desk.causes() == [("late", True)]
    desk.centre.records.append(Record(native_name(id_), replace(desk.centre.bill[0].event)))
    desk.bench.tick()
    assert desk.causes() == []
    (row,) = desk.rows()
    assert (row["source"], row["estimated"], row["elapsed_ms"], row["revision"]) == ("accounting", False, 500_000, 1)
    both = desk.rows(current=False)
    assert [(r["revision"], r["reversed"], r["elapsed_ms"]) for r in both] == [(0, True, 600_000), (1, False, 500_000)]
    assert desk.spent() == cost(500)
    desk.bench.books()
    assert desk.told().count("usage.corrected") == 1
    stored = desk.bench.attempt(id_)
    assert stored.attempt.reason is Reason.OK and stored.attempt.executions[0].ended_at == end - 100 * SECOND
    entries = desk.bench.store.read_sync(lambda c: list(c.execute(select(journal.c.kind, journal.c.reverses)).mappings()))
    assert sum(e["kind"] == "reversal" and e["reverses"] is not None for e in entries) == 2  # charge and cost


def test_the_same_words_from_accounting_make_an_estimate_firm_and_move_no_money(desk: Desk) -> None:
    id_, start, end = run_and_end(desk, 600)
    before = desk.spent()
    for _ in range(2):
        desk.centre.records.append(Record(native_name(id_), Ended(0, 0, "1", Reason.OK, 0, start, end)))
        desk.bench.tick()
    (row,) = desk.rows()
    assert (row["source"], row["estimated"], row["revision"]) == ("accounting", False, 1)
    assert desk.spent() == before and "usage.corrected" not in desk.told() and "usage.quarantined" not in desk.told()
    desk.bench.books()


def test_a_run_over_an_hour_that_accounting_shortens_loses_its_last_segment(desk: Desk) -> None:
    id_, start, end = run_and_end(desk, 2 * 3600)
    assert len(desk.rows()) >= 2
    desk.accounts(id_, start, start + 60 * SECOND)
    assert desk.reconcile(correct=True)["corrected"] == 1
    assert sum(r["elapsed_ms"] for r in desk.rows()) == 60_000 and desk.spent() == cost(60)
    assert desk.causes(until=end + HOUR) == []
    desk.bench.books()


def test_what_accounting_says_never_started_costs_nothing(desk: Desk) -> None:
    id_, _, end = run_and_end(desk, 600)
    desk.centre.records.append(Record(native_name(id_), Ended(0, 0, "1", Reason.CANCELLED, None, None, end)))
    desk.bench.tick()
    assert desk.rows() == [] and desk.spent() == 0
    desk.bench.books()


def test_a_weaker_word_after_accountings_changes_nothing(desk: Desk) -> None:
    id_, start, end = run_and_end(desk, 600, Witness.ACCOUNTING)
    desk.centre.records.append(Record(native_name(id_), Ended(0, 0, "1", Reason.OK, 0, start, end + SECOND, Witness.CONTROLLER)))
    desk.bench.tick()
    (row,) = desk.rows()
    assert row["revision"] == 0 and row["elapsed_ms"] == 600_000


def test_a_row_that_accounting_rewrites_is_booked_anew(desk: Desk) -> None:
    """A killed controller forgot the end that it had told, found the job missing, and told another one."""
    id_, start, _ = run_and_end(desk, 600, Witness.ACCOUNTING)
    for seconds, revision in ((604, 1), (60, 2)):
        again = Ended(0, 0, "1", Reason.CANCELLED, None, start, start + seconds * SECOND)
        desk.centre.records.append(Record(native_name(id_), again))
        desk.bench.tick()
        (row,) = desk.rows()
        assert (row["source"], row["estimated"], row["elapsed_ms"], row["revision"]) == ("accounting", False, seconds * 1000, revision)
        assert desk.spent() == cost(seconds)
    assert desk.told().count("usage.corrected") == 2 and "usage.quarantined" not in desk.told()
    assert desk.bench.attempt(id_).attempt.reason is Reason.OK
    desk.bench.books()


def test_late_accounting_that_the_ticks_no_longer_read_is_taken_in_by_hand(desk: Desk) -> None:
    id_, start, end = run_and_end(desk, 600)
    desk.accounts(id_, start, end + 30 * SECOND)
    desk.bench.clock.at += HOUR
    assert desk.causes(until=desk.bench.clock.at) == [("late", False)]
    found = desk.reconcile(correct=True)
    assert (found["corrected"], found["unexplained"], found["differences"]) == (1, 0, [])
    assert found["metered_core_hours"] == found["accounted_core_hours"] == "0.175000"
    assert desk.spent() == cost(630) and desk.reconcile(correct=True)["corrected"] == 0
    assert "usage.reconciled" in desk.told()
    desk.bench.books()


def test_tampered_rows_are_found(desk: Desk) -> None:
    ids = []
    for _ in range(4):
        id_, start, end = run_and_end(desk, 100, Witness.ACCOUNTING)
        desk.accounts(id_, start, end)
        ids.append(id_)
    desk.accounts(99, start, end, user="somebody")
    assert desk.causes() == [("foreign", True)]
    desk.bench.clock.at += HOUR

    def tamper(conn: Any) -> None:
        t = usage_table
        conn.execute(update(t).where(t.c.attempt_id == ids[0]).values(elapsed_ms=99_000))
        conn.execute(update(t).where(t.c.attempt_id == ids[1]).values(cores=2))
        conn.execute(delete(t).where(t.c.attempt_id == ids[2]))

    desk.bench.store.write_sync(tamper)
    del desk.centre.bill[3]
    found = desk.reconcile()
    assert [(d["cause"], d["attempt"] is not None) for d in found["differences"]] == [
        ("not_metered", True), ("not_accounted", True), ("elapsed", True), ("allocation", True), ("foreign", False),
    ]  # fmt: skip
    assert (found["runs"], found["matched"], found["unexplained"]) == (4, 0, 4)
    assert found["counts"]["foreign"] == 1 and all(d["job"] for d in found["differences"][:4])
    few = desk.reconcile(limit=2)
    assert len(few["differences"]) == 2 and few["left_off"] == 3


def test_an_attempt_of_another_cluster_is_named_as_such(desk: Desk) -> None:
    desk.bench.submit()
    (id_,) = desk.bench.place("east")
    now = desk.bench.clock.at // SECOND * SECOND
    desk.accounts(id_, now - 5 * SECOND, now)
    desk.bench.clock.at += SECOND
    (found,) = desk.reconcile()["differences"]
    assert found["cause"] == "foreign" and "was sent to east" in found["text"]


@pytest.mark.parametrize(
    ("refuses", "kind", "code"),
    [
        (SiteRefused("site.no_accounting", "none"), Conflict, "usage.no_accounting"),
        (SiteUnsure("slurmdbd is down"), Unreachable, "cluster.silent"),
    ],
)
def test_no_answer_is_no_report(desk: Desk, refuses: Exception, kind: type[Exception], code: str) -> None:
    desk.centre.refuses = refuses
    with pytest.raises(kind) as caught:
        desk.reconcile()
    assert caught.value.code == code  # type: ignore[attr-defined]


def test_spans_are_checked(desk: Desk) -> None:
    at = desk.bench.clock.at
    for since, until in ((at, at), (at, at - 1), (-5, at), (at - 500 * 24 * HOUR, at)):
        with pytest.raises(InvalidInput):
            desk.reconcile(since=since, until=until)
    with pytest.raises(NotFound):
        asyncio.run(desk.usage_reconcile(desk.bench.actor, "nowhere"))

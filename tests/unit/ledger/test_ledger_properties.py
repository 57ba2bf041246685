"""Any sequence of money movements, with repetitions, keeps every invariant of the books."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from tests.parts.stores import T0, Tenant, add_attempt, add_tenant, make_ids

from tidegrid import ledger
from tidegrid.domain.attempt import STRENGTH, Witness
from tidegrid.domain.errors import Conflict, InsufficientFunds
from tidegrid.domain.ids import Ids
from tidegrid.ledger import Outcome, UsageEvent, UsageKey
from tidegrid.store.engine import Store
from tidegrid.store.scope import Scope

_WITNESSES = (Witness.PROVISIONAL, Witness.CONTROLLER, Witness.ACCOUNTING, Witness.ACCOUNTING, Witness.SPOOL)
_VERBS = ["use"] * 6 + ["hold"] * 3 + ["reverse"] * 3 + ["deposit", "release", "void", "reverse_beyond"]


def _step(draws: tuple[Any, ...]) -> tuple[Any, ...]:
    """One movement, and how often it is tried."""
    verb, attempt, segment, amount, cost, witness, estimated, times = draws
    args: dict[str, tuple[Any, ...]] = {
        "deposit": (amount + 1, segment),
        "hold": (attempt, amount),
        "use": (attempt, segment, amount, cost, witness, estimated),
        "reverse": (attempt, segment),
        "reverse_beyond": (attempt, segment - 1),
    }
    return (verb, *args.get(verb, (attempt,))), times


_draws = st.tuples(
    st.sampled_from(_VERBS), st.integers(0, 1), st.integers(0, 1), st.integers(0, 60), st.integers(0, 60),
    st.sampled_from(_WITNESSES), st.booleans(), st.integers(1, 2),
)  # fmt: skip
_steps = st.lists(_draws.map(_step), min_size=10, max_size=25).map(lambda steps: [(("deposit", 100, 9), 1), *steps])


@dataclass
class Model:
    """What the books must say, in the simplest words: what came in, and what each stretch of use costs now."""

    deposits: dict[int, int] = field(default_factory=dict)
    holds: dict[int, int] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    charges: dict[tuple[int, int], tuple[int, int] | None] = field(default_factory=dict)
    facts: dict[tuple[int, int], tuple[int, bool, int]] = field(default_factory=dict)

    def spent(self) -> int:
        return sum(c[0] for c in self.charges.values() if c is not None)


def _expected(model: Model, a: int, segment: int, sell: int, cost: int, source: Witness, estimated: bool) -> Outcome:
    key, facts = (a, segment), (STRENGTH[source], not estimated, sell)
    known = model.facts.get(key)
    if known == facts:
        return Outcome.SAME
    if source is Witness.SPOOL or (known is not None and facts[:2] <= known[:2]):
        return Outcome.QUARANTINED
    model.facts[key], model.charges[key] = facts, (sell, cost)
    return Outcome.RECORDED if known is None else Outcome.CORRECTED


def _apply(conn: Connection, ids: Ids, tenant: Tenant, attempts: list[int], model: Model, step: Any) -> None:
    org = tenant.org_id
    match step:
        case ("deposit", amount, key):
            try:
                ledger.deposit(conn, ids, T0, org, amount, f"k{key}")
                assert model.deposits.setdefault(key, amount) == amount
            except Conflict:
                assert model.deposits[key] != amount
        case ("hold", a, amount):
            free = ledger.available(conn, org)
            try:
                ledger.hold(conn, ids, T0, org, attempts[a], amount)
                assert model.holds.get(a, amount) == amount
                assert a in model.holds or amount <= free
                model.holds[a] = amount
            except Conflict:
                assert model.holds[a] != amount
            except InsufficientFunds:
                assert a not in model.holds
                assert amount > free
        case ("use", a, segment, sell, cost, source, estimated):
            event = UsageEvent(
                org_id=org, job_id=7, attempt_id=attempts[a], task=0, restart=0, segment=segment, cluster="east",
                partition="cpu", source=source, native_id="", estimated=estimated, started_at=T0, ended_at=T0 + sell,
                elapsed_ms=sell, cores=1, gpus=0, memory_mib=1, owned=bool(a),
            )  # fmt: skip
            # Amounts follow from the facts, as rating makes them: the same facts never come with another price.
            got = ledger.record_usage(conn, ids, T0, event, sell=sell, cost=cost)
            assert got is _expected(model, a, segment, sell, cost, source, estimated)
        case ("release" | "void" as verb, a):
            back = getattr(ledger, verb)(conn, ids, T0, attempts[a])
            if a not in model.holds or a in model.closed:
                assert back == 0
            else:
                assert 0 <= back <= model.holds[a]
                model.closed.add(a)
        case ("reverse", a, segment):
            counted = model.charges.get((a, segment)) is not None
            assert ledger.reverse(conn, ids, T0, UsageKey(attempts[a], 0, 0, segment)) is counted
            if counted:
                model.charges[a, segment] = None
        case ("reverse_beyond", a, segment):
            later = [k for k, c in model.charges.items() if k[0] == a and k[1] > segment and c is not None]
            assert ledger.reverse_beyond(conn, ids, T0, UsageKey(attempts[a], 0, 0, segment)) == len(later)
            model.charges.update(dict.fromkeys(later))


def _check(store: Store, tenant: Tenant, model: Model) -> None:
    report = store.read_sync(ledger.balanced)
    assert report.problems == ()
    found = store.read_sync(lambda c: ledger.balance(c, tenant.org_id))
    assert found.total == sum(model.deposits.values()) - model.spent(), "money is neither made nor lost"
    assert 0 <= found.held <= sum(amount for a, amount in model.holds.items() if a not in model.closed)
    totals = store.read_sync(lambda c: ledger.statement(c, Scope(tenant.org_id)))["total"]
    assert totals["sell"] == model.spent()


def _run(store: Store, ids: Ids, name: int, steps: Any) -> None:
    tenant = store.write_sync(lambda c: add_tenant(c, ids, f"org-{name}"))
    attempts = store.write_sync(lambda c: [add_attempt(c, ids, tenant)["id"] for _ in range(2)])
    model = Model()
    for step, times in steps:
        for _ in range(times):
            store.write_sync(lambda c, s=step: _apply(c, ids, tenant, attempts, model, s))
    _check(store, tenant, model)


@pytest.fixture
def counted(store: Store) -> tuple[Store, Ids, list[int]]:
    return store, make_ids(11), [0]


_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=100, suppress_health_check=_SHARED)
@given(steps=_steps)
def test_any_sequence_keeps_the_books(counted: tuple[Store, Ids, list[int]], steps: Any) -> None:
    store, ids, count = counted
    if store.dialect == "postgresql" and count[0] >= 20:
        return  # each step is a commit on disk: fewer examples there
    count[0] += 1
    _run(store, ids, count[0], steps)

"""Installations, cards, licences and the porting board as rows, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, update
from tests.parts.stores import T0, add_attempt, add_tenant

from tidegrid.domain.ids import Ids
from tidegrid.store import installations, licences, machine_cards, porting
from tidegrid.store.engine import Store
from tidegrid.store.schema import attempts, installation_events, porting_events
from tidegrid.store.schema import machine_cards as cards_table

KEY = {"app": "lmp", "version": "v1", "cluster": "east", "partition": "cpu"}
WAY = {"kind": "command", "name": "lmp", "words": ["/usr/bin/lmp"]}


def say(store: Store, ids: Ids, state: str, at: int = T0, **key: str) -> None:
    id_ = ids.new()
    store.write_sync(lambda c: installations.say(c, id=id_, at=at, by="ada", way=WAY, state=state, **{**KEY, **key}))


def test_the_newest_word_is_in_force_and_all_of_them_are_kept(store: Store, ids: Ids) -> None:
    before = store.read_sync(installations.generation)
    for state in ("wanted", "verified", "failed"):
        say(store, ids, state)
    say(store, ids, "verified", version="v2")
    rows = store.read_sync(installations.all)
    assert [(r["version"], r["state"], r["way"]) for r in rows] == [("v1", "failed", WAY), ("v2", "verified", WAY)]
    history = store.read_sync(lambda c: installations.history(c, "lmp", "east", "cpu", limit=9, after=None))
    assert [r["state"] for r in history] == ["verified", "failed", "verified", "wanted"]
    older = store.read_sync(lambda c: installations.history(c, "lmp", "east", "cpu", limit=9, after=history[1]["id"]))
    assert [r["state"] for r in older] == ["verified", "wanted"]
    assert store.read_sync(installations.generation) != before


def card(store: Store, ids: Ids, place: str = "cpu", **more: Any) -> int:
    id_ = ids.new()
    row = {"id": id_, "cluster": "east", "partition": place, "measured_at": T0, "job_id": 1, "by": "ada", "hash": "h", "body": {"n": id_}}
    store.write_sync(lambda c: machine_cards.add(c, {**row, **more}))
    return id_


def test_the_newest_card_of_each_partition_is_in_force(store: Store, ids: Ids) -> None:
    old, new, other = card(store, ids), card(store, ids), card(store, ids, "gpu")
    assert [r["id"] for r in store.read_sync(machine_cards.newest)] == [new, other]
    history = store.read_sync(lambda c: machine_cards.history(c, "east", "cpu", limit=9))
    assert [r["body"]["n"] for r in history] == [new, old]


@pytest.mark.parametrize("table", [installation_events, cards_table, porting_events], ids=lambda t: str(t.name))
def test_history_cannot_be_changed_or_removed(store: Store, ids: Ids, table: Any) -> None:
    say(store, ids, "verified")
    card(store, ids)
    item(store, ids)
    for change in (update(table).values(by="eve"), delete(table)):
        with pytest.raises(Exception, match="history is immutable"):
            store.write_sync(lambda c, change=change: c.execute(change))


def test_a_licence_is_held_by_a_live_attempt_and_by_no_other(store: Store, ids: Ids) -> None:
    tenant = store.write_sync(lambda c: add_tenant(c, ids))
    running = store.write_sync(lambda c: add_attempt(c, ids, tenant, state="RUNNING"))
    queued = store.write_sync(lambda c: add_attempt(c, ids, tenant, state="QUEUED"))
    for a, n in ((running, 2), (queued, 1)):
        store.write_sync(lambda c, a=a, n=n: licences.take(c, a["id"], tenant.org_id, [("mech", n), ("mesh", 1)]))
    assert store.read_sync(licences.in_use) == {"mech": 3, "mesh": 2}
    assert store.read_sync(licences.holders)[0] == {"pool": "mech", "org_id": tenant.org_id, "count": 3}
    store.write_sync(lambda c: c.execute(update(attempts).where(attempts.c.id == running["id"]).values(state="ENDED")))
    assert store.read_sync(licences.in_use) == {"mech": 1, "mesh": 1}
    store.write_sync(lambda c: licences.forget(c, queued["id"]))
    assert store.read_sync(licences.in_use) == {}


def item(store: Store, ids: Ids, **more: Any) -> int:
    id_ = ids.new()
    row = {"id": id_, "app": "lmp", "arch": "aarch64", "state": "planned", "effort_days": 3.5, "note": "", "created_at": T0,
           "changed_at": T0, "changed_by": "ada", **more}  # fmt: skip
    assert store.write_sync(lambda c: porting.add(c, row, ids.new()))
    return id_


def test_an_application_and_an_architecture_are_once_on_the_board(store: Store, ids: Ids) -> None:
    first = item(store, ids)
    again = {"id": ids.new(), "app": "lmp", "arch": "aarch64", "state": "planned", "effort_days": 1.0, "note": "", "created_at": T0,
             "changed_at": T0, "changed_by": "eve"}  # fmt: skip
    assert not store.write_sync(lambda c: porting.add(c, again, ids.new()))
    cols = {"state": "porting", "effort_days": 2.0, "note": "half done", "changed_at": T0 + 1, "changed_by": "bob"}
    store.write_sync(lambda c: porting.change(c, first, ids.new(), cols))
    history = store.read_sync(lambda c: porting.history(c, first))
    assert [(h["state"], h["effort_days"], h["by"]) for h in history] == [("planned", 3.5, "ada"), ("porting", 2.0, "bob")]
    assert [r["state"] for r in store.read_sync(porting.all)] == ["porting"]


def test_what_was_refused_is_summed_by_day_customer_and_reason(store: Store, ids: Ids) -> None:
    a = store.write_sync(lambda c: add_tenant(c, ids, "acme"))
    b = store.write_sync(lambda c: add_tenant(c, ids, "rival"))
    for day, org, reason, core_s in ((10, a, "not_installed", 60), (10, a, "not_installed", 40), (11, a, "not_installed", 1), (11, b, "arch", 7)):
        store.write_sync(
            lambda c, day=day, org=org, reason=reason, core_s=core_s: porting.refuse(
                c, day=day, org_id=org.org_id, app="lmp", arch="aarch64", reason=reason, core_s=core_s
            )
        )
    rows = store.read_sync(lambda c: porting.refused(c, 10))
    assert [(r["org"], r["reason"], int(r["jobs"]), int(r["core_s"])) for r in rows] == [("acme", "not_installed", 3, 101), ("rival", "arch", 1, 7)]
    assert [(r["org"], int(r["jobs"])) for r in store.read_sync(lambda c: porting.refused(c, 11))] == [("acme", 1), ("rival", 1)]

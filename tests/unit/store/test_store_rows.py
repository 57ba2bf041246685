"""Organisations, tokens, idempotency keys and decisions, as rows."""

from __future__ import annotations

import hashlib

import pytest
from tests.parts.stores import T0, add_attempt, add_tenant

from tidegrid.domain.errors import Conflict, NotFound
from tidegrid.domain.ids import Ids
from tidegrid.store import decisions, idempotency, orgs
from tidegrid.store.engine import Store
from tidegrid.store.scope import OPERATOR, Scope

HASH = hashlib.sha256(b"tg_secret").hexdigest()


def test_a_token_is_found_by_its_hash_with_whose_it_is(store: Store, ids: Ids) -> None:
    t = store.write_sync(lambda c: add_tenant(c, ids))
    store.write_sync(
        lambda c: orgs.create_token(c, id=5, org_id=t.org_id, user_id=t.user_id, hash=HASH, at=T0, scopes="jobs:read",
                                    expires_at=T0 + 9)
    )  # fmt: skip
    row = store.read_sync(lambda c: orgs.find_token(c, HASH))
    assert row is not None
    assert (row["org"], row["user"], row["role"], row["scopes"]) == ("acme", "ada", "user", "jobs:read")
    assert (row["org_id"], row["user_id"], row["expires_at"], row["revoked_at"]) == (t.org_id, t.user_id, T0 + 9, None)
    assert store.read_sync(lambda c: orgs.find_token(c, "0" * 64)) is None
    listed = store.read_sync(lambda c: orgs.list_tokens(c, t.org_id))
    assert [(r["id"], r["user"]) for r in listed] == [(5, "ada")]
    assert "hash" not in listed[0]


def test_a_revoked_token_stays_revoked_since_the_first_time(store: Store, ids: Ids) -> None:
    t = store.write_sync(lambda c: add_tenant(c, ids))
    store.write_sync(lambda c: orgs.create_token(c, id=5, org_id=t.org_id, user_id=t.user_id, hash=HASH, at=T0))
    for at in (T0 + 1, T0 + 2):
        store.write_sync(lambda c, at=at: orgs.revoke_token(c, id=5, at=at))
    row = store.read_sync(lambda c: orgs.find_token(c, HASH))
    assert row is not None
    assert row["revoked_at"] == T0 + 1
    with pytest.raises(NotFound):
        store.write_sync(lambda c: orgs.revoke_token(c, id=5, at=T0, scope=Scope(t.org_id + 1)))


def test_a_user_of_one_organisation_gets_no_token_of_another(store: Store, ids: Ids) -> None:
    a = store.write_sync(lambda c: add_tenant(c, ids, "a"))
    b = store.write_sync(lambda c: add_tenant(c, ids, "b"))
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        store.write_sync(lambda c: orgs.create_token(c, id=5, org_id=a.org_id, user_id=b.user_id, hash=HASH, at=T0))


def test_names_are_taken_once(store: Store, ids: Ids) -> None:
    t = store.write_sync(lambda c: add_tenant(c, ids))
    for code, fn in {
        "org.exists": lambda c: orgs.create_org(c, id=1, name="acme", at=T0),
        "project.exists": lambda c: orgs.create_project(c, id=1, org_id=t.org_id, name="default", at=T0),
        "user.exists": lambda c: orgs.create_user(c, id=1, org_id=t.org_id, name="ada", role="user", at=T0),
    }.items():
        with pytest.raises(Conflict) as refused:
            store.write_sync(fn)
        assert refused.value.code == code
    other = store.write_sync(lambda c: add_tenant(c, ids, "other"))  # the same project and user names, elsewhere
    assert [r["name"] for r in store.read_sync(lambda c: orgs.list_users(c, other.org_id))] == ["ada"]
    assert [r["name"] for r in store.read_sync(orgs.list_orgs)] == ["acme", "other"]
    assert [r["name"] for r in store.read_sync(lambda c: orgs.list_orgs(c, Scope(t.org_id)))] == ["acme"]


def test_an_idempotency_key_stands_for_one_request(store: Store, ids: Ids) -> None:
    t = store.write_sync(lambda c: add_tenant(c, ids))
    other = store.write_sync(lambda c: add_tenant(c, ids, "other"))
    assert store.read_sync(lambda c: idempotency.get(c, t.org_id, "k", "h1")) is None
    store.write_sync(lambda c: idempotency.put(c, t.org_id, "k", "h1", '{"id": 1}', T0))
    row = store.read_sync(lambda c: idempotency.get(c, t.org_id, "k", "h1"))
    assert row is not None
    assert row["response"] == '{"id": 1}'
    with pytest.raises(Conflict) as refused:
        store.read_sync(lambda c: idempotency.get(c, t.org_id, "k", "h2"))
    assert refused.value.code == "idempotency.mismatch"
    assert store.read_sync(lambda c: idempotency.get(c, other.org_id, "k", "h2")) is None, (
        "keys are an organisation's own"
    )
    with pytest.raises(Conflict) as raced:
        store.write_sync(lambda c: idempotency.put(c, t.org_id, "k", "h1", "", T0))
    assert raced.value.code == "idempotency.race"
    store.write_sync(lambda c: idempotency.delete(c, t.org_id, "k"))
    assert store.read_sync(lambda c: idempotency.get(c, t.org_id, "k", "h2")) is None


def test_old_idempotency_keys_are_pruned(store: Store, ids: Ids) -> None:
    t = store.write_sync(lambda c: add_tenant(c, ids))
    for i in range(4):
        store.write_sync(lambda c, i=i: idempotency.put(c, t.org_id, f"k{i}", "h", "", T0 + i))
    assert store.write_sync(lambda c: idempotency.prune(c, T0 + 3)) == 3


def test_decisions_are_read_by_their_organisation(store: Store, ids: Ids) -> None:
    t = store.write_sync(lambda c: add_tenant(c, ids))
    a = store.write_sync(lambda c: add_attempt(c, ids, t))
    row = {"id": 1, "org_id": t.org_id, "job_id": a["job_id"], "part_id": a["part_id"], "at": T0, "chosen": "east/cpu",
           "body": {"best": [{"partition": "east/cpu"}]}, "snapshot": "s1", "policy": "p1"}  # fmt: skip
    store.write_sync(lambda c: decisions.add(c, [row]))
    for scope, count in ((Scope(t.org_id), 1), (OPERATOR, 1), (Scope(t.org_id + 1), 0)):
        found = store.read_sync(lambda c, s=scope: decisions.of_job(c, s, a["job_id"]))
        assert len(found) == count
    got = store.read_sync(lambda c: decisions.get(c, Scope(t.org_id), 1))
    assert got is not None
    assert got["body"] == row["body"]
    assert store.read_sync(lambda c: decisions.get(c, Scope(t.org_id + 1), 1)) is None


def test_a_snapshot_is_kept_once_and_as_long_as_a_call_names_it(store: Store, ids: Ids) -> None:
    for body in (b"first", b"second"):
        store.write_sync(lambda c, b=body: decisions.keep_snapshot(c, "r1", T0, b))
    store.write_sync(lambda c: decisions.keep_snapshot(c, "r2", T0, b"idle"))
    assert store.read_sync(lambda c: decisions.snapshot(c, "r1")) == b"first"
    call = {"why": "place", "policy": "p", "requests": 1, "asked": b"x", "answer": "y"}
    for n, (revision, acted) in enumerate((("r1", 1), ("r2", 0))):
        store.write_sync(lambda c, n=n, r=revision, a=acted: decisions.keep_batch(
            c, {**call, "id": n + 1, "at": T0 + n, "snapshot": r, "acted": a}))  # fmt: skip
    found = store.read_sync(lambda c: decisions.batches(c, since=T0, after=0, limit=9))
    assert [(row["snapshot"], body) for row, body in found] == [("r1", b"first"), ("r2", b"idle")]
    assert store.write_sync(lambda c: decisions.prune(c, before=T0, idle_before=T0 + 5)) == (1, 1)
    assert store.read_sync(lambda c: decisions.snapshot(c, "r2")) is None
    assert store.read_sync(lambda c: decisions.snapshot(c, "r1")) == b"first"
    assert store.write_sync(lambda c: decisions.prune(c, before=T0 + 5, idle_before=T0 + 5)) == (1, 1)

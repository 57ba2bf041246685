"""Whose an account at a centre is: one customer's at a time by the database's own word, resolved as of any time, never handed on
while anything of the last customer runs, waits to be fetched, or lies there. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import DBAPIError
from tests.parts.protocol import Bench
from tests.parts.stores import add_tenant

from tidegrid.catalog.network_model import Cluster, Network, Site
from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.control import access
from tidegrid.control.site_accounts import SiteAccounts
from tidegrid.domain.actor import Actor
from tidegrid.domain.clock import SECOND
from tidegrid.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unreachable
from tidegrid.domain.ids import parse
from tidegrid.store import events, orgs, site_accounts
from tidegrid.store.engine import Store
from tidegrid.store.schema import attempts as attempts_table
from tidegrid.store.schema import bindings
from tidegrid.store.scope import Scope


class Centre:
    """What is at the cluster: `left` by user; problem: why it cannot be cleaned; trouble: users that do not answer."""

    def __init__(self) -> None:
        self.left: dict[str, list[str]] = {}
        self.problem: Exception | None = None
        self.files = SimpleNamespace(trouble={})
        self.slow = 0.0

    async def clean(self, user: str) -> None:
        await asyncio.sleep(self.slow)
        if self.problem is not None:
            raise self.problem
        self.left.pop(user, None)


class Desk(SiteAccounts):
    """The operator's desk at a bench with one cluster, `north`."""

    def __init__(self, bench: Bench, *, shared: bool = True) -> None:
        self.bench, self.ctx, self.centre = bench, bench.ctx, Centre()
        self.ctx.connectors["north"] = self.centre  # type: ignore[assignment]
        settings = {"user": "tide", "host": "h", "root": "/home/tide", **({} if shared else {"shared": False})}
        self.net = Network("n", "CNY", (), (Site("hall", "north-centre", "r", "UTC"),),
                           (Cluster("north", "hall", "slurm", settings, ()),))  # fmt: skip
        self.picture = SimpleNamespace(network=self._network)  # type: ignore[assignment]
        self.on_network = None
        self.try_account = self._try
        self.uids: Mapping[str, int] = {}
        self.operator = Actor(bench.actor.org_id, bench.actor.user_id, "operator", "admin", "operator")
        self.rival = bench.store.write_sync(lambda c: add_tenant(c, self.ctx.ids, "rival"))

    async def _network(self) -> Network:
        return self.net

    async def _try(self, cluster: str, row: Mapping[str, Any]) -> int:
        return self.uids.get(row["unix_user"], 1001)

    def add(self, user: str = "pool01", **more: str) -> str:
        body = {"cluster": "north", "user": user, "identity": f"{user}-key", "root": f"/home/{user}/t", **more}
        return str(self.run(self.site_account_add(self.operator, body))["id"])

    def bind(self, account: str, org: str = "acme", **kw: Any) -> dict[str, Any]:
        return dict(self.run(self.site_account_bind(self.operator, account, org, **kw)))

    def release(self, account: str) -> dict[str, Any]:
        return dict(self.run(self.site_account_release(self.operator, account)))

    def run(self, work: Any) -> Any:
        self.bench.clock.at += SECOND
        return asyncio.run(work)

    def place(self) -> list[int]:
        """A job of acme's, placed at the cluster; the attempts made."""
        self.bench.submit()
        self.bench.placer.picture = SimpleNamespace(private=lambda: access.private_clusters(self.net))  # type: ignore[assignment]
        return self.bench.place()

    def payer(self, account: str, at: int) -> str | None:
        row = self.bench.store.read_sync(lambda c: site_accounts.payer(c, parse("acct", account), at))
        return None if row is None else row["org"]

    def told(self) -> list[str]:
        return [e["kind"] for e in self.bench.store.read_sync(lambda c: events.after(c, Scope(), 0, limit=1000))]


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(Bench(store))


def test_whose_it_was_is_known_as_of_any_time(desk: Desk) -> None:
    account, clock = desk.add(), desk.bench.clock
    before = clock.at
    desk.bind(account, "acme")
    first = clock.at
    desk.release(account)
    between = clock.at
    desk.bind(account, "rival", until=clock.at + 100 * SECOND)
    second = clock.at
    assert [desk.payer(account, t) for t in (before, first, between, second, second + 200 * SECOND)] == [
        None, "acme", None, "rival", None,
    ]  # fmt: skip
    told = desk.run(desk.site_account_bindings(desk.operator, account))
    assert [(b["org"], b["valid_until"] is not None, b["bound_by"], b["released_by"]) for b in told] == [
        ("acme", True, "admin", "admin"), ("rival", True, "admin", None),
    ]  # fmt: skip
    assert [k for k in desk.told() if k.startswith("site_account")] == [
        "site_account.added", "site_account.bound", "site_account.released", "site_account.cleaned", "site_account.bound",
    ]  # fmt: skip


@pytest.mark.parametrize(("start", "end"), [(5, 15), (15, 25), (12, 13), (5, None), (19, None), (10, 20)])
def test_the_database_itself_lets_no_two_overlap(desk: Desk, start: int, end: int | None) -> None:
    account = parse("acct", desk.add())
    rival, acme = desk.rival.org_id, desk.bench.actor.org_id

    def row(org: int, a: int, b: int | None) -> dict[str, Any]:
        return {"id": desk.ctx.ids.new(), "account_id": account, "org_id": org, "valid_from": a, "valid_until": b}

    store = desk.bench.store
    store.write_sync(lambda c: site_accounts.bind(c, row(acme, 10, 20)))
    with pytest.raises(DBAPIError):
        store.write_sync(lambda c: site_accounts.bind(c, row(rival, start, end)))
    store.write_sync(lambda c: site_accounts.bind(c, row(rival, 20, 30)))
    store.write_sync(lambda c: site_accounts.bind(c, row(rival, 1, 10)))
    with pytest.raises(DBAPIError):  # nor may one grow into another
        store.write_sync(lambda c: c.execute(update(bindings).where(bindings.c.valid_from == 1).values(valid_until=11)) and None)
    with pytest.raises(DBAPIError):  # nor last less than nothing
        store.write_sync(lambda c: c.execute(insert(bindings).values(row(rival, 50, 40))) and None)


def test_a_bound_account_is_nobody_elses(desk: Desk) -> None:
    account = desk.add()
    desk.bind(account, "acme")
    with pytest.raises(Conflict, match="bound to acme"):
        desk.bind(account, "rival")
    with pytest.raises(Conflict, match="bound to acme"):
        desk.run(desk.site_account_retire(desk.operator, account))
    with pytest.raises(NotFound):
        desk.bind(desk.add("pool02"), "nobody")
    with pytest.raises(InvalidInput):
        desk.bind(desk.add("pool03"), "acme", until=5)


def test_attempts_run_under_the_customers_account_and_keep_it_from_being_released(desk: Desk) -> None:
    account = desk.add()
    desk.bind(account, "acme")
    (id_,) = desk.place()
    row = desk.bench.attempt(id_).row
    assert row["account_id"] == parse("acct", account) and row["directory"].startswith("~pool01/")
    with pytest.raises(Conflict, match="1 attempts run or wait there") as caught:
        desk.release(account)
    assert caught.value.code == "site_account.busy"
    ended = update(attempts_table).where(attempts_table.c.id == id_)
    desk.bench.store.write_sync(lambda c: c.execute(ended.values(state="ENDED", reason="ok", fetched=False)) and None)
    with pytest.raises(Conflict, match="outputs of 1 attempts are still there"):
        desk.release(account)
    desk.bench.store.write_sync(lambda c: c.execute(ended.values(fetched=True)) and None)
    assert desk.release(account)["state"] == "free"
    assert desk.payer(account, row["created_at"]) == "acme"


def test_a_binding_that_has_run_out_takes_no_more_jobs_but_is_not_handed_on_before_the_last_has_ended(desk: Desk) -> None:
    account = desk.add()
    desk.bind(account, "acme", until=desk.bench.clock.at + 60 * SECOND)
    (id_,) = desk.place()
    desk.bench.clock.at += 3600 * SECOND
    (other,) = desk.place()
    assert desk.bench.attempt(other).row["account_id"] is None, "the cluster's own account is shared"
    with pytest.raises(Conflict, match="1 attempts"):
        desk.bind(account, "rival")
    desk.bench.store.write_sync(
        lambda c: c.execute(update(attempts_table).where(attempts_table.c.id == id_).values(state="ENDED", fetched=True)) and None
    )
    desk.centre.left["pool01"] = ["secret"]
    assert desk.bind(account, "rival")["binding"]["org"] == "rival" and not desk.centre.left


def test_nothing_is_handed_on_before_it_is_clean(desk: Desk) -> None:
    account = desk.add()
    desk.bind(account, "acme")
    desk.centre.left["pool01"] = ["secret"]
    desk.centre.problem = SiteUnsure("no answer")
    with pytest.raises(Unreachable) as caught:
        desk.release(account)
    assert caught.value.code == "site_account.unclean"
    (view,) = desk.run(desk.site_accounts(desk.operator))
    assert view["state"] == "dirty" and view["binding"] is None
    for act in (lambda: desk.bind(account, "rival"), lambda: desk.run(desk.site_account_retire(desk.operator, account))):
        with pytest.raises(Unreachable):
            act()
    desk.centre.problem = SiteRefused("site.busy", "pool01 has jobs in the queue")
    with pytest.raises(Conflict, match="in the queue"):
        desk.bind(account, "rival")
    desk.centre.problem = None
    desk.bind(account, "rival")
    assert not desk.centre.left and desk.payer(account, desk.bench.clock.at) == "rival"


def test_two_who_want_it_at_once_get_it_once_and_clean(desk: Desk) -> None:
    account = desk.add()
    desk.bind(account, "acme")
    desk.release(account)
    desk.bench.store.write_sync(lambda c: site_accounts.update_row(c, parse("acct", account), dirty=True))
    desk.centre.slow = 0.05

    async def both() -> list[Any]:
        return await asyncio.gather(*(desk.site_account_bind(desk.operator, account, o) for o in ("acme", "rival")),
                                    return_exceptions=True)  # fmt: skip

    found = desk.run(both())
    assert sorted(isinstance(f, Conflict) for f in found) == [False, True], found


def test_a_dedicated_account_never_changes_hands(desk: Desk) -> None:
    account = desk.add(kind="dedicated")
    desk.bind(account, "acme")
    desk.release(account)
    with pytest.raises(Conflict, match="dedicated to acme"):
        desk.bind(account, "rival")
    assert desk.bind(account, "acme")["state"] == "bound"


def test_a_projects_own_account_comes_before_the_organisations(desk: Desk) -> None:
    acme = desk.bench.actor.org_id
    desk.bench.store.write_sync(lambda c: orgs.create_project(c, id=desk.ctx.ids.new(), org_id=acme, name="cfd", at=1))
    alls, its = desk.add("pool01"), desk.add("pool02")
    desk.bind(alls, "acme")
    desk.bind(its, "acme", project="cfd")
    project = desk.bench.store.read_sync(lambda c: {p["name"]: p["id"] for p in orgs.list_projects(c, acme)})
    for name, user in (("cfd", "pool02"), ("default", "pool01")):
        row = desk.bench.store.write_sync(lambda c, n=name: site_accounts.choose(c, "north", acme, project[n], desk.bench.clock.at))
        assert row is not None and row["unix_user"] == user
    none = desk.bench.store.write_sync(lambda c: site_accounts.choose(c, "north", desk.rival.org_id, desk.rival.project_id, 5))
    assert none is None


def test_several_accounts_of_a_customer_share_its_work(desk: Desk) -> None:
    for user in ("pool01", "pool02"):
        desk.bind(desk.add(user), "acme")
    ids = [desk.place()[0] for _ in range(4)]
    assert sorted(desk.bench.attempt(i).row["directory"].split("/")[0] for i in ids) == ["~pool01"] * 2 + ["~pool02"] * 2


def test_a_cluster_that_is_not_shared_is_open_to_who_has_an_account(store: Store) -> None:
    desk = Desk(Bench(store), shared=False)
    acme, rival = desk.bench.actor.org_id, desk.rival.org_id

    def closed(org: int) -> tuple[str, ...]:
        return tuple(asyncio.run(access.access(desk.ctx, desk.net)).closed(org, "default"))

    assert closed(acme) == closed(rival) == ("north",)
    assert desk.place() == [], "not even where the picture was older"
    account = desk.add()
    desk.bind(account, "acme")
    assert (closed(acme), closed(rival)) == ((), ("north",))
    desk.bench.clock.at += 10 * SECOND
    assert len(desk.bench.place()) == 1, "what waited goes"
    desk.centre.files.trouble["pool01"] = "its key was taken away"
    assert closed(acme) == ("north",), "an account that does not answer takes nothing"


def test_an_account_that_does_not_answer_is_not_replaced_by_the_shared_one(desk: Desk) -> None:
    desk.bind(desk.add(), "acme")
    desk.centre.files.trouble["pool01"] = "its key was taken away"
    assert desk.place() == []
    (view,) = desk.run(desk.site_accounts(desk.operator))
    assert view["trouble"] == "its key was taken away"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"user": "root"}, "site_account.root"),
        ({"user": "tide"}, "site_account.own"),
        ({"root": "/home/tide/x"}, "site_account.roots"),
        ({"root": "/home"}, "site_account.roots"),
        ({"root": "/home/first/t"}, "site_account.roots"),
        ({"root": "relative"}, "site_account.malformed"),
        ({"root": "/home/../etc"}, "site_account.malformed"),
        ({"root": "/a b"}, "site_account.malformed"),
        ({"identity": "-----BEGIN PRIVATE KEY-----"}, "site_account.malformed"),
        ({"user": "a;b"}, "site_account.malformed"),
        ({"account": "$(x)"}, "site_account.malformed"),
        ({"kind": "borrowed"}, "site_account.malformed"),
        ({"user": "first", "root": "/home/first/other"}, "site_account.exists"),
        ({"cluster": "south"}, "cluster.unknown"),
    ],
)
def test_what_cannot_be_an_account_is_refused(desk: Desk, change: dict[str, str], code: str) -> None:
    desk.add("first")
    body = {"cluster": "north", "user": "pool01", "identity": "key", "root": "/home/pool01/t", **change}
    with pytest.raises((InvalidInput, Conflict, NotFound)) as caught:
        desk.run(desk.site_account_add(desk.operator, body))
    assert caught.value.code == code


def test_a_provider_sees_its_own_accounts_and_not_whose_they_are(desk: Desk) -> None:
    desk.bind(desk.add(), "acme")
    owner = Actor(1, 2, "north-centre", "olga", "provider")
    (view,) = desk.run(desk.site_accounts(owner))
    assert view["state"] == "bound" and "binding" not in view and "identity" not in view and "acme" not in str(view)
    stranger = Actor(1, 2, "south-centre", "sven", "provider")
    assert desk.run(desk.site_accounts(stranger)) == []
    with pytest.raises(NotFound):
        desk.run(desk.site_accounts(stranger, cluster="north"))
    with pytest.raises(Forbidden):
        desk.run(desk.site_account_bindings(owner, view["id"]))

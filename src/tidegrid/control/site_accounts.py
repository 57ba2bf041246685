"""Unix accounts at centres: added, bound to a customer for a time, released and cleaned for the next.

Whose an account was when is kept for ever: what ran under it then is that customer's, whoever has it now. An account changes
hands only when nothing of the last customer runs, waits to be fetched, or lies in its root.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from sqlalchemy import Connection

from tidegrid.connectors.contract import SiteRefused, SiteUnsure
from tidegrid.control import access, views
from tidegrid.control.capability import Capability
from tidegrid.domain.actor import Actor, Permission, require
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, Unreachable
from tidegrid.domain.ids import parse, show
from tidegrid.store import events, orgs, site_accounts, site_data

log = structlog.get_logger(__name__)
View = dict[str, Any]
Row = Mapping[Any, Any]
KINDS = ("pool", "dedicated")
_USER = re.compile(r"^[a-z_][a-z0-9_.-]{0,31}\Z")
_SECRET = re.compile(r"^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?\Z")
_ROOT = re.compile(r"^(?:/[A-Za-z0-9_@%+=:,.-]+)+\Z")
_NATIVE = re.compile(r"^[A-Za-z0-9_.:-]{0,64}\Z")


class SiteAccounts(Capability):
    """A part of the platform. `try_account` logs in at a cluster; `on_network` connects what is new."""

    on_network: Callable[[], Awaitable[None]] | None
    try_account: Callable[[str, Mapping[str, Any]], Awaitable[int]] | None

    async def site_accounts(self, actor: Actor, *, cluster: str | None = None, retired: bool = False) -> list[View]:
        """Accounts that the actor sees: an operator all, a provider those at its own centres, without whose they are."""
        mine = await self._clusters_of(actor)
        if cluster is not None:
            if mine is not None and cluster not in mine:
                raise NotFound("cluster.unknown", f"there is no cluster {cluster!r}")
            mine = [cluster]
        now = self.ctx.now()

        def read(conn: Connection) -> tuple[list[Row], dict[int, Row], dict[int, int]]:
            rows = site_accounts.page(conn, mine, retired=retired)
            return rows, site_accounts.all_at(conn, now), site_accounts.live_counts(conn)

        rows, bound, live = await self.ctx.store.read(read)
        return [self._view(r, bound.get(r["id"]), live.get(r["id"], 0), actor) for r in rows]

    async def site_account_add(self, actor: Actor, body: View) -> View:
        """Log in with it first, so that what is listed works. The key stays a secret of the server: only its name is kept."""
        row: View = {
            "cluster": str(body["cluster"]), "unix_user": str(body["user"]), "identity": str(body["identity"]),
            "root": str(body["root"]).rstrip("/"), "native_account": str(body.get("account") or ""),
            "qos": str(body.get("qos") or ""), "kind": str(body.get("kind") or "pool"),
        }  # fmt: skip
        self._check(row)
        network = await self.picture.network()
        found = network.cluster(row["cluster"]) if network is not None else None
        if found is None:
            raise NotFound("cluster.unknown", f"there is no cluster {row['cluster']!r}", hint="`tide cluster list`")
        if row["unix_user"] == found.settings.get("user"):
            raise Conflict("site_account.own", f"{row['unix_user']} is the account with which {found.name}'s connector logs in",
                           hint="`shared: false` in its connector keeps customers out of it")  # fmt: skip
        others = (await self.ctx.store.read(site_accounts.in_service)).get(found.name, [])
        for root, whose in [(str(found.settings.get("root", "")), "the cluster's own"), *((o["root"], o["unix_user"]) for o in others)]:
            if row["unix_user"] != whose and root and _overlap(root, row["root"]):
                raise Conflict("site_account.roots", f"{row['root']} and {root}, the root of {whose}, lie in each other",
                               hint="a root belongs to one Unix account")  # fmt: skip
        if self.try_account is None:
            raise Unreachable("cluster.silent", f"{found.name} is not connected")
        now, id_ = self.ctx.now(), self.ctx.ids.new()
        uid = await self.try_account(found.name, row)
        row |= {"id": id_, "uid": uid, "created_at": now}

        def commit(conn: Connection) -> None:
            if not site_accounts.add(conn, row):
                raise Conflict("site_account.exists", f"{found.name} has an account {row['unix_user']} already",
                               hint="`tide site-account list --retired`")  # fmt: skip
            self._event(conn, row, "added", {"by": actor.user, "kind": row["kind"]})

        await self.ctx.write(commit)
        await self._connect()
        return await self._one(actor, id_)

    async def site_account_bind(
        self, actor: Actor, account: str, org: str, project: str | None = None, until: int | None = None
    ) -> View:
        """From now on, to `until` (µs) or until released, the account is this customer's. Conflict (site_account.bound,
        site_account.busy, site_account.dedicated)."""
        id_ = parse("acct", account)
        await self._cleaned(id_)

        def commit(conn: Connection) -> None:
            row = site_accounts.get(conn, id_, lock=True)
            now = self.ctx.now()
            self._may_change_hands(conn, row, now)
            if row["dirty"]:
                raise Conflict("site_account.dirty", f"{_name(row)} still has a customer's files", hint="try again")
            if until is not None and until <= now:
                raise InvalidInput("site_account.until", "a binding ends later than it begins", hint="give a later --until")
            customer = orgs.get_org(conn, org)
            if customer is None:
                raise NotFound("org.unknown", f"there is no organisation {org!r}")
            its = orgs.get_project(conn, customer["id"], project) if project else None
            if project and its is None:
                raise NotFound("project.unknown", f"{org} has no project {project!r}")
            before = site_accounts.history(conn, id_)
            if row["kind"] == "dedicated" and before and before[-1]["org_id"] != customer["id"]:
                raise Conflict("site_account.dedicated", f"{_name(row)} is dedicated to {before[-1]['org']}",
                               hint="a pooled account may change hands")  # fmt: skip
            site_accounts.bind(
                conn,
                {"id": self.ctx.ids.new(), "account_id": id_, "org_id": customer["id"],
                 "project_id": its["id"] if its is not None else None, "valid_from": now, "valid_until": until,
                 "bound_by": actor.user},
            )  # fmt: skip
            site_accounts.update_row(conn, id_, dirty=True)
            self._event(conn, row, "bound", {"by": actor.user, "org": org, "project": project, "until": views.when(until)})

        await self.ctx.write(commit)
        self.ctx.wake("submit")
        return await self._one(actor, id_)

    async def site_account_release(self, actor: Actor, account: str) -> View:
        """The binding ends now, and what lies in the account's root is removed. Conflict (site_account.busy) while an attempt of
        the customer runs or waits there, or its outputs are not home; Unreachable where it could not be cleaned: the binding has
        ended then, and `bind` cleans before anything else."""
        id_ = parse("acct", account)

        def commit(conn: Connection) -> None:
            row = site_accounts.get(conn, id_, lock=True)
            now = self.ctx.now()
            binding = site_accounts.payer(conn, id_, now)
            if binding is None:
                return
            self._idle(conn, row)
            site_accounts.end(conn, binding["id"], max(now, binding["valid_from"] + 1), actor.user)
            self._event(conn, row, "released", {"by": actor.user, "org": binding["org"]})

        await self.ctx.write(commit)
        await self._cleaned(id_)
        return await self._one(actor, id_)

    async def site_account_retire(self, actor: Actor, account: str) -> View:
        """Not used any more; what it was is kept. Conflict where it is bound, or not clean."""
        id_ = parse("acct", account)
        await self._cleaned(id_)

        def commit(conn: Connection) -> None:
            row = site_accounts.get(conn, id_, lock=True)
            self._may_change_hands(conn, row, self.ctx.now())
            if row["dirty"]:
                raise Conflict("site_account.dirty", f"{_name(row)} still has a customer's files", hint="try again")
            if row["retired_at"] is None:
                site_accounts.update_row(conn, id_, retired_at=self.ctx.now())
                self._event(conn, row, "retired", {"by": actor.user})

        await self.ctx.write(commit)
        await self._connect()
        return await self._one(actor, id_)

    async def site_account_bindings(self, actor: Actor, account: str) -> list[View]:
        """Whose it was when, oldest first: for operators."""
        id_ = parse("acct", account)
        require(actor, Permission.SITES_WRITE)

        def read(conn: Connection) -> list[Row]:
            site_accounts.get(conn, id_)
            return site_accounts.history(conn, id_)

        return [_binding(b) for b in await self.ctx.store.read(read)]

    # ------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def _check(row: View) -> None:
        for key, pattern, what in (
            ("unix_user", _USER, "Unix account"), ("identity", _SECRET, "name of a secret"),
            ("root", _ROOT, "absolute path without blanks"), ("native_account", _NATIVE, "Slurm account"), ("qos", _NATIVE, "QOS"),
        ):  # fmt: skip
            if not pattern.match(row[key]) or ".." in row[key].split("/") or len(row[key]) > 80:
                raise InvalidInput("site_account.malformed", f"{row[key]!r} is no {what}", hint="see `tide site-account add --help`")
        if row["kind"] not in KINDS:
            raise InvalidInput("site_account.malformed", f"{row['kind']!r} is neither pool nor dedicated")
        if row["unix_user"] == "root":
            raise InvalidInput("site_account.root", "nothing runs as root at a centre", hint="give an ordinary account")

    async def _clusters_of(self, actor: Actor) -> list[str] | None:
        """None: all. A provider's organisation bears the provider's name in the network file."""
        if actor.is_operator:
            return None
        network = await self.picture.network()
        if network is None:
            return []
        return [c.name for c in network.clusters if (s := network.site_of(c.name)) is not None and s.provider == actor.org]

    async def _cleaned(self, id_: int) -> None:
        """Remove what the last customer left, where nobody has the account now. Conflict where it is not idle."""
        async with self.ctx.lock(f"site_account:{id_}"):  # a slow removal must not go on after the next customer came
            await self._clean(id_)

    async def _clean(self, id_: int) -> None:
        def look(conn: Connection) -> Row:
            row = site_accounts.get(conn, id_)
            self._may_change_hands(conn, row, self.ctx.now())
            return row

        row = await self.ctx.store.read(look)
        if not row["dirty"]:
            return
        clean = getattr(self.ctx.connectors.get(row["cluster"]), "clean", None)
        try:
            if clean is None:
                raise SiteUnsure(f"{row['cluster']} is not connected")
            await clean(row["unix_user"])
        except SiteRefused as e:
            raise Conflict("site_account.busy", e.message, hint="wait until they have ended, or cancel them there") from None
        except (SiteUnsure, TimeoutError, OSError, KeyError) as e:
            raise Unreachable("site_account.unclean", f"{_name(row)} could not be cleaned: {e}",
                              hint="it is bound to nobody; try again once it answers") from None  # fmt: skip

        def commit(conn: Connection) -> None:
            now = site_accounts.get(conn, id_, lock=True)
            self._may_change_hands(conn, now, self.ctx.now())
            site_accounts.update_row(conn, id_, dirty=False)
            site_data.forget_root(conn, row["cluster"], row["unix_user"])
            self._event(conn, now, "cleaned", {})

        await self.ctx.write(commit)

    def _may_change_hands(self, conn: Connection, row: Row, now: int) -> None:
        binding = site_accounts.payer(conn, row["id"], now)
        if binding is not None:
            raise Conflict("site_account.bound", f"{_name(row)} is bound to {binding['org']}",
                           hint="release it first: `tide site-account unbind`")  # fmt: skip
        self._idle(conn, row)

    @staticmethod
    def _idle(conn: Connection, row: Row) -> None:
        live, unfetched = site_accounts.busy(conn, row["id"])
        if live or unfetched:
            what = f"{live} attempts run or wait there" if live else f"outputs of {unfetched} attempts are still there"
            raise Conflict("site_account.busy", f"{_name(row)}: {what}", hint="wait until they have ended and are fetched, or cancel them",
                           details={"live": live, "unfetched": unfetched})  # fmt: skip

    async def _connect(self) -> None:
        if self.on_network is not None:
            await self.on_network()

    async def _one(self, actor: Actor, id_: int) -> View:
        now = self.ctx.now()

        def read(conn: Connection) -> tuple[Row, Row | None, int]:
            return site_accounts.get(conn, id_), site_accounts.payer(conn, id_, now), site_accounts.busy(conn, id_)[0]

        row, binding, live = await self.ctx.store.read(read)
        return self._view(row, binding, live, actor)

    def _event(self, conn: Connection, row: Row, what: str, body: View) -> None:
        told = {"user": row["unix_user"], **{k: v for k, v in body.items() if v is not None}}
        events.append(conn, kind=f"site_account.{what}", at=self.ctx.now(), cluster=row["cluster"], body=told)

    def _view(self, row: Row, binding: Row | None, live: int, actor: Actor) -> View:
        state = "retired" if row["retired_at"] is not None else "bound" if binding is not None else "dirty" if row["dirty"] else "free"
        view: View = {
            "id": show("acct", row["id"]), "cluster": row["cluster"], "user": row["unix_user"], "uid": row["uid"],
            "root": row["root"], "account": row["native_account"], "qos": row["qos"], "kind": row["kind"], "state": state,
            "trouble": access.troubles(self.ctx, row["cluster"]).get(row["unix_user"], ""), "live_attempts": live,
            "created_at": views.when(row["created_at"]), "retired_at": views.when(row["retired_at"]),
        }  # fmt: skip
        if actor.is_operator:
            view |= {"identity": row["identity"], "binding": None if binding is None else _binding(binding)}
        return view


def _binding(b: Row) -> View:
    return {
        "org": b["org"], "project": b["project"], "valid_from": views.when(b["valid_from"]),
        "valid_until": views.when(b["valid_until"]), "bound_by": b["bound_by"], "released_by": b["released_by"] or None,
    }  # fmt: skip


def _name(row: Row) -> str:
    return f"{row['unix_user']} at {row['cluster']}"


def _overlap(a: str, b: str) -> bool:
    return f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/")

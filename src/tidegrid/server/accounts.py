"""Organisations, projects, users and tokens, on behalf of an actor.

A stranger's organisation is NotFound, word for word as one that does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tidegrid.domain import ids
from tidegrid.domain.actor import Actor, Permission, may, may_give_role, narrowed, sees
from tidegrid.domain.clock import SECOND
from tidegrid.domain.errors import Forbidden, NotFound
from tidegrid.server.fields import iso
from tidegrid.server.ports import Platform
from tidegrid.store import orgs as rows
from tidegrid.store.scope import Scope

if TYPE_CHECKING:
    from tidegrid.server.bodies import TokenBody

View = dict[str, Any]
Row = Mapping[str, Any]
DEFAULT_PROJECT = "default"


async def find_actor(platform: Platform, digest: str) -> Actor | None:
    """Whose token has this SHA-256; None where there is none that is valid now."""
    now = platform.now()
    row = await platform.store.read(lambda conn: rows.find_token(conn, digest))
    if row is None or row["revoked_at"] is not None or (row["expires_at"] is not None and row["expires_at"] <= now):
        return None
    return Actor(
        org_id=row["org_id"],
        user_id=row["user_id"],
        org=row["org"],
        user=row["user"],
        role=row["role"],
        scopes=frozenset(row["scopes"].split()),
    )


def _org(conn: Any, actor: Actor, name: str) -> Row:
    row: Row | None = rows.get_org(conn, name)
    if row is None or not sees(actor, row["id"]):
        raise NotFound("org.unknown", f"there is no organisation {name!r}", hint="see `tide org list`")
    return row


async def orgs(platform: Platform, actor: Actor) -> list[View]:
    found = await platform.store.read(lambda conn: rows.list_orgs(conn, Scope(actor.scope_org)))
    return [_view("org", r) for r in found]


async def create_org(platform: Platform, actor: Actor, name: str) -> View:
    def work(conn: Any) -> View:
        at, org_id = platform.now(), platform.ids.new()
        rows.create_org(conn, id=org_id, name=name, at=at)
        rows.create_project(conn, id=platform.ids.new(), org_id=org_id, name=DEFAULT_PROJECT, at=at)
        return _view("org", {"id": org_id, "name": name, "created_at": at})

    view: View = await platform.store.write(work)
    return view


async def projects(platform: Platform, actor: Actor, org: str) -> list[View]:
    found = await platform.store.read(lambda conn: rows.list_projects(conn, _org(conn, actor, org)["id"]))
    return [_view("prj", r) for r in found]


async def create_project(platform: Platform, actor: Actor, org: str, name: str) -> View:
    def work(conn: Any) -> View:
        org_id = _org(conn, actor, org)["id"]
        row = {"id": platform.ids.new(), "name": name, "created_at": platform.now()}
        rows.create_project(conn, id=row["id"], org_id=org_id, name=name, at=row["created_at"])
        return _view("prj", row)

    view: View = await platform.store.write(work)
    return view


async def users(platform: Platform, actor: Actor, org: str) -> list[View]:
    found = await platform.store.read(lambda conn: rows.list_users(conn, _org(conn, actor, org)["id"]))
    return [_view("usr", r) | {"role": r["role"]} for r in found]


async def create_user(platform: Platform, actor: Actor, org: str, name: str, role: str) -> View:
    def work(conn: Any) -> View:
        org_id = _org(conn, actor, org)["id"]
        if not may_give_role(actor, role):
            raise Forbidden("role.too_wide", f"you cannot give the role {role}: it holds more than yours")
        row = {"id": platform.ids.new(), "name": name, "role": role, "created_at": platform.now()}
        rows.create_user(conn, id=row["id"], org_id=org_id, name=name, role=role, at=row["created_at"])
        return _view("usr", row) | {"role": role}

    view: View = await platform.store.write(work)
    return view


async def tokens(platform: Platform, actor: Actor, org: str) -> list[View]:
    def work(conn: Any) -> list[View]:
        found = rows.list_tokens(conn, _org(conn, actor, org)["id"])
        everyone = may(actor, Permission.ACCOUNTS_READ)
        return [_token_view(r) for r in found if everyone or r["user_id"] == actor.user_id]

    views: list[View] = await platform.store.read(work)
    return views


async def create_token(platform: Platform, actor: Actor, org: str, digest: str, body: TokenBody) -> View:
    """body.user: by default the actor, who then must be of `org`."""

    def work(conn: Any) -> View:
        org_id = _org(conn, actor, org)["id"]
        name = body.user or actor.user
        user = rows.get_user(conn, org_id, name)
        own = user is not None and user["id"] == actor.user_id
        if not own and not may(actor, Permission.ACCOUNTS_WRITE):
            raise Forbidden("token.other", "you can make tokens for yourself only", hint="ask a project admin")
        if user is None:
            raise NotFound("user.unknown", f"{org} has no user {name!r}", hint="create the user first")
        scopes = narrowed(actor, user["role"], body.scopes)
        if actor.scopes and not scopes:
            scopes = actor.scopes  # a narrow token makes no wide one, also not when roles grow later
        at = platform.now()
        expires = None if body.expires_in_s is None else at + body.expires_in_s * SECOND
        row = {
            "id": platform.ids.new(), "org_id": org_id, "user_id": user["id"], "hash": digest, "label": body.label,
            "scopes": " ".join(sorted(scopes)), "created_at": at, "expires_at": expires, "revoked_at": None,
        }  # fmt: skip
        rows.create_token(conn, **{k: v for k, v in row.items() if k not in ("created_at", "revoked_at")}, at=at)
        return _token_view({**row, "user": name})

    view: View = await platform.store.write(work)
    return view


async def revoke_token(platform: Platform, actor: Actor, org: str, token: str) -> None:
    """One's own, or with accounts:write anybody's of the organisation whose role holds no more than one's own."""
    token_id = ids.parse("tok", token)

    def work(conn: Any) -> None:
        org_id = _org(conn, actor, org)["id"]
        row = next((r for r in rows.list_tokens(conn, org_id) if r["id"] == token_id), None)
        own = row is not None and row["user_id"] == actor.user_id
        if row is None or not (own or may(actor, Permission.ACCOUNTS_WRITE)):
            raise NotFound("token.unknown_id", f"{org} has no token {token}", hint="see `tide token list`")
        owner = next(u for u in rows.list_users(conn, org_id) if u["id"] == row["user_id"])
        if not own and not may_give_role(actor, owner["role"]):
            raise Forbidden("token.other", f"{token} belongs to {owner['name']}, whose role holds more than yours")
        rows.revoke_token(conn, id=token_id, at=platform.now(), scope=Scope(org_id))

    await platform.store.write(work)


def _view(prefix: str, row: Row) -> View:
    return {"id": ids.show(prefix, row["id"]), "name": row["name"], "created_at": iso(row["created_at"])}


def _token_view(row: Row) -> View:
    return {
        "id": ids.show("tok", row["id"]),
        "user": row["user"],
        "label": row["label"],
        "scopes": row["scopes"].split(),
        "created_at": iso(row["created_at"]),
        "expires_at": iso(row["expires_at"]),
        "revoked_at": iso(row["revoked_at"]),
    }

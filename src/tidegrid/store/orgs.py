"""Organisations, their projects and users, and the tokens they come with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from tidegrid.domain.errors import Conflict, NotFound
from tidegrid.store import upsert
from tidegrid.store.schema import orgs, projects, tokens, users
from tidegrid.store.scope import Scope

Row = Mapping[Any, Any]


def names(conn: Connection) -> dict[int, str]:
    """Of all organisations, by id."""
    return {int(r.id): str(r.name) for r in conn.execute(select(orgs.c.id, orgs.c.name))}


def create_org(conn: Connection, *, id: int, name: str, at: int) -> None:
    """Conflict org.exists where the name is taken."""
    if not upsert.added(conn, orgs, {"id": id, "name": name, "created_at": at}):
        raise Conflict("org.exists", f"there is already an organisation {name!r}")


def create_project(conn: Connection, *, id: int, org_id: int, name: str, at: int) -> None:
    """Conflict project.exists where the organisation has one of that name."""
    if not upsert.added(conn, projects, {"id": id, "org_id": org_id, "name": name, "created_at": at}):
        raise Conflict("project.exists", f"the organisation already has a project {name!r}")


def create_user(conn: Connection, *, id: int, org_id: int, name: str, role: str, at: int) -> None:
    """Conflict user.exists where the organisation has one of that name. role: domain.actor.Role."""
    row = {"id": id, "org_id": org_id, "name": name, "role": role, "created_at": at}
    if not upsert.added(conn, users, row):
        raise Conflict("user.exists", f"the organisation already has a user {name!r}")


def create_token(
    conn: Connection,
    *,
    id: int,
    org_id: int,
    user_id: int,
    hash: str,
    at: int,
    label: str = "",
    scopes: str = "",
    expires_at: int | None = None,
) -> None:
    """hash: SHA-256 of the secret, in hex; the secret itself is never stored. scopes: space separated."""
    row = {
        "id": id, "org_id": org_id, "user_id": user_id, "hash": hash, "label": label, "scopes": scopes,
        "created_at": at, "expires_at": expires_at,
    }  # fmt: skip
    if not upsert.added(conn, tokens, row):
        raise Conflict("token.exists", "there is already a token with this secret", hint="make another one")


def get_org(conn: Connection, name: str) -> Row | None:
    return conn.execute(select(orgs).where(orgs.c.name == name)).mappings().first()


def org_by_id(conn: Connection, org_id: int) -> Row | None:
    return conn.execute(select(orgs).where(orgs.c.id == org_id)).mappings().first()


def get_project(conn: Connection, org_id: int, name: str) -> Row | None:
    query = select(projects).where(projects.c.org_id == org_id, projects.c.name == name)
    return conn.execute(query).mappings().first()


def get_user(conn: Connection, org_id: int, name: str) -> Row | None:
    return conn.execute(select(users).where(users.c.org_id == org_id, users.c.name == name)).mappings().first()


def list_orgs(conn: Connection, scope: Scope = Scope()) -> list[Row]:
    """The organisations that exist for the scope, by name."""
    query = select(orgs).order_by(orgs.c.name)
    if scope.org_id is not None:
        query = query.where(orgs.c.id == scope.org_id)
    return list(conn.execute(query).mappings())


def list_projects(conn: Connection, org_id: int) -> list[Row]:
    return list(conn.execute(select(projects).where(projects.c.org_id == org_id).order_by(projects.c.name)).mappings())


def list_users(conn: Connection, org_id: int) -> list[Row]:
    return list(conn.execute(select(users).where(users.c.org_id == org_id).order_by(users.c.name)).mappings())


def list_tokens(conn: Connection, org_id: int) -> list[Row]:
    """The organisation's tokens, oldest first, with the name of each one's `user`; without their hashes."""
    columns = [c for c in tokens.c if c.name != "hash"]
    query = (
        select(*columns, users.c.name.label("user"))
        .join(users, users.c.id == tokens.c.user_id)
        .where(tokens.c.org_id == org_id)
        .order_by(tokens.c.id)
    )
    return list(conn.execute(query).mappings())


def find_token(conn: Connection, hash: str) -> Row | None:
    """The token with this SHA-256 (hex), valid or not, with the names of its `org` and `user` and the user's `role`."""
    query = (
        select(
            tokens.c.id, tokens.c.org_id, tokens.c.user_id, tokens.c.scopes, tokens.c.expires_at, tokens.c.revoked_at,
            orgs.c.name.label("org"), users.c.name.label("user"), users.c.role,
        )
        .join(users, users.c.id == tokens.c.user_id)
        .join(orgs, orgs.c.id == tokens.c.org_id)
        .where(tokens.c.hash == hash)
    )  # fmt: skip
    return conn.execute(query).mappings().first()


def revoke_token(conn: Connection, *, id: int, at: int, scope: Scope = Scope()) -> None:
    """From now on the token is none; a second time changes nothing. NotFound token.unknown_id outside the scope."""
    known = conn.execute(select(tokens.c.revoked_at).where(tokens.c.id == id, scope.filter(tokens))).first()
    if known is None:
        raise NotFound("token.unknown_id", "there is no such token", hint="see `tide token list`")
    if known[0] is None:
        conn.execute(update(tokens).where(tokens.c.id == id).values(revoked_at=at))

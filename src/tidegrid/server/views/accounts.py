"""Organisations, projects, users and tokens, as they go out."""

from __future__ import annotations

from pydantic import Field

from tidegrid.server.views.base import Time, View


class Org(View):
    id: str
    name: str
    created_at: Time | None = None


class OrgList(View):
    items: list[Org]


class Project(View):
    id: str
    name: str
    created_at: Time | None = None


class ProjectList(View):
    items: list[Project]


class User(View):
    id: str
    name: str
    role: str
    created_at: Time | None = None


class UserList(View):
    items: list[User]


class Token(View):
    """A token without its secret, which is shown once, when it is made."""

    id: str
    user: str
    label: str = ""
    scopes: list[str] = []
    created_at: Time | None = None
    expires_at: Time | None = None
    revoked_at: Time | None = None


class TokenList(View):
    items: list[Token]


class NewToken(Token):
    token: str = Field(description="the secret; it cannot be read again")

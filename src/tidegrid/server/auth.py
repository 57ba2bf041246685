"""Tokens and policies. A route's policy is the type of its `actor` parameter: `actor: ReadsJobs`.

A token is sent as `Authorization: Bearer tide_…`; only its SHA-256 is known here. Nothing of it is logged.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from tidegrid.domain.actor import Actor, Permission, require
from tidegrid.domain.errors import InvalidInput, Unauthenticated
from tidegrid.server import accounts
from tidegrid.server.ports import Platform

PREFIX = "tide_"
_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="A token made with `tide token create`.")
_MAX = 512


def new_secret() -> tuple[str, str]:
    """(secret to show once, SHA-256 to store): 256 random bits."""
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, digest(secret)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def platform_of(request: Request) -> Any:
    """The platform behind this application; typed as `Platform` where routes ask for it."""
    return request.app.state.platform


Network = Annotated[Platform, Depends(platform_of)]


async def authenticate(platform: Platform, token: str) -> Actor:
    """The actor of a token; Unauthenticated (token.unknown) for one that is unknown, expired or revoked."""
    actor = await accounts.find_actor(platform, digest(token)) if 0 < len(token) <= _MAX else None
    if actor is None:
        raise Unauthenticated("token.unknown", "the token is unknown, expired or revoked",
                              hint="make one with `tide token create`")  # fmt: skip
    return actor


class Allow:
    """The dependency that lets a caller with `permission` through, and nobody else."""

    def __init__(self, permission: Permission | None) -> None:
        self.permission = permission

    async def __call__(
        self,
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Actor:
        if credentials is None:
            raise Unauthenticated("token.missing", "this needs a token",
                                  hint="send `Authorization: Bearer <token>`")  # fmt: skip
        actor = await authenticate(platform_of(request), credentials.credentials)
        if self.permission is not None:
            require(actor, self.permission)
        _refuse_unknown_query(request)
        return actor


def _refuse_unknown_query(request: Request) -> None:
    """A misspelt filter must not show everything instead, nor one of two values of a filter that takes one be passed over."""
    known = {p.alias: "list[" in str(p.field_info.annotation) for p in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if known.get(name) is False and len(request.query_params.getlist(name)) > 1:
            raise InvalidInput("request.invalid", f"the query parameter {name!r} is given more than once", hint="give it once")
        if name not in known:
            raise InvalidInput("request.invalid", f"unknown query parameter {name!r}",
                               hint="known here: " + (", ".join(sorted(known)) or "none"))  # fmt: skip


Anyone = Annotated[Actor, Depends(Allow(None))]  # who has a valid token
ReadsJobs = Annotated[Actor, Depends(Allow(Permission.JOBS_READ))]
WritesJobs = Annotated[Actor, Depends(Allow(Permission.JOBS_WRITE))]
ReadsCatalog = Annotated[Actor, Depends(Allow(Permission.CATALOG_READ))]
WritesCatalog = Annotated[Actor, Depends(Allow(Permission.CATALOG_WRITE))]
ReadsEvents = Annotated[Actor, Depends(Allow(Permission.EVENTS_READ))]
ReadsUsage = Annotated[Actor, Depends(Allow(Permission.USAGE_READ))]
OwnTokens = Annotated[Actor, Depends(Allow(Permission.TOKENS_OWN))]
ReadsAccounts = Annotated[Actor, Depends(Allow(Permission.ACCOUNTS_READ))]
WritesAccounts = Annotated[Actor, Depends(Allow(Permission.ACCOUNTS_WRITE))]
ReadsNetwork = Annotated[Actor, Depends(Allow(Permission.NETWORK_READ))]
WritesNetwork = Annotated[Actor, Depends(Allow(Permission.NETWORK_WRITE))]
WritesClusters = Annotated[Actor, Depends(Allow(Permission.CLUSTERS_WRITE))]
WritesOrgs = Annotated[Actor, Depends(Allow(Permission.ORGS_WRITE))]
WritesMoney = Annotated[Actor, Depends(Allow(Permission.MONEY_WRITE))]
ReadsJournal = Annotated[Actor, Depends(Allow(Permission.JOURNAL_READ))]
ReadsSites = Annotated[Actor, Depends(Allow(Permission.SITES_READ))]
WritesSites = Annotated[Actor, Depends(Allow(Permission.SITES_WRITE))]

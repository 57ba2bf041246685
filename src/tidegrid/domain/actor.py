"""Who asks, and what that one may do: roles, permissions, token scopes. Pure checks; every one raises or returns a bool.

A role grants permissions; a token's scopes can only narrow them. Only operators look beyond their own organisation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tidegrid.domain.errors import Forbidden, InvalidInput, NotFound


class Permission(StrEnum):
    """What a route asks for; also the words a token's scopes are written in."""

    JOBS_READ = "jobs:read"  # jobs, their logs and outputs
    JOBS_WRITE = "jobs:write"  # submit, cancel, hold, release, upload
    CATALOG_READ = "catalog:read"  # applications, clusters
    CATALOG_WRITE = "catalog:write"  # publish applications
    EVENTS_READ = "events:read"
    USAGE_READ = "usage:read"  # usage, balance
    TOKENS_OWN = "tokens:own"  # make, list and revoke one's own tokens
    ACCOUNTS_READ = "accounts:read"  # projects, users and tokens of the organisation
    ACCOUNTS_WRITE = "accounts:write"
    NETWORK_READ = "network:read"  # the network document, with what capacity costs
    NETWORK_WRITE = "network:write"
    CLUSTERS_WRITE = "clusters:write"  # drain, resume, declare dead
    ORGS_WRITE = "orgs:write"
    MONEY_WRITE = "money:write"  # deposits
    JOURNAL_READ = "journal:read"
    SITES_READ = "sites:read"  # Unix accounts at centres: an operator all, a provider those at its own
    SITES_WRITE = "sites:write"


class Role(StrEnum):
    USER = "user"
    PROJECT_ADMIN = "project_admin"
    PROVIDER = "provider"
    OPERATOR = "operator"
    AUDITOR = "auditor"


_P = Permission
_LOOK = frozenset({_P.JOBS_READ, _P.CATALOG_READ, _P.EVENTS_READ, _P.USAGE_READ, _P.TOKENS_OWN})

GRANTS: dict[Role, frozenset[Permission]] = {
    Role.USER: _LOOK | {_P.JOBS_WRITE},
    Role.PROJECT_ADMIN: _LOOK | {_P.JOBS_WRITE, _P.ACCOUNTS_READ, _P.ACCOUNTS_WRITE},
    Role.PROVIDER: frozenset({_P.CATALOG_READ, _P.TOKENS_OWN, _P.SITES_READ}),
    Role.OPERATOR: frozenset(Permission),
    Role.AUDITOR: _LOOK | {_P.ACCOUNTS_READ},
}


@dataclass(frozen=True, slots=True)
class Actor:
    """An authenticated caller. org, user: names; scopes: the token's, empty for all that the role grants."""

    org_id: int
    user_id: int
    org: str
    user: str
    role: str = Role.USER
    scopes: frozenset[str] = frozenset()

    @property
    def is_operator(self) -> bool:
        """Sees every organisation."""
        return self.role == Role.OPERATOR

    @property
    def scope_org(self) -> int | None:
        """What a `store.scope.Scope` takes: the organisation, or None for all of them."""
        return None if self.is_operator else self.org_id

    @property
    def permissions(self) -> frozenset[Permission]:
        """What role and scopes leave."""
        granted = GRANTS.get(Role(self.role), frozenset()) if self.role in _ROLES else frozenset()
        return granted if not self.scopes else frozenset(p for p in granted if p.value in self.scopes)


_ROLES = frozenset(r.value for r in Role)


def may(actor: Actor, permission: Permission) -> bool:
    return permission in actor.permissions


def require(actor: Actor, permission: Permission) -> None:
    """Forbidden (auth.forbidden) where role or scopes do not give `permission`."""
    if may(actor, permission):
        return
    granted = permission in GRANTS.get(Role(actor.role), frozenset()) if actor.role in _ROLES else False
    raise Forbidden(
        "auth.forbidden",
        f"{actor.user} of {actor.org} may not do this: {permission.value} is missing",
        hint="use a token with that scope" if granted else f"the role {actor.role} does not include it; ask an administrator",
        details={"permission": permission.value, "role": str(actor.role)},
    )


def sees(actor: Actor, org_id: int) -> bool:
    """Whether rows of `org_id` exist for `actor` at all."""
    return actor.is_operator or actor.org_id == org_id


def require_org(actor: Actor, org_id: int, what: str) -> None:
    """NotFound where the row belongs to another organisation: its existence is not told."""
    if not sees(actor, org_id):
        raise NotFound("not_found", f"there is no {what}")


def may_change_job(actor: Actor, org_id: int, user_id: int) -> bool:
    """A user changes the jobs of its own; a project admin those of its organisation; an operator all."""
    if not sees(actor, org_id) or not may(actor, Permission.JOBS_WRITE):
        return False
    return actor.role != Role.USER or actor.user_id == user_id


def require_change_job(actor: Actor, org_id: int, user_id: int, shown: str) -> None:
    """NotFound for another organisation's job, Forbidden (job.not_yours) for a colleague's."""
    require_org(actor, org_id, f"job {shown}")
    if not may_change_job(actor, org_id, user_id):
        raise Forbidden("job.not_yours", f"{shown} belongs to another user", hint="ask its owner or a project admin")


def may_give_role(actor: Actor, role: str) -> bool:
    """Nobody gives a role that holds more than the giver's own."""
    return role in _ROLES and GRANTS[Role(role)] <= actor.permissions


def narrowed(actor: Actor, role: str, scopes: Iterable[str]) -> frozenset[str]:
    """Scopes for a new token of a user with `role`, made by `actor`: never more than the maker has.

    InvalidInput (token.scope) for an unknown scope, Forbidden (token.too_wide) for one the maker lacks.
    """
    wanted = frozenset(scopes)
    known = {p.value for p in Permission}
    if unknown := sorted(wanted - known):
        raise InvalidInput("token.scope", f"unknown scope {unknown[0]!r}", hint="scopes: " + ", ".join(sorted(known)))
    if role not in _ROLES:
        raise InvalidInput("role.unknown", f"unknown role {role!r}", hint="roles: " + ", ".join(sorted(_ROLES)))
    theirs = GRANTS[Role(role)]
    asked = frozenset(p for p in theirs if not wanted or p.value in wanted)
    if missing := sorted(p.value for p in asked - actor.permissions):
        raise Forbidden("token.too_wide", f"a token cannot be given {missing[0]}: you do not have it",
                        hint="name narrower scopes")  # fmt: skip
    if wanted and not asked:
        raise InvalidInput("token.scope", f"the role {role} has none of these scopes")
    return wanted

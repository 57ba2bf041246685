"""Organisations, projects, users and tokens. A stranger's organisation is not found, whether it exists or not."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi import Path as PathParam

from tidegrid.server import accounts
from tidegrid.server.auth import Network, OwnTokens, ReadsAccounts, WritesAccounts, WritesOrgs, new_secret
from tidegrid.server.bodies import OrgBody, ProjectBody, TokenBody, UserBody
from tidegrid.server.fields import TokenId
from tidegrid.server.params import OrgName
from tidegrid.server.views import accounts as views

router = APIRouter(tags=["accounts"])


@router.get("/orgs", response_model=views.OrgList)
async def orgs(platform: Network, actor: ReadsAccounts) -> Any:
    """Organisations one sees: one's own; for operators all."""
    return {"items": await accounts.orgs(platform, actor)}


@router.post("/orgs", status_code=201, response_model=views.Org)
async def create_org(body: OrgBody, platform: Network, actor: WritesOrgs) -> Any:
    """A new organisation with a project `default` and an empty account."""
    return await accounts.create_org(platform, actor, body.name)


@router.get("/orgs/{org}/projects", response_model=views.ProjectList)
async def projects(org: OrgName, platform: Network, actor: ReadsAccounts) -> Any:
    return {"items": await accounts.projects(platform, actor, org)}


@router.post("/orgs/{org}/projects", status_code=201, response_model=views.Project)
async def create_project(org: OrgName, body: ProjectBody, platform: Network, actor: WritesAccounts) -> Any:
    return await accounts.create_project(platform, actor, org, body.name)


@router.get("/orgs/{org}/users", response_model=views.UserList)
async def users(org: OrgName, platform: Network, actor: ReadsAccounts) -> Any:
    return {"items": await accounts.users(platform, actor, org)}


@router.post("/orgs/{org}/users", status_code=201, response_model=views.User)
async def create_user(org: OrgName, body: UserBody, platform: Network, actor: WritesAccounts) -> Any:
    """A new user; its role holds no more than one's own."""
    return await accounts.create_user(platform, actor, org, body.name, body.role)


@router.get("/orgs/{org}/tokens", response_model=views.TokenList)
async def tokens(org: OrgName, platform: Network, actor: OwnTokens) -> Any:
    """Tokens: one's own, or with accounts:read the organisation's. Never their secrets."""
    return {"items": await accounts.tokens(platform, actor, org)}


@router.post("/orgs/{org}/tokens", status_code=201, response_model=views.NewToken)
async def create_token(org: OrgName, body: TokenBody, platform: Network, actor: OwnTokens) -> Any:
    """A new token, for oneself or with accounts:write for another; it holds no more than one's own.

    The secret is in this answer and nowhere else.
    """
    secret, digest = new_secret()
    view = await accounts.create_token(platform, actor, org, digest, body)
    return {**view, "token": secret}


@router.delete("/orgs/{org}/tokens/{token}", status_code=204, response_class=Response)
async def revoke_token(
    org: OrgName, token: Annotated[TokenId, PathParam()], platform: Network, actor: OwnTokens
) -> Response:
    """Revoke a token, at once and for ever."""
    await accounts.revoke_token(platform, actor, org, token)
    return Response(status_code=204)

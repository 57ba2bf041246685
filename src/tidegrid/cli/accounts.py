"""org, project, user, token: who may do what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegrid.cli import context
from tidegrid.cli.context import Json
from tidegrid.cli.values import duration

if TYPE_CHECKING:
    from tidegrid.client import Tide

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.", show_default=False)]
Org = Annotated[str, typer.Option("--org", help="The organisation; by default one's own.", metavar="NAME", show_default=False)]


def register(app: typer.Typer) -> None:
    groups: tuple[tuple[str, str, dict[str, Callable[..., None]]], ...] = (
        ("org", "Organisations.", {"list": org_list, "create": org_create}),
        ("project", "Projects of an organisation.", {"list": project_list, "create": project_create}),
        ("user", "Users of an organisation.", {"list": user_list, "create": user_create}),
        ("token", "Tokens: what programs identify themselves with.",
         {"list": token_list, "create": token_create, "revoke": token_revoke}),
    )  # fmt: skip
    for name, help, verbs in groups:
        group = typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None)
        for verb, function in verbs.items():
            group.command(verb)(function)
        app.add_typer(group, name=name)


def _own(tide: Tide, org: str) -> str:
    return org or str(tide.me()["org"])


def _list(call: Callable[[Tide], list[dict[str, Any]]], columns: dict[str, str], json: bool) -> None:
    with context.connected() as tide:
        rows = call(tide)
    if json:
        context.emit(rows)
        return
    from tidegrid.cli import show

    def cell(row: dict[str, Any], key: str) -> Any:
        value = row.get(key)
        if key.endswith("_at"):
            return show.moment(value)
        return " ".join(value) if isinstance(value, list) else value

    show.table(list(columns), [[cell(r, k) for k in columns.values()] for r in rows], empty="none")


def _made(view: dict[str, Any], json: bool, text: str) -> None:
    context.emit(view) if json else print(text)


def org_list(json: Json = False) -> None:
    """List organisations one sees."""
    _list(lambda t: t.orgs(), {"NAME": "name", "ID": "id", "CREATED": "created_at"}, json)


def org_create(name: Name, json: Json = False) -> None:
    """Make an organisation (operators)."""
    with context.connected() as tide:
        _made(tide.create_org(name), json, f"organisation {name}")


def project_list(org: Org = "", json: Json = False) -> None:
    """List projects."""
    _list(lambda t: t.projects(_own(t, org)), {"NAME": "name", "ID": "id", "CREATED": "created_at"}, json)


def project_create(name: Name, org: Org = "", json: Json = False) -> None:
    """Make a project."""
    with context.connected() as tide:
        _made(tide.create_project(_own(tide, org), name), json, f"project {name}")


def user_list(org: Org = "", json: Json = False) -> None:
    """List users."""
    _list(lambda t: t.users(_own(t, org)), {"NAME": "name", "ROLE": "role", "ID": "id", "CREATED": "created_at"}, json)


def user_create(
    name: Name,
    role: Annotated[str, typer.Option(help="user, project_admin, provider, operator or auditor.", metavar="ROLE")] = "user",
    org: Org = "",
    json: Json = False,
) -> None:
    """Make a user."""
    with context.connected() as tide:
        _made(tide.create_user(_own(tide, org), name, role), json, f"user {name} ({role})")


def token_list(org: Org = "", json: Json = False) -> None:
    """List tokens, never their secrets."""
    columns = {"TOKEN": "id", "USER": "user", "LABEL": "label", "SCOPES": "scopes", "CREATED": "created_at",
               "EXPIRES": "expires_at", "REVOKED": "revoked_at"}  # fmt: skip
    _list(lambda t: t.tokens(_own(t, org)), columns, json)


def token_create(
    user: Annotated[str, typer.Option(help="For this user; by default oneself.", metavar="NAME", show_default=False)] = "",
    label: Annotated[str, typer.Option(help="What it is for.", metavar="TEXT", show_default=False)] = "",
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Only for this, as jobs:read. Repeatable.", metavar="SCOPE", show_default=False)] = None,
    expires: Annotated[str, typer.Option(help="Valid for: 12h, 30d.", metavar="TIME", show_default=False)] = "",
    org: Org = "",
    json: Json = False,
) -> None:
    """Make a token. Its secret is printed once and can never be read again."""
    body: dict[str, Any] = {"user": user, "label": label, "scopes": list(scope or ())}
    if expires:
        body["expires_in_s"] = duration(expires)
    with context.connected() as tide:
        made = tide.create_token(_own(tide, org), **{k: v for k, v in body.items() if v})
    if not json:
        context.note(f"{made['id']} of {made['user']}; the secret, shown only now:")
    _made(made, json, str(made["token"]))


def token_revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="A token's id: tok-…", show_default=False)],
    org: Org = "",
    json: Json = False,
) -> None:
    """Revoke a token, at once and for ever."""
    with context.connected() as tide:
        tide.revoke_token(_own(tide, org), token)
    _made({"revoked": token}, json, f"{token} revoked")

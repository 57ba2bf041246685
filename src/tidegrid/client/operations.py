"""Money and accounts: what operators and administrators do."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

from tidegrid.client.calls import Calls, View, quoted


class Operations(Calls):
    """Usage, balances, organisations, projects, users, tokens."""

    # Money -------------------------------------------------------------------------------------------------------------

    def usage(
        self, *, org: str | None = None, job: str | None = None, page: int = 200, corrections: bool = False
    ) -> Iterator[View]:
        """Journalled use, newest first. corrections: with the revisions that were reversed."""
        after: str | None = None
        while True:
            params = {"org": org, "job": job, "limit": page, "after": after,
                      **({"corrections": "true"} if corrections else {})}  # fmt: skip
            found = self._view("GET", "/usage", params=params)
            yield from found["items"]
            after = found.get("next")
            if after is None:
                return

    def usage_reconcile(
        self, cluster: str, *, since: str | None = None, until: str | None = None, limit: int = 1000, correct: bool = False
    ) -> View:
        """What was metered on a cluster against its centre's accounting. since, until: ISO 8601 with a zone, by default the
        last day; correct: first take accounting's word for what was metered without it."""
        params = {"since": since, "until": until, "limit": limit}
        method = "POST" if correct else "GET"
        # a centre's database may take minutes over a long span
        return self._view(method, f"/usage/reconciliation/{quoted(cluster)}", retry=False, params=params, timeout=330.0)

    def balance(self, org: str | None = None) -> View:
        return self._view("GET", "/balance", params={"org": org})

    def deposit(self, org: str, amount: str, *, key: str | None = None) -> View:
        """amount: yuan as decimal text."""
        return self._post("/deposits", {"org": org, "amount": amount}, key or secrets.token_hex(16))

    def journal_check(self) -> View:
        return self._view("GET", "/journal/check")

    # Accounts ----------------------------------------------------------------------------------------------------------

    def orgs(self) -> list[View]:
        return self._items("/orgs")

    def create_org(self, name: str) -> View:
        return self._view("POST", "/orgs", retry=False, json={"name": name})

    def projects(self, org: str) -> list[View]:
        return self._items(f"/orgs/{quoted(org)}/projects")

    def create_project(self, org: str, name: str) -> View:
        return self._view("POST", f"/orgs/{quoted(org)}/projects", retry=False, json={"name": name})

    def users(self, org: str) -> list[View]:
        return self._items(f"/orgs/{quoted(org)}/users")

    def create_user(self, org: str, name: str, role: str = "user") -> View:
        return self._view("POST", f"/orgs/{quoted(org)}/users", retry=False, json={"name": name, "role": role})

    def tokens(self, org: str) -> list[View]:
        return self._items(f"/orgs/{quoted(org)}/tokens")

    def create_token(self, org: str, **body: Any) -> View:
        """The secret is in `token`, and cannot be read again."""
        return self._view("POST", f"/orgs/{quoted(org)}/tokens", retry=False, json=body)

    def revoke_token(self, org: str, token_id: str) -> None:
        self._t.json("DELETE", f"/orgs/{quoted(org)}/tokens/{quoted(token_id)}")

    # Accounts at centres -----------------------------------------------------------------------------------------------

    def site_accounts(self, *, cluster: str | None = None, retired: bool = False) -> list[View]:
        params = {"cluster": cluster, **({"retired": "true"} if retired else {})}
        found: list[View] = self._view("GET", "/site-accounts", params=params)["items"]
        return found

    def add_site_account(self, cluster: str, user: str, *, identity: str, root: str, **more: str) -> View:
        """identity: the name of the server's secret that holds its key. more: account, qos (Slurm's), kind (pool, dedicated)."""
        body = {"cluster": cluster, "user": user, "identity": identity, "root": root, **more}
        return self._view("POST", "/site-accounts", retry=False, json=body)

    def bind_site_account(self, account: str, org: str, *, project: str | None = None, until: str | None = None) -> View:
        """until: ISO 8601 with a zone; None: until it is released."""
        body = {"org": org, "project": project, "until": until}
        return self._view("POST", f"/site-accounts/{quoted(account)}/bindings", retry=False, json=body, timeout=660.0)

    def release_site_account(self, account: str) -> View:
        """Its root is cleaned, which may take minutes."""
        return self._view("POST", f"/site-accounts/{quoted(account)}/release", timeout=660.0)

    def retire_site_account(self, account: str) -> View:
        return self._view("POST", f"/site-accounts/{quoted(account)}/retire", timeout=660.0)

    def site_account_bindings(self, account: str) -> list[View]:
        """Whose it was when, oldest first."""
        return self._items(f"/site-accounts/{quoted(account)}/bindings")

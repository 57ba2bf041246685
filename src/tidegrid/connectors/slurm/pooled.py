"""One Slurm cluster under several Unix accounts: one ssh link, root and spool each, one question to the controller for all.

The cluster's own account asks. Where the controller shows nobody else's jobs (PrivateData=jobs), each account asks for itself.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tidegrid.connectors.contract import Listed, Observation, SiteFiles, SiteRefused, SiteUnsure, SubmitRequest
from tidegrid.connectors.rooted import Known, Owners, RootedFiles, split
from tidegrid.connectors.slurm.commands import PREFIX, Sacct, Squeue, checked
from tidegrid.connectors.slurm.connector import SlurmConnector
from tidegrid.connectors.slurm.shell import Output
from tidegrid.connectors.slurm.statement import Bill
from tidegrid.connectors.statement import Statement
from tidegrid.domain.ids import unb32


@dataclass(frozen=True, slots=True)
class Account:
    """uid: there. Its connector logs in as it and has its root."""

    user: str
    uid: int
    connector: SlurmConnector


class _Queue(Squeue):
    """With the Unix user in front of each line."""

    _FIELDS = f"UserID {Squeue._FIELDS}"
    NAME = 10


class _Accounted(Sacct):
    _FIELDS = f"UID,{Sacct._FIELDS}"
    NAME = 9


class Asking(SlurmConnector):
    """The cluster's own account, which asks for the others too."""

    accounts: Mapping[str, Account] = {}
    known: Known

    @property
    def _users(self) -> str:
        return ",".join(['"$tide_uid"', *(str(a.uid) for a in self.accounts.values())])

    def _squeue(self, name: str = "") -> Squeue:
        return _Queue(name, seconds=self.settings.call, users=self._users)

    def _sacct(self, since: int, until: int = 0, name: str = "") -> Sacct:
        return _Accounted(since, until, name, users=self._users)

    def _bill(self, since: int, until: int) -> Bill:
        return Bill(since, until, users=self._users)

    async def _rows(self, command: Any, answer: Output) -> Any:
        """Rows of jobs that run as their own attempt's account; what others named like them is nobody's."""
        if answer.rc != 0:
            return command.parse(answer)  # it says what is wrong
        lines = [line.partition("|") for line in checked("the controller", answer).splitlines() if line]
        named = [(uid, rest, attempt_named(_name(rest, command.NAME))) for uid, _, rest in lines]
        await self.known.ask(sorted({a for _, _, a in named if a is not None}))
        kept = [rest for uid, rest, attempt in named if attempt is None or self._is_from(attempt, uid)]
        return command.parse(Output(answer.rc, "\n".join(kept), answer.stderr))

    def _is_from(self, attempt: int, uid: str) -> bool:
        owner = self.known.of(attempt)
        if owner is None:
            return True
        if owner in self.accounts:
            return uid.strip() == str(self.accounts[owner].uid)
        return not owner and uid.strip() not in {str(a.uid) for a in self.accounts.values()}


def _name(rest: str, column: int) -> str:
    cells = rest.split("|", column + 1)
    return cells[column] if len(cells) > column else ""


def attempt_named(name: str) -> int | None:
    """The attempt behind a native name; None for any other job."""
    try:
        return unb32(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    except ValueError:
        return None


class PooledSlurm:
    """`main` asks; each account submits, cancels and holds files for itself."""

    def __init__(self, main: Asking, accounts: Sequence[Account], owners: Owners) -> None:
        self.cluster, self.main = main.cluster, main
        self.accounts = {a.user: a for a in accounts}
        self.known = main.known = Known(owners)
        main.accounts = self.accounts
        self.files: SiteFiles = RootedFiles(main.files, {a.user: a.connector.files for a in accounts}, self.known)

    def __getattr__(self, name: str) -> Any:
        """What else there is to know of the cluster."""
        if name == "main":
            raise AttributeError(name)
        return getattr(self.main, name)

    async def observe(self, cursor: str) -> Observation:
        by = _unpacked(cursor)
        seen = await self.main.observe(by.get("", ""))
        if not self.main.facts.private:
            return seen
        users = list(self.accounts)
        others = await asyncio.gather(*(self.accounts[u].connector.observe(by.get(u, "")) for u in users))
        cursors = {"": seen.cursor, **{u: o.cursor for u, o in zip(users, others, strict=True)}}
        return replace(
            seen,
            jobs=seen.jobs + tuple(j for o in others for j in o.jobs),
            records=seen.records + tuple(r for o in others for r in o.records),
            cursor=json.dumps({"by": cursors}, separators=(",", ":")),
            more=seen.more or any(o.more for o in others),
        )

    async def submit(self, request: SubmitRequest) -> str:
        user, directory = split(request.directory)
        attempt = attempt_named(request.name)
        if not user:
            return await self.main.submit(request)
        account = self.accounts.get(user)
        if account is None:
            raise SiteRefused("site.no_account", f"the account {user} is not connected")
        if attempt is not None:
            self.known.learn(attempt, user)
        account.connector.borrow(self.main)
        return await account.connector.submit(replace(request, directory=directory))

    async def find(self, name: str) -> Listed | None:
        if not self.main.facts.private:
            return await self.main.find(name)
        found = await asyncio.gather(self.main.find(name), *(a.connector.find(name) for a in self.accounts.values()))
        return next((f for f in found if f is not None), None)

    async def cancel(self, name: str, native_id: str, tasks: Sequence[int] = ()) -> None:
        attempt = attempt_named(name)
        if attempt is not None:
            await self.known.ask([attempt])
        user = self.known.of(attempt) if attempt is not None else ""
        if user and user not in self.accounts:
            raise SiteRefused("site.no_account", f"the account {user} is not connected")
        connector = self.accounts[user].connector if user else self.main
        await connector.cancel(name, native_id, tasks)

    async def statement(self, since: int, until: int) -> Statement:
        told = await self.main.statement(since, until)
        if not self.main.facts.private:
            return told
        others = await asyncio.gather(*(a.connector.statement(since, until) for a in self.accounts.values()))
        rows = told.allocations + tuple(x for o in others for x in o.allocations)
        return Statement(rows, told.site_time_us)

    async def clean(self, user: str) -> None:
        """Remove everything below the account's root. SiteRefused (site.busy) while any job of the Unix user is in the queue,
        SiteUnsure where something is left."""
        connector = self.accounts[user].connector
        root = connector.files.root
        answer = await connector.shell.run(CLEAN.format(root=shlex.quote(root)), timeout=600)
        if answer.rc == 45:
            raise SiteRefused("site.busy", f"{user} has jobs in the queue of {self.cluster}: {answer.stdout.split()[:5]}")
        if answer.rc != 0:
            raise SiteUnsure(f"{user}: {root} could not be cleaned: {answer.stderr.strip()[:300]}", silent=False)
        await connector.files.prepare()

    async def close(self) -> None:
        for connector in (self.main, *(a.connector for a in self.accounts.values())):
            await connector.close()


# What a customer made unreadable is opened first; a root that is a link is not followed.
CLEAN = """
jobs=$(timeout 15 squeue -h -a -u "$tide_uid" -o %i) || exit 46
[ -z "$jobs" ] || {{ echo $jobs; exit 45; }}
[ -L {root} ] && {{ echo 'the root is a link' >&2; exit 47; }}
[ -e {root} ] || exit 0
cd {root} || exit 48
chmod -R u+rwX . 2>/dev/null
find . -mindepth 1 -maxdepth 1 -exec rm -rf -- {{}} +
left=$(find . -mindepth 1 | head -n 3)
[ -z "$left" ] || {{ echo left: $left >&2; exit 49; }}
"""


def _unpacked(cursor: str) -> dict[str, str]:
    """Cursors by account; a plain one is the cluster's own."""
    if not cursor.startswith('{"by":'):
        return {"": cursor}
    try:
        return {str(u): str(c) for u, c in json.loads(cursor)["by"].items()}
    except (ValueError, AttributeError, TypeError) as e:
        raise SiteUnsure(f"the cursor {cursor[:80]!r} is none of Slurm's: {e!r}", silent=False) from None

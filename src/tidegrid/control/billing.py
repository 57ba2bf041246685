"""What was used and charged, and customers' prepaid accounts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tidegrid import ledger
from tidegrid.control import views
from tidegrid.control.capability import Capability
from tidegrid.domain.actor import Actor
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.money import format_amount
from tidegrid.store import usage
from tidegrid.store.scope import Scope

View = dict[str, Any]


class Billing(Capability):
    """A part of the platform."""

    async def usage(
        self,
        actor: Actor,
        *,
        org: str | None = None,
        job_id: str | None = None,
        limit: int = 100,
        after: str | None = None,
        corrections: bool = False,
    ) -> tuple[list[View], str | None]:
        """Journalled segments of use, newest attempts first; operators see every organisation unless they name one.
        corrections: what was reversed too."""
        scope = Scope(actor.scope_org) if org is None else Scope((await self._org(actor, org))[0])
        job = (await self._job_row(actor, job_id))["id"] if job_id else None
        last = None
        if after:
            try:
                a, t, r, s, v = (int(x) for x in after.split("."))
                if not all(0 <= x < 1 << 63 for x in (a, t, r, s, v)):
                    raise ValueError
                last = (a, t, r, s, v)
            except ValueError:
                raise InvalidInput("page.after", f"{after!r} is not what a page gave as next") from None
        rows = await self.ctx.store.read(
            lambda c: usage.page(c, scope, job_id=job, limit=limit + 1, after=last, current=not corrections)
        )
        following = None
        if len(rows) > limit:
            rows = rows[:limit]
            e = rows[-1]
            following = ".".join(str(e[k]) for k in ("attempt_id", "task", "restart", "segment", "revision"))
        return [views.usage(r, operator=actor.is_operator) for r in rows], following

    async def balance(self, actor: Actor, org: str | None) -> View:
        org_id, name = await self._org(actor, org)
        b = await self.ctx.store.read(lambda c: ledger.balance(c, org_id))
        parts = {"prepaid": b.prepaid, "held": b.held, "reserved": b.reserved, "available": b.available}
        return {"org": name, "currency": "CNY", **{k: format_amount(v) for k, v in parts.items()}}

    async def deposit(self, actor: Actor, org: str, amount: int, key: str) -> View:
        org_id, name = await self._org(actor, org)
        if not 0 < amount <= 10**15:
            raise InvalidInput("deposit.amount", "a deposit is above 0 and at most 1,000,000,000 CNY")
        memo = f"deposit by {actor.user}"
        await self.ctx.write(lambda c: ledger.deposit(c, self.ctx.ids, self.ctx.now(), org_id, amount, key, memo))
        self.ctx.wake("submit")
        return await self.balance(actor, name)

    async def journal_check(self, actor: Actor) -> View:
        report = await self.ctx.store.read(ledger.balanced)
        return {"balanced": report.ok, **asdict(report)}

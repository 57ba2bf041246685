"""The porting board: what the network's own records say should run on which architecture next, and how far that has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from tidegrid.catalog import porting
from tidegrid.catalog.network_model import Network
from tidegrid.catalog.porting import Offer, Rank, Refused, Stage, Use
from tidegrid.control import views
from tidegrid.control.capability import Capability
from tidegrid.control.programs import Known
from tidegrid.domain.actor import Actor
from tidegrid.domain.clock import SECOND
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound
from tidegrid.domain.ids import parse, show
from tidegrid.domain.money import MICRO
from tidegrid.scheduling.software import CARD
from tidegrid.store import events
from tidegrid.store import porting as board

View = dict[str, Any]
DAY = 86_400 * SECOND
_PRICE = 1e8  # of one yuan


class PortingBoard(Capability):
    """A part of the platform; for operators."""

    async def porting(self, actor: Actor, *, days: int = 90) -> list[View]:
        """Items and candidates, highest score first; what is over comes last. days: the window whose demand counts."""
        items, ranks = await self._ranked(days)
        mine = {(i["app"], i["arch"]): i for i in items}
        open_: list[View] = []
        over: list[View] = []
        for r in ranks:
            item = mine.get((r.app, r.arch))
            (over if item is not None and item["state"] in porting.OVER else open_).append(_view(item, r))
        return [{**v, "rank": n} for n, v in enumerate(open_, 1)] + [{**v, "rank": None} for v in over]

    async def _ranked(self, days: int) -> tuple[list[Mapping[Any, Any]], list[Rank]]:
        network, known = await self._network()
        since = self.ctx.now() - days * DAY

        def read(conn: Connection) -> Any:
            return board.all(conn), board.used(conn, since), board.refused(conn, since // DAY)

        items, used, refused = await self.ctx.store.read(read)
        arch = {f"{c.name}/{p.name}": p.arch for c, p in network.partitions()}
        offers = _offers(network, known)
        there = {(p.app.id, p.arch) for p in known.places if p.current and p.way is not None}
        needy = {p.app.id for p in known.places if p.current and p.app.software.needed}
        wanted = {(i["app"], i["arch"]): i["effort_days"] for i in items}
        for app in needy:
            for a in {*arch.values(), *(r["arch"] for r in refused if r["app"] == app and r["arch"])}:
                if (app, a) not in there:
                    wanted.setdefault((app, a), None)
        ranks = []
        for (app, a), effort in wanted.items():
            uses = [
                Use(u["org"], f"{u['cluster']}/{u['partition']}", int(u["core_ms"]) / 3.6e6, int(u["sell"]) / MICRO)
                for u in used
                if u["app"] == app and arch.get(f"{u['cluster']}/{u['partition']}") != a
            ]
            asked = [Refused(r["org"], r["arch"], int(r["jobs"]), int(r["core_s"]) / 3600) for r in refused if r["app"] == app]
            found = porting.rank(app, a, uses, asked, offers, effort)
            if found.used_core_hours or found.refused_core_hours or effort is not None:
                ranks.append(found)
        return items, porting.order(ranks)

    async def porting_add(self, actor: Actor, app: str, arch: str, effort_days: float, note: str = "") -> View:
        """Put an application and an architecture on the board, as planned. Conflict (porting.exists)."""
        _, known = await self._network()
        if app not in {p.app.id for p in known.places if p.current}:
            raise NotFound("app.unknown", f"there is no application {app!r}", hint="`tide apps` lists them")
        id_, event_id, now = self.ctx.ids.new(), self.ctx.ids.new(), self.ctx.now()
        row = {
            "id": id_, "app": app, "arch": arch, "state": str(Stage.PLANNED), "effort_days": _effort(effort_days), "note": note,
            "created_at": now, "changed_at": now, "changed_by": actor.user,
        }  # fmt: skip

        def commit(conn: Connection) -> None:
            if not board.add(conn, row, event_id):
                raise Conflict("porting.exists", f"{app} on {arch} is on the board already", hint="`tide porting list`")
            _event(conn, row, now)

        await self.ctx.write(commit)
        return await self.porting_item(actor, show("port", id_))

    async def porting_move(
        self, actor: Actor, item: str, *, state: str | None = None, effort_days: float | None = None, note: str | None = None
    ) -> View:
        """Change its stage, effort or note; all of it stays in its history. NotFound, Conflict (porting.not_installed)."""
        id_, event_id = parse("port", item), self.ctx.ids.new()
        _, known = await self._network()

        def commit(conn: Connection) -> None:
            row = board.get(conn, id_)
            if row is None:
                raise NotFound("porting.unknown", f"there is no item {item}", hint="`tide porting list`")
            there = any(p.app.id == row["app"] and p.arch == row["arch"] and p.way is not None for p in known.places if p.current)
            stage = porting.moved(f"{row['app']} on {row['arch']}", Stage(row["state"]), state or row["state"], installed=there)
            now = self.ctx.now()
            cols = {
                "state": str(stage), "effort_days": row["effort_days"] if effort_days is None else _effort(effort_days),
                "note": row["note"] if note is None else note, "changed_at": now, "changed_by": actor.user,
            }  # fmt: skip
            board.change(conn, id_, event_id, cols)
            _event(conn, {**row, **cols}, now)

        await self.ctx.write(commit)
        return await self.porting_item(actor, item)

    async def porting_item(self, actor: Actor, item: str, *, days: int = 90) -> View:
        """With its history, oldest first."""
        id_ = parse("port", item)
        row, history = await self.ctx.store.read(lambda c: (board.get(c, id_), board.history(c, id_)))
        if row is None:
            raise NotFound("porting.unknown", f"there is no item {item}", hint="`tide porting list`")
        _, ranks = await self._ranked(days)
        found = next(r for r in ranks if (r.app, r.arch) == (row["app"], row["arch"]))
        steps = [
            {"at": views.when(h["at"]), "by": h["by"], "state": h["state"], "effort_days": h["effort_days"], "note": h["note"]}
            for h in history
        ]
        return {**_view(row, found), "rank": None, "history": steps}


def _offers(network: Network, known: Known) -> list[Offer]:
    """Every partition with its prices, and what a core of it can do by its card."""
    out = []
    for c, p in network.partitions():
        card = known.cards.get(f"{c.name}/{p.name}")
        of = dict(zip(CARD, card, strict=True)) if card is not None else {}
        cores = of.get("cpu_quota", float("nan"))
        out.append(
            Offer(
                f"{c.name}/{p.name}", p.arch, p.sell.core_hour / _PRICE, p.supply.cost.core_hour / _PRICE,
                of.get("peak_dp_core", float("nan")), of.get("bandwidth_triad_all", float("nan")) / cores,
            )
        )  # fmt: skip
    return out


def _effort(days: float) -> float:
    if not 0.1 <= days <= 10_000:
        raise InvalidInput("porting.effort", f"an effort of {days} days is none", hint="person-days, 0.1 to 10000")
    return float(days)


def _event(conn: Connection, row: Mapping[Any, Any], now: int) -> None:
    body = {"app": row["app"], "arch": row["arch"], "by": row["changed_by"], "effort_days": row["effort_days"]}
    events.append(conn, kind=f"porting.{row['state']}", at=now, body=body)


def _view(item: Mapping[Any, Any] | None, r: Rank) -> View:
    on_board: View = {"id": None, "state": "candidate", "note": "", "changed_at": None, "changed_by": None}
    if item is not None:
        on_board = {
            "id": show("port", item["id"]), "state": item["state"], "note": item["note"],
            "changed_at": views.when(item["changed_at"]), "changed_by": item["changed_by"],
        }  # fmt: skip
    return {**on_board, **r.to_json()}

"""What is installed, verified and licensed where, as placement sees it: from the network file, applications, and what is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from tidegrid.catalog import document, installations, machine_card
from tidegrid.catalog.document import Application
from tidegrid.catalog.installations import Speed, State
from tidegrid.catalog.network_model import Network
from tidegrid.control.context import Context
from tidegrid.domain.errors import InvalidInput
from tidegrid.scheduling import software
from tidegrid.scheduling.software import AppRow, Pool, Software, Standing
from tidegrid.store import apps, licences, machine_cards
from tidegrid.store import installations as kept

_STANDING = {
    State.WITHDRAWN: Standing.WITHDRAWN, State.FAILED: Standing.FAILED, State.VERIFIED: Standing.VERIFIED, State.TUNED: Standing.TUNED,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A version of an application at a partition. way: how it is invoked now, None where it cannot be; kept: the recorded row."""

    app: Application
    current: bool
    cluster: str
    partition: str
    arch: str
    way: Mapping[str, Any] | None
    state: State | None
    remark: str
    kept: Mapping[str, Any] | None
    speed: Speed | None

    @property
    def name(self) -> str:
        return f"{self.cluster}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Known:
    """All of it at one generation. names: how a snapshot calls a version; licences: by (app, version)."""

    places: tuple[Place, ...] = ()
    installed: dict[str, list[str]] = field(default_factory=dict)
    rows: dict[str, AppRow] = field(default_factory=dict)
    cards: dict[str, tuple[float, ...]] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    licences: dict[tuple[str, str], tuple[tuple[str, int], ...]] = field(default_factory=dict)


class Programs:
    """Reads again what has changed."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self._key: Any = None
        self._asked: set[tuple[str, str]] = set()
        self._known = Known()

    async def now(self, network: Network) -> tuple[dict[str, list[str]], Callable[[Sequence[str]], Software]]:
        """(application -> partitions that have it, what makes the snapshot's arrays)."""
        known = await self.known(network)
        used = await self.ctx.store.read(licences.in_use) if network.licences else {}
        pools = [Pool(x.name, x.feature, x.count, used.get(x.name, 0), tuple(network.served(x))) for x in network.licences]
        linked = {f"{c.name}/{p.name}": bool(p.interconnect) for c, p in network.partitions()}

        def table(partitions: Sequence[str]) -> Software:
            return software.table(partitions, known.rows, known.cards, pools, [linked.get(n, False) for n in partitions])

        return known.installed, table

    async def known(self, network: Network) -> Known:
        """As it is recorded now."""

        def generation(c: Connection) -> Any:
            return apps.generation(c), kept.generation(c), machine_cards.generation(c)

        key = (network.hash, len(self._asked), await self.ctx.store.read(generation))
        if self._key != key:
            asked = frozenset(self._asked)
            self._known = await self.ctx.store.read(lambda c: _read(c, network, asked))
            self._key = key
        return self._known

    def learn(self, versions: Iterable[tuple[str, str]]) -> None:
        """Versions (app, version) that jobs are pinned to: from the next look on they are known, current or not."""
        self._asked.update(versions)

    def name(self, app: str, version: str) -> str:
        """How the snapshot calls a version: the id, or `id@version` for one that is not current and of which something is known."""
        return self._known.names.get((app, version), app)

    def licences(self, app: str, version: str) -> tuple[tuple[str, int], ...]:
        """(feature, count) of one task."""
        return self._known.licences.get((app, version), ())


def _read(conn: Connection, network: Network, asked: frozenset[tuple[str, str]] = frozenset()) -> Known:
    current = {r["id"]: r["version"] for r in apps.list_current(conn)}
    recorded = {(r["app"], r["version"], r["cluster"], r["partition"]): r for r in kept.all(conn)}
    versions = {*current.items(), *((a, v) for a, v, _, _ in recorded), *asked}
    runs = _runs(conn)
    places: list[Place] = []
    known = Known()
    for id_, version in sorted(versions):
        row = apps.get(conn, id_, version)
        if row is None:
            continue
        app = document.from_body(json.loads(row["body"]))
        if app.licences:
            known.licences[id_, version] = tuple(sorted(app.licences.items()))
        here = _places(app, current.get(id_) == version, network, recorded, runs.get((id_, version), {}))
        places += here
        if not (app.software.needed or any(p.kept for p in here)):
            continue
        name = id_ if current.get(id_) == version else f"{id_}@{version}"
        known.names[id_, version] = name
        if app.software.needed:
            known.installed[name] = [p.name for p in here if p.way is not None]
        known.rows[name] = AppRow(
            {p.name: _STANDING[p.state] for p in here if p.state in _STANDING},
            {p.name: (p.speed.relative, p.speed.n, float("nan") if p.speed.spread is None else p.speed.spread)
             for p in here if p.speed is not None and p.speed.relative is not None},
            tested=bool(app.tests),
            strict=app.software.needed and bool(app.tests) and network.verified == "require",
        )  # fmt: skip
    known.cards.update(_cards(conn))
    return Known(tuple(places), known.installed, known.rows, known.cards, known.names, known.licences)


def _places(
    app: Application, current: bool, network: Network, recorded: Mapping[Any, Mapping[str, Any]],
    runs: Mapping[str, Mapping[str, list[tuple[Any, float]]]],
) -> list[Place]:  # fmt: skip
    ways = {f"{c.name}/{p.name}": installations.way(app, p.arch, c.software) for c, p in network.partitions()}
    timed = {
        place: {test: [s for way, s in rows if way == ways.get(place)] for test, rows in tests.items()}
        for place, tests in runs.items()
    }
    speeds = installations.speeds(timed)
    out = []
    for c, p in network.partitions():
        name = f"{c.name}/{p.name}"
        row = recorded.get((app.id, app.version, c.name, p.name))
        state, remark = installations.effective(row["state"] if row else "", row["way"] if row else None, ways[name])
        out.append(Place(app, current, c.name, p.name, p.arch, ways[name], state, remark, row, speeds.get(name)))
    return out


def _runs(conn: Connection) -> dict[tuple[str, str], dict[str, dict[str, list[tuple[Any, float]]]]]:
    """(app, version) -> place -> test -> [(way, seconds)] of good runs."""
    out: dict[tuple[str, str], dict[str, dict[str, list[tuple[Any, float]]]]] = {}
    for r in kept.good_runs(conn):
        tests = out.setdefault((r["app"], r["version"]), {}).setdefault(f"{r['cluster']}/{r['partition']}", {})
        tests.setdefault(r["test"], []).append((r["way"], r["seconds"]))
    return out


def _cards(conn: Connection) -> dict[str, tuple[float, ...]]:
    out = {}
    for r in machine_cards.newest(conn):
        try:
            out[f"{r['cluster']}/{r['partition']}"] = machine_card.parse(r["body"]).numbers(software.CARD)
        except InvalidInput:  # of a later release: not known here
            continue
    return out

"""The clusters of the network document, connected and kept so while the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog
from sqlalchemy import Connection

from tidegrid.catalog.network_model import Cluster
from tidegrid.connectors.contract import Connector
from tidegrid.connectors.embedded import launch as embedded
from tidegrid.control.context import Context
from tidegrid.control.loops import Loops
from tidegrid.control.picture import Picture
from tidegrid.domain.errors import TideError
from tidegrid.launch import connect
from tidegrid.store import clusters, events

log = structlog.get_logger(__name__)
Wrap = Callable[[str, Connector], Connector]
WATCH_S = 0.5  # between two looks whether the supervisors live
CONNECT_EVERY = 10  # such looks between two tries to connect a cluster whose secret was missing


class Network:
    """Connectors and supervisors of the clusters in the network document; `sync` after it changed."""

    def __init__(self, ctx: Context, picture: Picture, *, wrap: Wrap | None = None, supervise: bool = True) -> None:
        self.ctx, self.picture, self.wrap, self.supervise = ctx, picture, wrap, supervise
        self.home = ctx.home
        self.loops: Loops | None = None
        self._made: dict[str, Cluster] = {}
        self._said: dict[str, str] = {}

    async def sync(self) -> None:
        network = await self.picture.network()
        wanted = {c.name: c for c in network.clusters} if network is not None else {}
        for name in [n for n in self._made if n not in wanted or wanted[n] != self._made[n]]:
            del self._made[name]
            if self.loops is not None:
                self.loops.unwatch(name)
            old = self.ctx.connectors.pop(name, None)
            if old is not None:
                await old.close()
            if name not in wanted and self._directory(name).is_dir():
                await asyncio.to_thread(embedded.stop_supervisor, self._directory(name))
        for name, cluster in wanted.items():
            if name not in self._made:
                await self._connect(cluster)
                self._made[name] = cluster
        names = list(wanted)
        if names and self.loops is not None:
            token = self.ctx.token
            await self.ctx.store.write(lambda c: _adopt(c, names, token))
            for name in names:
                self._watch(name)

    def _watch(self, name: str) -> None:
        if self.loops is not None and name not in self.loops.contacts and name in self.ctx.connectors:
            self.loops.watch(self.ctx.connectors[name])

    def _directory(self, name: str) -> Path:
        return self.home / "clusters" / name

    async def _connect(self, cluster: Cluster) -> None:
        if cluster.connector == "slurm":
            try:
                connector = connect.slurm(self.home, cluster)
            except TideError as e:  # a missing key must not keep the other clusters from working
                await self._trouble(cluster.name, e)
                return
        else:
            if self.supervise:
                await self.start_supervisor(cluster)
            connector, files = connect.embedded(self._directory(cluster.name), cluster)
            await files.prepare()
        self.ctx.connectors[cluster.name] = self.wrap(cluster.name, connector) if self.wrap else connector

    async def start_supervisor(self, cluster: Cluster) -> None:
        directory = self._directory(cluster.name)
        config = {
            "name": cluster.name,
            "root": str(directory / "site"),
            "partitions": [
                {
                    "name": p.name, "nodes": p.nodes, "cores": p.cores, "memory_mib": p.memory_mib,
                    "gpus": p.gpus, "gpu_type": p.gpu_type,
                    **({"cpus": list(cluster.settings["cpus"])} if cluster.settings.get("cpus") else {}),
                }
                for p in cluster.partitions
            ],
            **{k: v for k, v in cluster.settings.items() if k in ("queue", "kill_grace_s", "enforce_memory")},
        }  # fmt: skip
        try:
            await asyncio.to_thread(embedded.ensure_running, directory, config)
            self._said.pop(cluster.name, None)
        except TideError as e:
            await self._trouble(cluster.name, e)

    async def _trouble(self, name: str, e: TideError) -> None:
        """Say once what keeps a cluster from being connected."""
        if self._said.get(name) == e.code:
            return
        self._said[name] = e.code
        log.error("cluster.trouble", cluster=name, code=e.code, why=e.message, hint=e.hint)
        at = self.ctx.now()
        body = {"code": e.code, "why": e.message, "hint": e.hint}
        await self.ctx.store.write(lambda c: events.append(c, kind="cluster.trouble", at=at, cluster=name, body=body))

    async def watch(self) -> None:
        """Start supervisors again that died (their jobs go on meanwhile), and connect what lacked its secret."""
        turn = 0
        while True:
            await asyncio.sleep(WATCH_S)
            turn += 1
            if not self.home.is_dir():
                continue  # somebody removed the home under the server: nothing may be started in it again
            for name, cluster in list(self._made.items()):
                if cluster.connector == "embedded":
                    if self.supervise and not await asyncio.to_thread(embedded.running, self._directory(name)):
                        await self.start_supervisor(cluster)
                elif name not in self.ctx.connectors and turn % CONNECT_EVERY == 0:
                    await self._connect(cluster)
                    self._watch(name)


def _adopt(conn: Connection, names: list[str], token: int) -> None:
    clusters.ensure(conn, names)
    for name in names:
        clusters.update(conn, name, fencing_token=token)

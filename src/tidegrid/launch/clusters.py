"""The clusters of the network document, connected and kept so while the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from tidegrid.catalog.network_model import Cluster
from tidegrid.connectors.contract import Connector, SiteRefused, SiteUnsure
from tidegrid.connectors.embedded import launch as embedded
from tidegrid.control.context import Context
from tidegrid.control.loops import Loops
from tidegrid.control.picture import Picture
from tidegrid.domain.errors import Conflict, InvalidInput, NotFound, TideError, Unreachable
from tidegrid.domain.lease import cluster_role
from tidegrid.launch import connect
from tidegrid.store import clusters, events, leases, networks, site_accounts

log = structlog.get_logger(__name__)
Accounts = tuple[tuple[tuple[str, Any], ...], ...]
Wrap = Callable[[str, Connector], Connector]
WATCH_S = 0.5  # between two looks whether the supervisors live
CONNECT_EVERY = 10  # such looks between two tries to connect a cluster whose secret was missing


class Network:
    """Connectors and supervisors of the clusters in the network document; `sync` after it changed.

    home: for its secrets; place: this machine with its data directory: an embedded cluster is one place's, the first's that
    starts it.
    """

    def __init__(
        self,
        ctx: Context,
        picture: Picture,
        home: Path,
        place: str,
        *,
        wrap: Wrap | None = None,
        supervise: bool = True,
    ) -> None:
        self.ctx, self.picture, self.wrap, self.supervise = ctx, picture, wrap, supervise
        self.home, self.data, self.place = home, ctx.home, place
        self.loops: Loops | None = None
        self._made: dict[str, Cluster] = {}
        self._accounts: dict[str, Accounts] = {}  # as connected
        self._said: dict[str, str] = {}
        self._hash = ""  # of the network document that is connected
        self._syncing = asyncio.Lock()

    async def sync(self) -> None:
        async with self._syncing:
            await self._sync()

    async def _sync(self) -> None:
        network = await self.picture.network()
        wanted = {c.name: c for c in network.clusters} if network is not None else {}
        accounts = await self._site_accounts()
        for name in [n for n in self._made if n not in wanted or wanted[n] != self._made[n] or self._moved(n, accounts)]:
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
                self._accounts[name] = accounts.get(name, ())
                await self._connect(cluster)
                self._made[name] = cluster
        self._hash = network.hash if network is not None else ""
        names = list(wanted)
        if names:
            await self.ctx.store.write(lambda c: clusters.ensure(c, names))
        if self.loops is not None:
            self.loops.watch_all()
            for name in names:
                self._watch(name)

    async def _site_accounts(self) -> dict[str, Accounts]:
        """What is to be connected besides the clusters' own accounts."""
        found = await self.ctx.store.read(site_accounts.in_service)
        return {c: tuple(tuple((k, row[k]) for k in CONNECTS) for row in rows) for c, rows in found.items()}

    def _moved(self, name: str, accounts: dict[str, Accounts]) -> bool:
        return self._accounts.get(name, ()) != accounts.get(name, ())

    async def try_account(self, name: str, row: Mapping[str, Any]) -> int:
        """Log in with it, make its root, ask the controller; its numeric id there. TideErrors say what is wrong."""
        cluster = self._made.get(name)
        if cluster is None:
            raise NotFound("cluster.unknown", f"there is no cluster {name!r}", hint="`tide cluster list` names them")
        connector = connect.slurm(self.home, connect.of_account(cluster, row))
        try:
            answer = await connector.shell.run("id -u", timeout=20)
            uid = int(answer.stdout.strip())
            if uid != 0:
                await connector.files.prepare()
                await connector.probe()
        except (SiteUnsure, SiteRefused, TideError, OSError, ValueError) as e:
            raise Unreachable("site_account.unreachable", f"{row['unix_user']} at {name}: {e}",
                              hint="check the key, that the account may log in, and that it may write its root") from None  # fmt: skip
        finally:
            await connector.close()
        if uid == 0:
            raise InvalidInput("site_account.root", f"{row['unix_user']} is root at {name}", hint="give an ordinary account")
        return uid

    def _watch(self, name: str) -> None:
        if self.loops is not None and name not in self.loops.contacts and name in self.ctx.connectors:
            self.loops.watch(self.ctx.connectors[name])

    def _directory(self, name: str) -> Path:
        return self.data / "clusters" / name

    async def _connect(self, cluster: Cluster) -> None:
        if cluster.connector == "slurm":
            try:
                connector = await self._slurm(cluster)
            except TideError as e:  # a missing key must not keep the other clusters from working
                await self._trouble(cluster.name, e)
                return
        else:
            role, mine = cluster_role(cluster.name), self.place
            place = await self.ctx.store.write(lambda c: leases.bind(c, role, mine))
            if place != mine:
                why = f"the supervisor of {cluster.name} runs at {place}, and this server is at {mine}"
                await self._trouble(cluster.name, Conflict("cluster.elsewhere", why, hint="a server there looks after it"))
                return
            if self.supervise:
                await self.start_supervisor(cluster)
            connector, files = connect.embedded(self._directory(cluster.name), cluster)
            await files.prepare()
        self.ctx.connectors[cluster.name] = self.wrap(cluster.name, connector) if self.wrap else connector

    async def _look_for_accounts(self) -> None:
        """Another server may have been told of some."""
        accounts = await self._site_accounts()
        if any(self._moved(name, accounts) for name in self._made) and not self._syncing.locked():
            await self.sync()

    async def _slurm(self, cluster: Cluster) -> Connector:
        accounts = [dict(a) for a in self._accounts.get(cluster.name, ())]
        if not accounts:
            return connect.slurm(self.home, cluster)

        async def owners(attempts: Sequence[int]) -> Mapping[int, str]:
            return await self.ctx.store.read(lambda c: site_accounts.users_of(c, attempts))

        connector, lacking = connect.pooled(self.home, cluster, accounts, owners)
        for user, e in lacking.items():  # the others work
            await self._trouble(f"{cluster.name}:{user}", e)
        return connector

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
            if not self.data.is_dir():
                continue  # somebody removed the home under the server: nothing may be started in it again
            try:
                await self._follow()
                if turn % CONNECT_EVERY == 0:
                    await self._look_for_accounts()
            except TideError as e:
                log.info("network.not_read", why=e.message)
            for name, cluster in list(self._made.items()):
                if cluster.connector == "embedded" and name in self.ctx.connectors:
                    if self.supervise and not await asyncio.to_thread(embedded.running, self._directory(name)):
                        await self.start_supervisor(cluster)
                elif cluster.connector != "embedded" and name not in self.ctx.connectors and turn % CONNECT_EVERY == 0:
                    await self._connect(cluster)
                    if self.loops is not None:
                        self.loops.watch_all()
                    self._watch(name)

    async def _follow(self) -> None:
        """Another server may have applied a network document."""
        hash_ = await self.ctx.store.read(networks.current_hash)
        if hash_ is not None and hash_ != self._hash and not self._syncing.locked():
            self.picture.forget()
            await self.sync()


CONNECTS = ("unix_user", "uid", "identity", "root", "native_account", "qos")

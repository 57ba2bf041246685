"""A whole platform in this process: real store, loops, embedded clusters. For integration tests and the API's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegrid.control.loops import Loops
from tidegrid.control.platform import Platform
from tidegrid.domain.actor import Actor
from tidegrid.domain.job import FINAL
from tidegrid.launch import home as homes
from tidegrid.launch.serve import Options, Wrap, network_of
from tidegrid.store import orgs

NETWORK = """
network: test
providers:
  north: {title: North}
  east: {title: East}
sites:
  hohhot: {provider: north, region: cn-north, time_zone: Asia/Shanghai}
  shanghai: {provider: east, region: cn-east, time_zone: Asia/Shanghai}
clusters:
  north:
    site: hohhot
    connector: {kind: embedded, kill_grace_s: 1}
    supply: {kind: co_built, marginal_core_hour: 0.01}
    prices: {core_hour: 0.05}
    partitions:
      cpu: {arch: x86_64, nodes: 2, cores: 4, memory: 4 GiB, max_wall: 2h}
  east:
    site: shanghai
    connector: {kind: embedded, kill_grace_s: 1}
    supply: {kind: purchased, core_hour: 0.06}
    prices: {core_hour: 0.09}
    partitions:
      cpu: {arch: x86_64, nodes: 1, cores: 8, memory: 8 GiB, max_wall: 2h}
accounts:
  operator: {opening_balance: 1000}
  acme: {projects: [cfd], opening_balance: 100}
  rival: {opening_balance: 100}
"""


@dataclass
class Running:
    """platform and loops; operator, acme and rival: actors (each organisation with a user `ada`)."""

    platform: Platform
    loops: Loops
    operator: Actor
    acme: Actor
    rival: Actor

    async def wait(self, *job_ids: str, actor: Actor | None = None, timeout: float = 60.0) -> list[dict[str, Any]]:
        """The jobs when all have ended."""
        async with asyncio.timeout(timeout):
            while True:
                views = [await self.platform.job(actor or self.operator, j) for j in job_ids]
                if all(v["state"] in FINAL for v in views):
                    return views
                await asyncio.sleep(0.05)


def shell(script: str, **more: Any) -> dict[str, Any]:
    """A submission of a small shell script."""
    body = {"app": "script", "params": {"script": script}, "resources": {"cores": 1, "memory_mib": 64, "wall_s": 60}}
    return body | more


@asynccontextmanager
async def running(
    home: Path,
    *,
    network: str = NETWORK,
    database: str = "",
    wrap: Wrap | None = None,
    settings: Mapping[str, Any] | None = None,
    supervise: bool = True,
) -> AsyncIterator[Running]:
    """The platform on `home`; its supervisors are stopped at the end."""
    from tidegrid.connectors.embedded import launch as embedded

    homes.prepare(home)
    options = Options(
        home=home,
        database=database,
        network=network,
        wrap=wrap,
        supervise=supervise,
        settings={"tick": 0.1, "silent_after": 2.0, "permit_wait": 20, **(settings or {})},
    )
    try:
        async with network_of(options) as (platform, loops):
            operator = await _actor(platform, "operator", "admin", "operator")
            acme = await _actor(platform, "acme", "ada", "project_admin")
            rival = await _actor(platform, "rival", "ada", "project_admin")
            yield Running(platform, loops, operator, acme, rival)
    finally:
        for directory in (home / "clusters").iterdir():
            await asyncio.to_thread(embedded.stop_supervisor, directory)


async def _actor(platform: Platform, org: str, user: str, role: str) -> Actor:
    def find(conn: Any) -> Actor:
        row = orgs.get_org(conn, org)
        assert row is not None, org
        found = orgs.get_user(conn, row["id"], user)
        if found is None:
            orgs.create_user(conn, id=platform.ids.new(), org_id=row["id"], name=user, role=role, at=platform.now())
            found = orgs.get_user(conn, row["id"], user)
        assert found is not None
        return Actor(row["id"], found["id"], org, user, role)

    return await platform.store.write(find)

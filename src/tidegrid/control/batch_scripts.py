"""`#SBATCH` scripts as submissions: what the catalogue makes of one, knowing this network. Nothing is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from tidegrid.catalog.batch_job import Known, Place, translate
from tidegrid.control.capability import Capability
from tidegrid.domain.actor import Actor
from tidegrid.domain.clock import SECOND
from tidegrid.store import orgs

View = dict[str, Any]


class BatchScripts(Capability):
    """Part of the platform."""

    async def batch_script(self, actor: Actor, asked: Mapping[str, Any]) -> View:
        """{submission, remarks, wait, dry_run}. InvalidInput (sbatch.refused, …) as `catalog.batch_job.translate` has it."""
        network = await self.picture.network()
        places = {
            f"{c.name}/{p.name}": Place(p.cores, p.memory_mib, p.gpus)
            for c, p in (network.partitions() if network is not None else ())
        }
        projects = await self.ctx.store.read(lambda c: orgs.list_projects(c, actor.org_id))
        known = Known(
            places, frozenset(p["name"] for p in projects), self.ctx.now() // SECOND, int(asked.get("utc_offset_s") or 0)
        )
        found = await asyncio.to_thread(
            translate,
            str(asked.get("script") or ""),
            known,
            name=str(asked.get("name") or ""),
            options=list(asked.get("options") or ()),
            environment=dict(asked.get("environment") or {}),
            variables=dict(asked.get("variables") or {}),
            args=list(asked.get("args") or ()),
            ignore=list(asked.get("ignore") or ()),
        )
        body = dict(found.body)
        if found.begin_s * SECOND > self.ctx.now():
            body["begin"] = datetime.fromtimestamp(found.begin_s, UTC).isoformat()
        if found.deadline_s:
            body["deadline"] = datetime.fromtimestamp(found.deadline_s, UTC).isoformat()
        return {
            "submission": body,
            "remarks": [asdict(r) for r in found.remarks],
            "wait": found.wait,
            "dry_run": found.dry_run,
        }

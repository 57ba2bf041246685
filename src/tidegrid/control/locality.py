"""Inputs before placement: that they are there, how much they are, where they lie already, and where they must stay."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from tidegrid.control.context import Context
from tidegrid.control.intake import Wanted
from tidegrid.control.staging import Staging
from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.job import InputFile, JobSpec
from tidegrid.store import blobs, jobs, site_data, transfers, uploads
from tidegrid.store.scope import Scope


async def known(ctx: Context, staging: Staging, org_id: int, wanted: Sequence[Wanted]) -> list[Wanted]:
    """With the bytes of their inputs, and the regions that these must stay in: those of data sets, and of the jobs whose outputs
    they are. NotFound (upload.unknown); InvalidInput (input.residency) where no region would do for all."""
    inputs = [i for w in wanted for i in w.spec.inputs]
    if not inputs:
        return list(wanted)
    scope = Scope(org_id)
    sizes = {i.sha256: sum(f.size for f in await staging.tree(scope, i.sha256)) for i in inputs if i.tree}

    def read(conn: Connection) -> tuple[dict[str, int], dict[str, list[str]], dict[int, list[str]]]:
        single = {i.sha256 for i in inputs if i.sha256 and not i.tree}
        found = {sha: int(row["size"]) for sha in single if (row := blobs.get(conn, scope, sha)) is not None}
        named = uploads.by_content(conn, scope, [i.sha256 for i in inputs if i.sha256])
        sets = {d["sha256"]: d["regions"].split("\n") for d in named if d["regions"]}
        of_jobs = jobs.many(conn, {i.job for i in inputs if i.job})
        theirs = {
            id: regions for id, r in of_jobs.items()
            if r["org_id"] == org_id and (regions := json.loads(r["spec"])["constraints"].get("residency"))
        }  # fmt: skip
        return found, sets, theirs

    found, sets, theirs = await ctx.store.read(read)
    sizes |= found
    out = []
    for w in wanted:
        regions = list(w.spec.constraints.residency)
        for i in w.spec.inputs:
            bound = theirs.get(i.job) if i.job else sets.get(i.sha256)
            if bound:
                if regions and not set(regions) & set(bound):
                    raise InvalidInput(
                        "input.residency",
                        f"input {i.path!r} must stay in {', '.join(bound)}, and other data of the job in {', '.join(regions)}",
                        hint="nothing may run with both: use them apart",
                    )
                regions = [r for r in regions if r in bound] if regions else list(bound)
        spec = dataclasses.replace(
            w.spec,
            inputs=tuple(dataclasses.replace(i, size=sizes.get(i.sha256, 0)) for i in w.spec.inputs),
            constraints=dataclasses.replace(w.spec.constraints, residency=tuple(regions)),
        )
        out.append(dataclasses.replace(w, spec=spec))
    return out


@dataclasses.dataclass(frozen=True, slots=True)
class Lies:
    """bytes: of all inputs; at: (cluster, bytes of them that lie there already)."""

    bytes: int = 0
    at: tuple[tuple[str, int], ...] = ()


def where(conn: Connection, rows: Sequence[tuple[int, JobSpec]]) -> list[Lies]:
    """Of jobs: (organisation, specification)."""
    contents: list[list[tuple[str, int]]] = []
    for org_id, spec in rows:
        contents.append([c for i in spec.inputs if (c := _content(conn, org_id, i))[0]])
    hashes = [sha for of_job in contents for sha, _ in of_job]
    if not hashes:
        return [Lies()] * len(rows)
    there = site_data.where(conn, [org for org, _ in rows], hashes)
    return [_lies(of_job, there, org) for (org, _), of_job in zip(rows, contents, strict=True)]


def _content(conn: Connection, org_id: int, i: InputFile) -> tuple[str, int]:
    if not i.job:
        return i.sha256, i.size
    row = transfers.fetched(conn, Scope(org_id), i.job, i.source)
    return (row["sha256"], int(row["size"])) if row is not None else ("", 0)


def _lies(contents: Sequence[tuple[str, int]], there: Mapping[tuple[int, str], Mapping[str, int]], org_id: int) -> Lies:
    at: dict[str, int] = {}
    for sha, _ in contents:
        for cluster, size in there.get((org_id, sha), {}).items():
            at[cluster] = at.get(cluster, 0) + size
    return Lies(sum(size for _, size in contents), tuple(sorted(at.items())))

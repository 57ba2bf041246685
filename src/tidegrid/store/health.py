"""How each place is doing: rows of `scheduling.health.Standing`, by cluster and partition ("" for the cluster as a whole)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, select

from tidegrid.scheduling.health import Condition, Standing
from tidegrid.store import upsert
from tidegrid.store.schema import health

Place = tuple[str, str]


def all(conn: Connection) -> dict[Place, Standing]:
    return {(r["cluster"], r["partition"]): _standing(r) for r in conn.execute(select(health)).mappings()}


def conditions(conn: Connection) -> dict[Place, Condition]:
    """Of the places that are not well."""
    query = select(health.c.cluster, health.c.partition, health.c.condition).where(health.c.condition != "ok")
    return {(c, p): Condition(word) for c, p, word in conn.execute(query)}


def of(conn: Connection, clusters: Iterable[str], *, lock: bool = False) -> dict[Place, Standing]:
    """The known places of the clusters."""
    query = select(health).where(health.c.cluster.in_(sorted(set(clusters)))).order_by(health.c.cluster, health.c.partition)
    rows = conn.execute(query.with_for_update() if lock else query).mappings()
    return {(r["cluster"], r["partition"]): _standing(r) for r in rows}


def save(conn: Connection, places: Mapping[Place, Standing]) -> None:
    if not places:
        return
    statement = upsert.insert(conn, health)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["cluster", "partition"],
        set_={"condition": new.condition, "body": new.body, "updated_at": new.updated_at},
    )
    rows = [
        {
            "cluster": cluster, "partition": partition, "condition": str(s.condition), "updated_at": s.at,
            "body": json.dumps(s.to_json(), separators=(",", ":")),
        }
        for (cluster, partition), s in sorted(places.items())
    ]  # fmt: skip
    conn.execute(statement, rows)


def forget(conn: Connection, cluster: str) -> None:
    conn.execute(delete(health).where(health.c.cluster == cluster))


def _standing(row: Any) -> Standing:
    return Standing.from_json(json.loads(row["body"]))

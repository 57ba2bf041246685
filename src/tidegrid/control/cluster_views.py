"""Clusters in operation as people see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegrid.catalog.network_model import Network
from tidegrid.control import loads, views
from tidegrid.control.contact import Contact
from tidegrid.control.context import Context
from tidegrid.control.failover import FAILURES_TO_BREAK
from tidegrid.rating.rates import format_price
from tidegrid.scheduling.health import Condition, shown
from tidegrid.store import attempts, clusters
from tidegrid.store import health as healths

Row = Mapping[Any, Any]


async def every(ctx: Context, network: Network, contacts: Mapping[str, Contact], *, operator: bool) -> list[dict[str, Any]]:
    """Every cluster of the network; load is as of its last answer, costs are an operator's to see."""
    states, live, unwell = await ctx.store.read(
        lambda c: ({r["name"]: r for r in clusters.all(c)}, attempts.live_counts(c), healths.conditions(c))
    )
    return [
        _view(network, c, contacts.get(c.name), states.get(c.name), live.get(c.name, 0), unwell, operator)
        for c in network.clusters
    ]


def _view(
    network: Network,
    c: Any,
    contact: Contact | None,
    state: Row | None,
    live: int,
    unwell: Mapping[healths.Place, Condition],
    operator: bool,
) -> dict[str, Any]:
    site = network.site_of(c.name)
    health = "unknown" if state is None else state["health"]
    found = unwell.get((c.name, ""), Condition.OK)
    if health == "up" and contact is not None and contact.failures >= FAILURES_TO_BREAK:
        health = "unsteady"
    elif health == "up" and found is not Condition.OK:
        health = str(found)
    if state is not None and state["dead_at"] is not None:
        health = "dead"
    partitions = []
    for p in c.partitions:
        load = loads.of(contact, p.name, state)
        row: dict[str, Any] = {
            "name": p.name, "arch": p.arch, "nodes": p.nodes, "cores_per_node": p.cores,
            "memory_mib_per_node": p.memory_mib, "gpus_per_node": p.gpus, "supply": p.supply.kind,
            "core_hour": format_price(p.sell.core_hour),
            "health": str(shown(unwell.get((c.name, p.name), Condition.OK))),
        }  # fmt: skip
        if load is not None:
            row |= {
                "cores": load["cores"][0], "cores_free": load["cores"][1], "running": len(load["running"]),
                "waiting": len(load["waiting"]), "enforced": dict(load["enforced"]),
            }  # fmt: skip
        if operator:
            row["cost_core_hour"] = format_price(p.supply.cost.core_hour)
        partitions.append(row)
    return {
        "name": c.name,
        "site": c.site,
        "region": site.region if site else "",
        "connector": c.connector,
        "health": health,
        "drained": bool(state["drained"]) if state is not None else False,
        "live_attempts": live,
        "last_answer_at": views.when(state["last_answer_at"]) if state is not None else None,
        "silent_since": views.when(state["silent_since"]) if state is not None else None,
        "partitions": partitions,
    }

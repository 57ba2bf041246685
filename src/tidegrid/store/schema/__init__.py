"""The tables, one module a subject; `metadata` is all of them. What they are made of is in `columns`.

Every tenant row carries org_id, and tenant rows refer to each other with it, so that a row of one organisation cannot
point into another's.
"""

from __future__ import annotations

from tidegrid.store.schema.columns import metadata
from tidegrid.store.schema.data import blobs, checkpoints, datasets, quotas, site_data, transfers, uploads
from tidegrid.store.schema.event_log import cursors, events
from tidegrid.store.schema.money import balances, holds, journal, journal_lines, usage
from tidegrid.store.schema.network import clusters, health, incidents, leases, networks, servers
from tidegrid.store.schema.placement import decision_batches, decisions, runs, snapshots
from tidegrid.store.schema.software import (
    apps,
    installation_events,
    installations,
    licence_uses,
    machine_cards,
    porting,
    porting_events,
    trials,
    unmet,
)
from tidegrid.store.schema.tenancy import bindings, idempotency, orgs, projects, site_accounts, tokens, users
from tidegrid.store.schema.work import attempts, executions, job_deps, jobs, parts

__all__ = [
    "apps",
    "attempts",
    "balances",
    "bindings",
    "blobs",
    "checkpoints",
    "clusters",
    "cursors",
    "datasets",
    "decision_batches",
    "decisions",
    "events",
    "executions",
    "health",
    "holds",
    "idempotency",
    "incidents",
    "installation_events",
    "installations",
    "job_deps",
    "jobs",
    "journal",
    "journal_lines",
    "leases",
    "licence_uses",
    "machine_cards",
    "metadata",
    "networks",
    "orgs",
    "parts",
    "porting",
    "porting_events",
    "projects",
    "quotas",
    "runs",
    "servers",
    "site_accounts",
    "site_data",
    "snapshots",
    "tokens",
    "transfers",
    "trials",
    "unmet",
    "uploads",
    "usage",
    "users",
]

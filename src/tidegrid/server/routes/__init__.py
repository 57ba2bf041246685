"""The routes, one module a subject. `ROUTERS` is all of them, in the order of the reference."""

from tidegrid.server.routes import (
    accounts,
    catalog,
    decisions,
    discovery,
    events,
    files,
    health,
    incidents,
    jobs,
    money,
    network,
    servers,
    site_accounts,
    steering,
)

ROUTERS = (
    health.router, jobs.router, files.router, catalog.router, discovery.router, steering.router, network.router, incidents.router, servers.router, decisions.router, money.router, events.router, accounts.router,
    site_accounts.router,
)  # fmt: skip
PREFIX = "/api/v1"

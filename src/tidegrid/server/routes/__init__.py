"""The routes, one module a subject. `ROUTERS` is all of them, in the order of the reference."""

from tidegrid.server.routes import (
    accounts,
    batch_scripts,
    catalog,
    data,
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
)

ROUTERS = (
    health.router, jobs.router, batch_scripts.router, data.router, files.router, catalog.router, discovery.router, network.router, incidents.router, servers.router, money.router, events.router, accounts.router,
    site_accounts.router,
)  # fmt: skip
PREFIX = "/api/v1"

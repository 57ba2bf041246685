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
    installations,
    jobs,
    machine_cards,
    money,
    network,
    porting,
    servers,
    site_accounts,
    steering,
)

ROUTERS = (
    health.router,
    jobs.router,
    files.router,
    catalog.router,
    discovery.router,
    steering.router,
    network.router,
    incidents.router,
    servers.router,
    decisions.router,
    money.router,
    events.router,
    accounts.router,
    installations.router,
    machine_cards.router,
    porting.router,
    site_accounts.router,
)
PREFIX = "/api/v1"

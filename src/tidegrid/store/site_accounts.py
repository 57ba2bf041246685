"""Unix accounts at centres, and whose each is when.

A cluster's own account, with which its connector logs in, is no row here: it is everybody's where the network file says that
it is shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, insert, not_, or_, select, update

from tidegrid.domain.errors import NotFound
from tidegrid.store import upsert
from tidegrid.store.schema import attempts, bindings, orgs, projects, site_accounts

Row = Mapping[Any, Any]


def add(conn: Connection, row: Mapping[str, Any]) -> bool:
    """False where the cluster has an account of that Unix user already."""
    return upsert.added(conn, site_accounts, dict(row))


def get(conn: Connection, id_: int, *, lock: bool = False) -> Row:
    """NotFound (site_account.unknown). lock: nobody binds, releases or places on it meanwhile."""
    query = select(site_accounts).where(site_accounts.c.id == id_)
    row = conn.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None:
        raise NotFound("site_account.unknown", "there is no such account at a centre", hint="`tide site-account list`")
    return row


def update_row(conn: Connection, id_: int, **cols: Any) -> None:
    conn.execute(update(site_accounts).where(site_accounts.c.id == id_).values(**cols))


def in_service(conn: Connection) -> dict[str, list[Row]]:
    """Accounts by cluster, retired ones left out, by name."""
    query = (
        select(site_accounts)
        .where(site_accounts.c.retired_at.is_(None))
        .order_by(site_accounts.c.cluster, site_accounts.c.unix_user)
    )
    out: dict[str, list[Row]] = {}
    for row in conn.execute(query).mappings():
        out.setdefault(row["cluster"], []).append(row)
    return out


def page(conn: Connection, clusters: Sequence[str] | None, *, retired: bool = False) -> list[Row]:
    """Accounts of these clusters (None: of all), by cluster and name."""
    query = select(site_accounts).order_by(site_accounts.c.cluster, site_accounts.c.unix_user)
    if clusters is not None:
        query = query.where(site_accounts.c.cluster.in_(list(clusters)))
    if not retired:
        query = query.where(site_accounts.c.retired_at.is_(None))
    return list(conn.execute(query).mappings())


def live_counts(conn: Connection) -> dict[int, int]:
    """Live attempts by account."""
    query = (
        select(attempts.c.account_id, func.count())
        .where(attempts.c.account_id.is_not(None), attempts.c.state != "ENDED")
        .group_by(attempts.c.account_id)
    )
    return {int(a): int(n) for a, n in conn.execute(query)}


def busy(conn: Connection, id_: int) -> tuple[int, int]:
    """(live attempts, ended ones whose outputs are still there)."""
    query = select(
        func.count().filter(attempts.c.state != "ENDED"),
        func.count().filter(attempts.c.state == "ENDED", not_(attempts.c.fetched)),
    ).where(attempts.c.account_id == id_)
    live, unfetched = conn.execute(query).one()
    return int(live), int(unfetched)


# Bindings ---------------------------------------------------------------------------------------------------------------


def _valid(at: int) -> Any:
    return and_(bindings.c.valid_from <= at, or_(bindings.c.valid_until.is_(None), bindings.c.valid_until > at))


def _named() -> Any:
    return (
        select(bindings, orgs.c.name.label("org"), projects.c.name.label("project"))
        .join(orgs, orgs.c.id == bindings.c.org_id)
        .outerjoin(projects, projects.c.id == bindings.c.project_id)
    )


def bind(conn: Connection, row: Mapping[str, Any]) -> None:
    """The database refuses one that overlaps another of the account."""
    conn.execute(insert(bindings).values(**row))


def end(conn: Connection, binding_id: int, at: int, by: str) -> None:
    conn.execute(update(bindings).where(bindings.c.id == binding_id).values(valid_until=at, released_by=by))


def payer(conn: Connection, account_id: int, at: int) -> Row | None:
    """Whose the account was at that time, with the names of `org` and `project`; None: nobody's."""
    row: Row | None = conn.execute(_named().where(bindings.c.account_id == account_id, _valid(at))).mappings().first()
    return row


def history(conn: Connection, account_id: int) -> list[Row]:
    """Oldest first, with names."""
    query = _named().where(bindings.c.account_id == account_id).order_by(bindings.c.valid_from)
    return list(conn.execute(query).mappings())


def all_at(conn: Connection, at: int) -> dict[int, Row]:
    """The binding of each account at that time."""
    return {r["account_id"]: r for r in conn.execute(_named().where(_valid(at))).mappings()}


def open_now(conn: Connection, at: int) -> list[Row]:
    """What is bound at that time: cluster, unix_user, org_id, project_id and the project's name (None for all of them)."""
    query = (
        select(
            site_accounts.c.cluster, site_accounts.c.unix_user, bindings.c.org_id, bindings.c.project_id,
            projects.c.name.label("project"),
        )
        .join(bindings, bindings.c.account_id == site_accounts.c.id)
        .outerjoin(projects, projects.c.id == bindings.c.project_id)
        .where(_valid(at), site_accounts.c.retired_at.is_(None))
    )  # fmt: skip
    return list(conn.execute(query).mappings())


def choose(
    conn: Connection, cluster: str, org_id: int, project_id: int, at: int, *, avoid: Sequence[str] = ()
) -> Row | None:
    """The account under which a job of the project runs there: one of the project's own before one of all its organisation's,
    then the one with the fewest live attempts. Locked against being released meanwhile."""
    live = (
        select(func.count())
        .select_from(attempts)
        .where(attempts.c.account_id == site_accounts.c.id, attempts.c.state != "ENDED")
        .scalar_subquery()
    )
    query = (
        select(site_accounts)
        .join(bindings, bindings.c.account_id == site_accounts.c.id)
        .where(
            site_accounts.c.cluster == cluster,
            site_accounts.c.retired_at.is_(None),
            site_accounts.c.unix_user.not_in(list(avoid)),
            bindings.c.org_id == org_id,
            or_(bindings.c.project_id == project_id, bindings.c.project_id.is_(None)),
            _valid(at),
        )
        .order_by(bindings.c.project_id.is_(None), live, site_accounts.c.id)
        .limit(1)
    )
    if conn.dialect.name == "postgresql":
        query = query.with_for_update(of=site_accounts, read=True)
    row: Row | None = conn.execute(query).mappings().first()
    if row is None:
        return None
    now_whose = payer(conn, row["id"], at)  # a release that was waited for shows in a new statement only
    return row if now_whose is not None and now_whose["org_id"] == org_id else None


def users_of(conn: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Attempt -> the Unix user of its account there, "" for the shared one; unknown attempts are left out."""
    out: dict[int, str] = {}
    for i in range(0, len(ids), 500):
        query = (
            select(attempts.c.id, site_accounts.c.unix_user)
            .outerjoin(site_accounts, site_accounts.c.id == attempts.c.account_id)
            .where(attempts.c.id.in_(ids[i : i + 500]))
        )
        out |= {int(a): user or "" for a, user in conn.execute(query)}
    return out

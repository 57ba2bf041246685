"""What of an organisation's data lies at which site: by cluster and root, with when it was last wanted."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, delete, select

from tidegrid.domain.errors import InvalidInput
from tidegrid.store.schema import site_data
from tidegrid.store.scope import Scope
from tidegrid.store.upsert import insert

Row = RowMapping


def used(conn: Connection, scope: Scope, cluster: str, unix_user: str, keys: Sequence[tuple[str, int, bool]], at: int) -> None:
    """keys: (hash of a content or of a directory, bytes of it, whether a directory), now there and wanted."""
    if scope.org_id is None:
        raise InvalidInput("scope.organisation", "data belongs to an organisation; the operator's view has none")
    rows = [
        {"org_id": scope.org_id, "cluster": cluster, "unix_user": unix_user, "sha256": sha, "size": size, "tree": tree, "used_at": at}
        for sha, (size, tree) in {k: (n, t) for k, n, t in keys}.items()
    ]
    if not rows:
        return
    query = insert(conn, site_data)
    keys_of = ["org_id", "cluster", "unix_user", "sha256"]
    conn.execute(query.on_conflict_do_update(index_elements=keys_of, set_={"size": query.excluded.size, "used_at": at}), rows)


def of_cluster(conn: Connection, cluster: str, org_id: int, unix_user: str) -> list[Row]:
    """Last wanted first."""
    query = (
        select(site_data)
        .where(site_data.c.cluster == cluster, site_data.c.org_id == org_id, site_data.c.unix_user == unix_user)
        .order_by(site_data.c.used_at.desc(), site_data.c.sha256)
    )
    return list(conn.execute(query).mappings())


def where(conn: Connection, org_ids: Sequence[int], hashes: Sequence[str]) -> dict[tuple[int, str], dict[str, int]]:
    """(organisation, hash) -> bytes by cluster, whatever the root."""
    out: dict[tuple[int, str], dict[str, int]] = {}
    wanted = sorted(set(hashes))
    for i in range(0, len(wanted), 500):
        query = select(site_data).where(
            site_data.c.sha256.in_(wanted[i : i + 500]), site_data.c.org_id.in_(sorted(set(org_ids)))
        )
        for r in conn.execute(query).mappings():
            out.setdefault((r["org_id"], r["sha256"]), {})[r["cluster"]] = r["size"]
    return out


def forget(conn: Connection, cluster: str, org_id: int, unix_user: str, hashes: Sequence[str]) -> None:
    for i in range(0, len(hashes), 500):
        conn.execute(
            delete(site_data).where(
                site_data.c.cluster == cluster,
                site_data.c.org_id == org_id,
                site_data.c.unix_user == unix_user,
                site_data.c.sha256.in_(hashes[i : i + 500]),
            )
        )


def forget_root(conn: Connection, cluster: str, unix_user: str) -> None:
    """Of every organisation: the root was cleaned."""
    conn.execute(delete(site_data).where(site_data.c.cluster == cluster, site_data.c.unix_user == unix_user))

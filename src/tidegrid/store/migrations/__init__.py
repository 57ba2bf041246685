"""The schema's history: `versions/`, one revision a file, run by `Store.open`; nobody runs it by hand.

A change of `store.schema` goes with a new revision that makes the same change to databases that exist, and `HEAD` here.
tests/integration/test_migrations.py holds the two together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from tidegrid.domain.errors import Broken

HEAD = "0011"
VERSIONS = Path(__file__).parent / "versions"
_QUICK_CHECK_BYTES = 32 << 20  # a file up to this size is checked whole on opening, in less than a second


def upgrade(engine: Engine, where: str, to: str = HEAD) -> None:
    """Bring the database to this release's schema, in one transaction; at once where it is there already.

    Broken store.corrupt, store.newer (written by a later release), store.foreign (not Tidegrid's).
    """
    with engine.connect() as conn, conn.begin():
        if conn.dialect.name == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(7164233, 0)"))  # servers that start together
        else:
            _check_file(conn, where)
        if _revision(conn, where) != to:
            _run(conn, to)


def _check_file(conn: Connection, where: str) -> None:
    pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
    size = conn.exec_driver_sql("PRAGMA page_size").scalar_one()
    if pages * size > _QUICK_CHECK_BYTES:
        return
    said = conn.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if said != "ok":
        raise Broken(
            "store.corrupt",
            f"the database {where} is damaged: {said}",
            hint="stop the server and restore the database from a backup",
        )


def _revision(conn: Connection, where: str) -> str | None:
    tables = inspect(conn).get_table_names()
    if "alembic_version" not in tables:
        if tables:
            raise Broken(
                "store.foreign",
                f"{where} holds tables that are not Tidegrid's ({tables[0]}, …)",
                hint="name an empty database, or one that Tidegrid made",
            )
        return None
    found: str | None = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is not None and not any(p.name.startswith(f"{found}_") for p in VERSIONS.glob("*.py")):
        raise Broken(
            "store.newer",
            f"the database {where} was written by a later release (schema {found}, this one knows {HEAD})",
            hint="use that release, or restore a backup made before it",
        )
    return found


def _run(conn: Connection, to: str) -> None:
    from alembic.migration import MigrationContext  # only a database that is behind pays for loading it
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(VERSIONS.parent), version_locations=[str(VERSIONS)])

    def steps(revision: Any, _context: Any) -> Any:
        return script._upgrade_revs(to, revision)

    context = MigrationContext.configure(conn, opts={"fn": steps, "transactional_ddl": True})
    with Operations.context(context):
        context.run_migrations()

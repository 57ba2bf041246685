"""The journal is immutable for everybody; usage says whether it is estimated; pages by state and project and the sum of
what is reserved rest on indexes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TABLES = ("journal", "journal_lines")
_REFUSAL = "the journal is immutable: book a reversal"


def upgrade() -> None:
    op.add_column("usage", sa.Column("estimated", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.execute("UPDATE usage SET estimated = true WHERE source = 'provisional'")
    op.create_index("jobs_by_state", "jobs", ["state", "id"])
    op.create_index("jobs_by_project", "jobs", ["org_id", "project_id", "id"])
    op.create_index(
        "jobs_reserving",
        "jobs",
        ["org_id", "reserved"],
        sqlite_where=sa.text("open AND reserved <> 0"),
        postgresql_where=sa.text("open AND reserved <> 0"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for table in _TABLES:
            for action in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION refuse_journal_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    for table in _TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_journal_change()"
        )

"""What is installed, verified and measured where; licences in use; demand that could not be met; the porting board."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_IMMUTABLE = ("installation_events", "machine_cards", "porting_events")
_REFUSAL = "history is immutable: add to it"


def _int(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=None if null else "0", nullable=null)


def _text(name: str, default: str = "") -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default=default, nullable=False)


def _float(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(53), nullable=True)


def _name(name: str, length: int = 64, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), server_default=default, nullable=False)


def _id() -> sa.Column[int]:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", key, autoincrement=False, nullable=False)


def _org() -> sa.Column[int]:
    return sa.Column("org_id", sa.BigInteger(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "installations",
        _name("app"), _name("version"), _name("cluster"), _name("partition"), _text("state"), _text("reason"),
        _text("way", "null"), _int("changed_at"), _text("changed_by"),
        sa.PrimaryKeyConstraint("app", "version", "cluster", "partition"),
    )  # fmt: skip
    op.create_table(
        "installation_events",
        _id(), _text("app"), _text("version"), _text("cluster"), _text("partition"), _int("at"), _text("by"), _text("state"),
        _text("reason"), _text("way", "null"),
        sa.PrimaryKeyConstraint("id"),
    )  # fmt: skip
    op.create_index("installation_history", "installation_events", ["app", "cluster", "partition", "id"])
    op.create_table(
        "trials",
        _id(), _org(), _int("batch"), _text("kind"), _text("app"), _text("version"), _text("cluster"), _text("partition"),
        _text("test"), _text("way", "null"), _int("job_id"), _text("by"), _text("state", "running"), _text("failed", "[]"),
        _text("found", "{}"), _float("seconds"), _int("created_at"), _int("ended_at", null=True),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"]),
        sa.ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
        sa.PrimaryKeyConstraint("id"),
    )  # fmt: skip
    op.create_index("trials_of_app", "trials", ["app", "version", "id"])
    running = sa.text("state = 'running'")
    op.create_index("running_trials", "trials", ["id"], sqlite_where=running, postgresql_where=running)
    op.create_table(
        "machine_cards",
        _id(), _text("cluster"), _text("partition"), _int("measured_at"), _int("job_id"), _text("by"), _text("hash"),
        _text("body"),
        sa.PrimaryKeyConstraint("id"),
    )  # fmt: skip
    op.create_index("cards_of_partition", "machine_cards", ["cluster", "partition", "id"])
    op.create_table(
        "licence_uses",
        sa.Column("attempt_id", sa.BigInteger(), autoincrement=False, nullable=False), _name("pool"), _org(), _int("count"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"]),
        sa.ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
        sa.PrimaryKeyConstraint("attempt_id", "pool"),
    )  # fmt: skip
    op.create_table(
        "unmet",
        sa.Column("day", sa.Integer(), nullable=False), _org(), _name("app"), _name("arch", 32, ""), _name("reason", 32),
        _int("jobs"), _int("core_s"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"]),
        sa.PrimaryKeyConstraint("day", "org_id", "app", "arch", "reason"),
    )  # fmt: skip
    op.create_table(
        "porting",
        _id(), _name("app"), _name("arch", 32), _text("state", "planned"), _float("effort_days"), _text("note"),
        _int("created_at"), _int("changed_at"), _text("changed_by"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("app", "arch"),
    )  # fmt: skip
    op.create_table(
        "porting_events",
        _id(), _int("item_id"), _int("at"), _text("by"), _text("state"), _float("effort_days"), _text("note"),
        sa.ForeignKeyConstraint(["item_id"], ["porting.id"]),
        sa.PrimaryKeyConstraint("id"),
    )  # fmt: skip
    op.create_index("porting_history", "porting_events", ["item_id", "id"])
    _protect()


def _protect() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in _IMMUTABLE:
            for action in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION refuse_history_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    for table in _IMMUTABLE:
        op.execute(
            f"CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change()"
        )

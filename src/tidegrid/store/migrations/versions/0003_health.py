"""Health of clusters and partitions, and the log of incidents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _int(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _text(name: str, default: str = "") -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default=default, nullable=False)


def upgrade() -> None:
    op.create_table(
        "health",
        sa.Column("cluster", sa.String(64), nullable=False),
        sa.Column("partition", sa.String(64), server_default="", nullable=False),
        _text("condition", "ok"),
        _text("body", "{}"),
        _int("updated_at"),
        sa.PrimaryKeyConstraint("cluster", "partition"),
    )
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "incidents",
        sa.Column("id", key, autoincrement=False, nullable=False),
        _text("cluster"),
        _text("partition"),
        _text("cause"),
        _text("condition"),
        _int("opened_at"),
        _int("changed_at"),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        _int("moved"),
        _int("lost"),
        _text("evidence", "{}"),
        _text("steps", "[]"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incidents_of_cluster", "incidents", ["cluster", "id"])
    op.create_index(
        "open_incident",
        "incidents",
        ["cluster", "partition"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )

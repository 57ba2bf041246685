"""Uploads that can be resumed, data sets, quotas, and what of an organisation's data lies at which site."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def _id() -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", kind, autoincrement=False, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def upgrade() -> None:
    op.add_column("blobs", sa.Column("project_id", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "uploads",
        _id(),
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        _number("user_id"),
        _number("project_id"),
        sa.Column("sha256", sa.String(64), nullable=False),
        _number("size"),
        _number("created_at"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("uploads_of_org", "uploads", ["org_id"])
    op.create_table(
        "datasets",
        _id(),
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        _number("files"),
        _number("bytes"),
        sa.Column("regions", sa.Text(), server_default="", nullable=False),
        _number("created_at"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("org_id", "name"),
    )
    op.create_index("datasets_by_content", "datasets", ["org_id", "sha256"])
    op.create_table(
        "quotas",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        _number("project_id"),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("files", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"]),
        sa.PrimaryKeyConstraint("org_id", "project_id"),
    )
    op.create_table(
        "site_data",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("cluster", sa.String(64), nullable=False),
        sa.Column("unix_user", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("tree", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _number("size"),
        _number("used_at"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"]),
        sa.PrimaryKeyConstraint("org_id", "cluster", "unix_user", "sha256"),
    )

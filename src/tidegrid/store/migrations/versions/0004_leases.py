"""Several servers share the clusters by leases; the fencing token moves from the cluster to the lease of its role, and an
attempt says under which token it is sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("role", sa.String(length=100), nullable=False),
        sa.Column("holder", sa.Text(), server_default="", nullable=False),
        sa.Column("token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expires_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("since", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("place", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("role"),
    )
    op.create_table(
        "servers",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("url", sa.Text(), server_default="", nullable=False),
        sa.Column("host", sa.Text(), server_default="", nullable=False),
        sa.Column("pid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.Text(), server_default="", nullable=False),
        sa.Column("able", sa.Text(), server_default="", nullable=False),
        sa.Column("started_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("seen_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expires_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.execute("INSERT INTO leases (role, token) SELECT 'cluster:' || name, fencing_token FROM clusters")
    op.drop_column("clusters", "fencing_token")
    op.add_column("attempts", sa.Column("sender", sa.BigInteger(), server_default="0", nullable=False))
    # what an older release was sending may have arrived
    op.execute("UPDATE attempts SET sender = 1 WHERE state = 'SUBMITTING'")

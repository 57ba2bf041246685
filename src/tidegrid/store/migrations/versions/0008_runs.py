"""Runs that ended well, with what tells how long such a run takes and what had been predicted of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("org_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt_id", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.Integer(), nullable=False),
        sa.Column("restart", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("app", sa.Text(), server_default="", nullable=False),
        sa.Column("place", sa.Text(), server_default="", nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("run_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("wall_s", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("peak_mib", sa.BigInteger(), nullable=True),
        sa.Column("traits", sa.Text(), server_default="{}", nullable=False),
        sa.Column("traits_hash", sa.Text(), server_default="", nullable=False),
        sa.Column("speed_ppm", sa.BigInteger(), server_default="1000000", nullable=False),
        sa.Column("estimate_ms", sa.BigInteger(), nullable=True),
        sa.Column("source", sa.Text(), server_default="", nullable=False),
        sa.Column("said_p50_ms", sa.BigInteger(), nullable=True),
        sa.Column("said_p90_ms", sa.BigInteger(), nullable=True),
        sa.Column("said_peak_mib", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"]),
        sa.ForeignKeyConstraint(["org_id", "job_id"], ["jobs.org_id", "jobs.id"]),
        sa.ForeignKeyConstraint(["org_id", "attempt_id"], ["attempts.org_id", "attempts.id"]),
        sa.PrimaryKeyConstraint("attempt_id", "task", "restart"),
    )
    op.create_index("runs_of_app", "runs", ["app", "recorded_at"])
    op.create_index("runs_of_org", "runs", ["org_id", "app", "recorded_at"])

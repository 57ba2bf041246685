"""Whether and how a cluster's queue is steered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("clusters", sa.Column("steering", sa.Text(), server_default="", nullable=False))

"""What agents gave up. A running service of the version before leaves the column at its default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("incarnations", sa.Column("lost", sa.BigInteger(), server_default="0", nullable=False))

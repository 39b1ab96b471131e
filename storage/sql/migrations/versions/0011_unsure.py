"""Since when it is uncertain how late it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("trusted_time", sa.Column("unsure_since", sa.BigInteger(), nullable=True))

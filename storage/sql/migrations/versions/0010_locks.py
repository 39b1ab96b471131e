"""How evidence is kept in its store, and which locks end soon."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("evidence", sa.Column("version", sa.Text(), nullable=True))
    op.add_column("evidence", sa.Column("locked_until", sa.BigInteger(), nullable=True))
    op.create_index("segment_by_lock", "segment", ["locked_until"])

"""When the centre was told of an item: with ``media: push`` not as it is stored, and a site file may change between the two."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("evidence", sa.Column("told_at", sa.BigInteger(), nullable=True))
    # Until now every item was told in the commit that stored it.
    op.execute("UPDATE evidence SET told_at = stored_at")
    op.create_index(
        "evidence_untold",
        "evidence",
        ["n"],
        sqlite_where=sa.text("stored_at IS NOT NULL AND told_at IS NULL"),
    )

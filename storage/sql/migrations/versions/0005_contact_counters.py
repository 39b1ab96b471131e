"""What a contact's hardware counts of its pushes, so that a counter seen before is no second press."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("contact_memory", schema=None) as batch_op:
        batch_op.add_column(sa.Column("counter", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("counted_at", sa.BigInteger(), nullable=True))

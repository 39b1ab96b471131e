"""What is remembered of a contact's flags, its last push and its words, so that none is misread after a restart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    with op.batch_alter_table("contact_memory", schema=None) as batch_op:
        batch_op.add_column(sa.Column("more", sa.Text(), nullable=True))

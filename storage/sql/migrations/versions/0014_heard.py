"""Whether anything that was understood ever came from a contact, and what was not."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("contact_seen", sa.Column("heard_at", sa.BigInteger(), nullable=True))
    op.add_column("contact_seen", sa.Column("unread_at", sa.BigInteger(), nullable=True))
    op.add_column("contact_seen", sa.Column("unread", sa.Text(), nullable=True))
    # A QoS is remembered of a message on the contact's own topic only. One that was not understood counts as well here: the
    # contact's next message corrects it.
    op.execute("UPDATE contact_seen SET heard_at = at WHERE qos IS NOT NULL")

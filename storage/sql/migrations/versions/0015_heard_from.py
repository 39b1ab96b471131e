"""From which source a contact was heard, so that another topic, format or input of the site file is unheard until it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    # Empty in rows of before: taken for the source that the site file names at the next start.
    op.add_column("contact_seen", sa.Column("source", sa.Text(), nullable=True))

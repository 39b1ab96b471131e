"""What contacts last told of themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "contact_seen",
        sa.Column("point", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=True),
        sa.Column("battery", sa.Integer(), nullable=True),
        sa.Column("battery_low", sa.Boolean(), nullable=False),
        sa.Column("tamper_at", sa.BigInteger(), nullable=True),
        sa.Column("tampered", sa.Boolean(), nullable=False),
        sa.Column("test_at", sa.BigInteger(), nullable=True),
        sa.Column("qos", sa.Integer(), nullable=True),
        sa.Column("heard_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("point"),
    )
    op.create_table(
        "listening",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )

"""Drills: alarms of a plane of their own, and the windows in which a press is one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("alarm", sa.Column("drill", sa.Text(), nullable=True))
    op.drop_index("alarm_open", "alarm")
    op.create_index(
        "alarm_open",
        "alarm",
        ["point"],
        unique=True,
        sqlite_where=sa.text("state != 'closed' AND drill IS NULL"),
    )
    op.create_table(
        "drill_window",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("point", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("armed_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("drill_window_by_point", "drill_window", ["point", "until"])

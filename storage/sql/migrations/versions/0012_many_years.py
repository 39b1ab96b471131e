"""Looking things up among the rows of many years."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.drop_index("gap_by_camera", "gap")
    op.create_index("gap_by_end", "gap", ["camera", "end"])
    op.drop_index("deletion_by_camera", "deletion")
    op.create_index("deletion_by_span", "deletion", ["end", "start", "camera", "register_line"])
    op.create_index("register_by_act", "register", ["act"])

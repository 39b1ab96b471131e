"""How one path to the centre is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True)
class PathHealth:
    """What is known of one path. ``failing_since`` is ``None`` while it answers."""

    name: str
    failing_since: datetime | None = None
    cause: str = ""
    received_total: int = 0
    failed_total: int = 0

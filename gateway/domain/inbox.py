"""What is remembered of a message of a contact."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxEntry:
    """What is kept of an admitted message, so that it is never admitted twice. ``alarm`` is ``None`` for one that was no
    press but changed what is remembered of its source."""

    identity: str | None
    topic: str
    digest: str
    mid: int
    arrived_at: datetime
    alarm: str | None

"""This box's clock and the centre's, where they do not agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """Two clocks that do not agree. ``used``: signatures bear the other side's time, since it refuses ours."""

    ours: datetime
    theirs: datetime
    used: bool

    @property
    def by_s(self) -> int:
        """Seconds that the other side's clock is ahead of ours; negative if it is behind."""
        return round((self.theirs - self.ours).total_seconds())

    def words(self, path: str, stamp: Callable[[datetime], str]) -> str:
        """What a fault says of it."""
        side = "behind" if self.by_s > 0 else "ahead of"
        return (
            f"this box's clock says {stamp(self.ours)}, which is {abs(self.by_s)} s {side} the centre's "
            f"({stamp(self.theirs)}), and the centre refuses what is signed with it; signatures on the path {path} "
            "bear the centre's time until this clock is set right (NTP)"
        )

"""What is kept longer than the period, and until when everything else is: the floor and the ceiling of the law.

Floor: nothing younger than the period is ever deleted, for any reason. Ceiling: what is older goes within 24 h, unless it is
held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.recording import FLOOR_DAYS, GONE_WITHIN

REVIEW_AFTER = timedelta(days=90)  # contract of the objects: every hold has a review date; overdue is a fault
REVIEW_MOST = timedelta(
    days=366
)  # ours: a hold nobody looks at for longer than a year is forgotten, not kept
#: Ours: what is due goes an hour later, so that a clock that is wrong by less than that breaks no floor.
MARGIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A reason to keep: all evidence of one ``alarm``, or what ``camera`` (``None``: every camera) recorded in a span.

    Who placed it and who released it are persons, by name and unit; ``placed_by`` is the gateway itself for alarm evidence, which
    is held from the start.
    """

    id: str
    reason: str
    placed_by: str
    placed_unit: str
    placed_at: datetime
    review_at: datetime
    alarm: str | None = None
    camera: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    released_at: datetime | None = None
    released_by: str | None = None
    released_unit: str | None = None
    released_reason: str | None = None

    @property
    def standing(self) -> bool:
        return self.released_at is None

    def covers(self, camera: str, start: datetime, end: datetime) -> bool:
        """Whether it holds what ``camera`` recorded between the two instants, or any part of it."""
        if not self.standing or self.start is None or self.end is None:
            return False
        return self.camera in (None, camera) and self.start < end and start < self.end


def kept_until(end: datetime, retention_days: int) -> datetime:
    """When what ended at ``end`` may go: the period times 24 h after its end, and never before the floor."""
    return end + timedelta(days=max(retention_days, FLOOR_DAYS))


def due_before(now: datetime, retention_days: int) -> datetime:
    """What ended before then is to be deleted ``now``, unless it is held."""
    return now - timedelta(days=max(retention_days, FLOOR_DAYS)) - MARGIN


def overdue_before(now: datetime, retention_days: int) -> datetime:
    """What ended before then and is not held should be gone ``now``: its ceiling has passed."""
    return now - timedelta(days=max(retention_days, FLOOR_DAYS)) - GONE_WITHIN


def evidence_held(of_alarm: Sequence[Hold], drill: bool) -> bool:
    """Whether an alarm's evidence is held by the alarm itself: until a person has released it, and so also before anybody has
    written its hold down. A drill's never is."""
    return not drill and (not of_alarm or any(hold.standing for hold in of_alarm))


def held(holds: Sequence[Hold], camera: str, start: datetime, end: datetime) -> bool:
    """Whether any standing hold covers the span."""
    return any(hold.covers(camera, start, end) for hold in holds)

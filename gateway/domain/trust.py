"""How late it is at least: the time that deleting goes by, which never runs ahead on the word of one clock.

The wall clock alone may jump: a battery dies, somebody types a wrong year. What is trusted moves with the clock that never jumps,
and is taken up to the wall clock only when somebody else (the centre, a person) says the same time. A little is granted
without that, since every restart loses minutes; the margin of :mod:`gateway.domain.hold` covers it.

A clock set *back* is as bad: what is recorded meanwhile bears an old date and would be due at once. So each recording is
also given the time as it is *reckoned*: from the last good one, by the clock that never jumps. How long the box was off, no such
clock tells: where that comes out, what was reckoned since the start is put right by as much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.hold import MARGIN

#: Ours: two clocks that differ by no more say the same time. A second of HTTP's Date, a slow answer, a clock without NTP.
AGREE_WITHIN = timedelta(minutes=5)
GRANTED_MOST = MARGIN  # all that is granted between two confirmations: as much as the margin makes up for


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Readings of the reckoned time from ``since`` to ``until`` were too early by so much."""

    since: datetime
    until: datetime
    by: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedTime:
    """``at`` is never later than the truth by more than the margin; ``granted`` is what of it nobody has confirmed.
    ``reckoned`` is the best guess at the truth: what a new recording is dated by, beside the wall clock; ``unsure_since`` is
    the first of its readings that a start made uncertain, ``None`` once another clock has said the time since then."""

    at: datetime
    reckoned: datetime
    granted: timedelta = timedelta(0)
    confirmed_at: datetime | None = None
    confirmed_by: str = ""
    unsure_since: datetime | None = None

    @classmethod
    def begun(cls, wall: datetime) -> TrustedTime:
        """The very first: there is nothing but the wall clock."""
        return cls(at=wall, reckoned=wall, unsure_since=wall)

    def advanced(self, elapsed_s: float, wall: datetime) -> TrustedTime:
        """After ``elapsed_s`` on the clock that never jumps, with the wall clock at ``wall``: never beyond it."""
        elapsed = timedelta(seconds=max(0.0, elapsed_s))
        at, reckoned = min(self.at + elapsed, wall), self.reckoned + elapsed
        if abs(wall - reckoned) <= GRANTED_MOST:
            reckoned = wall  # an ordinary correction
        ahead = wall - at
        if timedelta(0) < ahead <= GRANTED_MOST - self.granted:
            return replace(self, at=wall, reckoned=reckoned, granted=self.granted + ahead)
        return replace(self, at=at, reckoned=reckoned)

    def resumed(self, wall: datetime) -> TrustedTime:
        """After a restart: only the wall clock can tell how long it took, unless it says less than was reckoned before."""
        unsure_since = self.unsure_since or self.reckoned
        return replace(self, reckoned=max(self.reckoned, wall), unsure_since=unsure_since)

    def confirmed(self, wall: datetime, other: datetime, by: str) -> TrustedTime | None:
        """With another clock's word for now; ``None`` if the two do not agree, and nothing has changed."""
        apart = abs(wall - other)
        if apart > AGREE_WITHIN:
            return None
        return TrustedTime(at=wall, reckoned=wall, granted=apart, confirmed_at=wall, confirmed_by=by)

    def correction(self, agreed: TrustedTime) -> tuple[Correction, ...]:
        """What ``agreed``, that follows by another clock's word, makes of the readings since a start: nothing if they were right
        within the margin."""
        by = agreed.reckoned - self.reckoned
        if self.unsure_since is None or by <= GRANTED_MOST:
            return ()
        return (Correction(since=self.unsure_since, until=self.reckoned + AGREE_WITHIN, by=by),)

    def behind(self, wall: datetime) -> timedelta:
        """How far the wall clock stands ahead of what is trusted; zero while there is nothing to confirm."""
        return max(timedelta(0), wall - self.at)

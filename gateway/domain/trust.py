"""How late it is at least: the time that deleting goes by, which never runs ahead on the word of one clock.

The wall clock alone may jump: a battery dies, somebody types a wrong year. What is trusted moves with the clock that never jumps,
and is taken up to the wall clock only when somebody else (the centre, a person) says the same time. A little is granted
without that, since every restart loses minutes; the margin of :mod:`gateway.domain.holding` covers it.

A clock set *back* is as bad: what is recorded meanwhile bears an old date and would be due at once. So each recording is
also given the time as it is *reckoned*: from the last good one, by the clock that never jumps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.holding import MARGIN

#: Ours: two clocks that differ by no more say the same time. A second of HTTP's Date, a slow answer, a clock without NTP.
AGREE_WITHIN = timedelta(minutes=5)
GRANTED_MOST = MARGIN  # all that is granted between two confirmations: as much as the margin makes up for


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedTime:
    """``at`` is never later than the truth by more than the margin; ``granted`` is what of it nobody has confirmed.
    ``reckoned`` is the best guess at the truth: what a new recording is dated by, beside the wall clock."""

    at: datetime
    reckoned: datetime
    granted: timedelta = timedelta(0)
    confirmed_at: datetime | None = None
    confirmed_by: str = ""

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
        return replace(self, reckoned=max(self.reckoned, wall))

    def confirmed(self, wall: datetime, other: datetime, by: str) -> TrustedTime | None:
        """With another clock's word for now; ``None`` if the two do not agree, and nothing has changed."""
        apart = abs(wall - other)
        if apart > AGREE_WITHIN:
            return None
        return TrustedTime(at=wall, reckoned=wall, granted=apart, confirmed_at=wall, confirmed_by=by)

    def behind(self, wall: datetime) -> timedelta:
        """How far the wall clock stands ahead of what is trusted; zero while there is nothing to confirm."""
        return max(timedelta(0), wall - self.at)

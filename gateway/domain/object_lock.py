"""Until when an object is locked in its store, against everybody, its owner included."""

from __future__ import annotations

from datetime import datetime, timedelta

#: What is built: while nobody else has confirmed the clock, a lock is this short and made anew. A wrong clock then keeps
#: nothing locked for years, and nothing is unlocked early: the lock is renewed long before it ends.
UNCONFIRMED = timedelta(hours=24)
RENEW_BEFORE = timedelta(hours=12)  # ours: half of it, so that a store may be away for a night
#: Stores count whole seconds.
SECOND = timedelta(seconds=1)


def whole_lock(end: datetime, now: datetime, retention_days: int) -> datetime:
    """Until when what ended at ``end`` has to be locked: exactly its period, and never longer from ``now`` than that."""
    return min(end, now) + timedelta(days=retention_days)


def lock_until(end: datetime, now: datetime, retention_days: int, *, confirmed: bool) -> datetime | None:
    """Until when to lock what ended at ``end``, ``None`` if its period is over. ``confirmed``: ``now`` is not the word of one
    clock alone."""
    whole = whole_lock(end, now, retention_days)
    if whole <= now:
        return None
    return whole if confirmed else min(whole, now + UNCONFIRMED)


def lacks(
    locked_until: datetime | None, end: datetime, now: datetime, retention_days: int, *, confirmed: bool
) -> bool:
    """Whether a lock has to be made, or made longer, now."""
    wanted = lock_until(end, now, retention_days, confirmed=confirmed)
    if wanted is None:
        return False
    if locked_until is None:
        return True
    return locked_until < wanted - SECOND and (confirmed or locked_until < now + RENEW_BEFORE)

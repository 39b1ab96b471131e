"""When a press under an identity that was used before is another press all the same.

Hardware that counts in memory begins at 1 again after each change of its battery, and what it counts then was all used before.
Dropped in silence, such a contact would be dead for as long as identities are remembered. A copy of a message, on the other
hand, comes soon after it, or shows by the contact's own time that it is the same event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.contact import COPIED_WITHIN, Signal

#: Nobody sends a message again that late of his own accord; and who was pushed an hour ago and is pushed again must be heard.
LONG_SILENCE = timedelta(minutes=10)
#: A contact's clock may run ahead by so much.
CLOCK_AHEAD = timedelta(seconds=60)

#: What can be a count: a short number, alone or behind a name. A UUID ends with twelve letters.
_COUNT = re.compile(r"(|.*[^0-9a-zA-Z]|[a-zA-Z]*)([0-9]{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The event that used the identity: the digest of its message (empty: it was told beside a press) and when it arrived."""

    digest: str
    at: datetime


def used_anew(
    press: Signal,
    earlier: Earlier,
    *,
    digest: str,
    now: datetime,
    newest: str | None,
    started_at: datetime | None,
) -> tuple[bool, bool]:
    """Whether ``press`` is another event than the ``earlier`` one of its identity, and whether its hardware counts anew, so
    that none of its earlier identities stands any more.

    ``newest`` is the last identity that was a press of the source, ``started_at`` when the device was last heard starting.
    """
    age = now - earlier.at
    if not earlier.digest or press.event_id is None or timedelta(0) <= age <= COPIED_WITHIN:
        return False, False
    if press.at is not None:
        if digest == earlier.digest or press.event_id.endswith(str(round(press.at.timestamp() * 1000))):
            return False, False  # its own time is the same as well
        if earlier.at + CLOCK_AHEAD < press.at <= now + CLOCK_AHEAD:
            return True, False
    mine, last = _COUNT.fullmatch(press.event_id), _COUNT.fullmatch(newest or "")
    if mine is None:
        return False, False  # no count, and so nothing that begins anew
    if last is not None and mine[1] == last[1] and int(mine[2]) != int(last[2]):
        return (
            True,
            True,
        )  # a number that was passed already, or comes after lower ones: it began to count anew
    restarted = started_at is not None and earlier.at < started_at <= now
    return restarted or age >= LONG_SILENCE or age < timedelta(0), False

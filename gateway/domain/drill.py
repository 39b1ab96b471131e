"""The drill window: when a physical press is an exercise and not an alarm. Every doubt is decided for the alarm.

A technician arms one point; the centre is told (``drill.window``); only once it has received that does the point's next
physical press count as a drill (API.md, "Drills"). A press in any other case is an alarm, whatever was meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from gateway.domain.alarm import Alarm, State
from gateway.domain.plan import SelfTest

MOST_ARMED_S = 60  # API.md, "Drills": a technician arms a point for at most 60 s
LEAST_ARMED_S = 5  # nobody reaches a button sooner


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillWindow:
    """One arming of one point, and who did it. ``received_at`` is when the centre had it; ``ended_by`` the id of the drill or
    alarm that the point's next press became, after which the window is over."""

    id: str
    point: str
    by: str
    armed_at: datetime
    until: datetime
    received_at: datetime | None = None
    ended_by: str | None = None


def counts_as_drill(
    window: DrillWindow,
    *,
    pressed_at: datetime,
    arrived_at: datetime,
    redelivered: bool,
    connected_at: datetime | None,
    alarm_open: bool,
) -> bool:
    """Whether the first press of the window's point since it was armed is a drill.

    It is not if the centre does not know of the window yet, if the window is over, if the press was made before the centre
    knew (a contact with a clock tells, ``pressed_at``), if it may have waited at the broker since before (``redelivered``, or the
    connection that brought it is younger than what the centre knows, ``connected_at``), or if a real alarm of the point is open,
    to which it belongs.
    """
    return (
        window.ended_by is None
        and window.received_at is not None
        and window.received_at <= pressed_at
        and window.received_at <= arrived_at < window.until
        and not redelivered
        and connected_at is not None
        and connected_at <= window.received_at
        and not alarm_open
    )


def self_test_due(plan: SelfTest, last_at: datetime | None, now: datetime, timezone: str) -> datetime:
    """When the next self-test is due, given when the last one was raised.

    Without a last one it is the coming turn. A turn that passed while the gateway was off is due at once, once.
    """
    local = (now if last_at is None else max(last_at, now - timedelta(days=1))).astimezone(ZoneInfo(timezone))
    due = local.replace(
        hour=plan.at.hour, minute=plan.at.minute, second=plan.at.second, microsecond=0, fold=0
    )
    if due <= local:
        due = (due.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=local.tzinfo)
    return due


def unanswered(plan: SelfTest, test: Alarm, now: datetime) -> bool:
    """Whether the centre has left this self-test without an answer for too long. Received is no answer."""
    late = now - test.raised_at >= timedelta(seconds=plan.answered_within_s)
    return test.state is State.RAISED and late

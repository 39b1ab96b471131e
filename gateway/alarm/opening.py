"""Opening an alarm or a drill: the alarm, its first message, the first step of its timeline, and what is asked of its cameras.

Shared by intake (a press) and drilling (an exercise): what an exercise proves must be what a press does. :func:`open_alarm`
makes all of it and touches nothing; :func:`write_opening` writes all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.domain.alarm import Alarm, Drill, State
from gateway.domain.camera import CameraHealth
from gateway.domain.envelope import Envelopes
from gateway.domain.evidence import DURING_ENDS_S, Evidence, Kind, Moment, press_evidence
from gateway.domain.ids import ALARM, DRILL, new_id
from gateway.domain.message import Message, MessageType
from gateway.domain.plan import Point, Site
from gateway.ports.store import Transaction

MANIFEST_GRACE = timedelta(milliseconds=200)  # for the last clip to be closed and stored after the window
LATE = timedelta(seconds=5)  # a press that took longer to arrive tells of the past
DRILL_FILMED_S = 60  # two `during` clips show that they come; a drill nobody closes must not fill the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A new alarm or drill and the work it gives to the next stages: its ``message`` to the centre, the ``detail`` of the first
    step of its timeline, and the ``evidence`` wanted of its cameras."""

    alarm: Alarm
    message: Message
    detail: Mapping[str, Any]
    evidence: Sequence[Evidence]


def open_alarm(
    envelopes: Envelopes,
    point: Point,
    *,
    pressed_at: datetime,
    now: datetime,
    health: Mapping[str, CameraHealth],
    detail: Mapping[str, Any],
    drill: Drill | None = None,
    durable: bool = True,
) -> Opening:
    """A new alarm of ``point``, or with ``drill`` an exercise, raised ``now`` for a press at ``pressed_at``.

    An exercise asks the same of the cameras; what is filmed *while* it is open ends sooner, and a self-test films none.
    ``health`` is that of the cameras now, ``detail`` what the timeline says of its cause, ``durable`` whether the commit it is
    written in outlives the box's power.
    """
    alarm = _new_alarm(envelopes.site, point, pressed_at, now, drill)
    healthy = {id_: h.healthy for id_, h in health.items()}
    data = envelopes.raised(alarm, point, healthy, now, durable=durable)
    alarm, message = envelopes.about_alarm(alarm, MessageType.ALARM_RAISED, data, at=pressed_at, now=now)
    snapshots = [id_ for id_ in point.cameras if id_ in health and health[id_].offers_snapshot]
    return Opening(
        alarm=alarm,
        message=message,
        detail={"point": point.id, **detail},
        evidence=_wanted_evidence(envelopes.site, alarm, snapshots),
    )


def write_opening(tx: Transaction, opening: Opening) -> bool:
    """Write it whole. False, and nothing written, if the point has an open alarm already; that is never so for a drill."""
    alarm = opening.alarm
    if not tx.alarms.add(alarm):
        return False
    tx.messages.add(opening.message)
    tx.alarms.note(alarm.id, alarm.raised_at, "raised", opening.detail)
    tx.evidence.add(opening.evidence)
    return True


def _new_alarm(site: Site, point: Point, pressed_at: datetime, now: datetime, drill: Drill | None) -> Alarm:
    window_ends_at = pressed_at + timedelta(seconds=site.after_s)
    # What is to be filmed *while* the alarm is open begins no earlier than the alarm itself.
    filmed_from = max(pressed_at, now - LATE)
    filmed_s = DURING_ENDS_S if drill is None else DRILL_FILMED_S
    films = bool(point.cameras) and drill is not Drill.SELF_TEST
    return Alarm(
        id=new_id(ALARM if drill is None else DRILL, now),
        point=point.id,
        severity=point.severity,
        state=State.RAISED,
        pressed_at=pressed_at,
        raised_at=now,
        last_press_at=pressed_at,
        window_ends_at=window_ends_at,
        cameras=point.cameras,
        manifest_due_at=max(window_ends_at, now) + MANIFEST_GRACE,
        during_next_at=filmed_from if films else None,
        during_until=filmed_from + timedelta(seconds=filmed_s),
        drill=drill,
    )


def _wanted_evidence(site: Site, alarm: Alarm, snapshots: Sequence[str]) -> list[Evidence]:
    """Everything asked of the alarm's cameras, and beside it the own snapshot of those that offer one."""
    asked = press_evidence(
        before_s=site.before_s, after_s=site.after_s, pressed_at=alarm.pressed_at, cameras=alarm.cameras
    )
    p = alarm.pressed_at
    own = [(camera, Kind.STILL, Moment.PRESS, p, p) for camera in snapshots]
    return [
        Evidence(
            id=new_id("evd", alarm.raised_at),
            alarm=alarm.id,
            camera=camera,
            kind=kind,
            moment=moment,
            start=start,
            end=end,
            source="onvif" if number >= len(asked) else None,
        )
        for number, (camera, kind, moment, start, end) in enumerate(asked + own)
    ]

"""What a press opens: the alarm itself, and what is asked of its cameras."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.domain.alarm import Alarm, Drill, State
from gateway.domain.evidence import DURING_ENDS_S, Evidence, Kind, Moment, press_evidence
from gateway.domain.ids import ALARM, DRILL, new_id
from gateway.domain.plan import Point, Site

MANIFEST_GRACE = timedelta(milliseconds=200)  # for the last clip to be closed and stored after the window
LATE = timedelta(seconds=5)  # a press that took longer to arrive tells of the past
DRILL_FILMED_S = 60  # two `during` clips show that they come; a drill nobody closes must not fill the disk


def open_alarm(
    site: Site, point: Point, pressed_at: datetime, now: datetime, drill: Drill | None = None
) -> Alarm:
    """A new alarm of ``point``, or with ``drill`` an exercise, raised ``now`` for a press at ``pressed_at``.

    An exercise asks the same of the cameras; what is filmed *while* it is open ends sooner, and a self-test films none.
    """
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


def wanted_evidence(site: Site, alarm: Alarm, snapshots: Sequence[str]) -> list[Evidence]:
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

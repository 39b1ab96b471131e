"""What raising an alarm or a drill leaves behind, in the transaction of whoever raises it: the next stages' work.

Shared by intake (a press) and drilling (an exercise): what an exercise proves must be what a press does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.alarm import Alarm
from gateway.domain.camera import CameraHealth
from gateway.domain.envelope import Envelopes
from gateway.domain.message import Message, MessageType
from gateway.domain.opening import wanted_evidence
from gateway.domain.plan import Point
from gateway.ports.store import Transaction


def raise_alarm(
    tx: Transaction,
    envelopes: Envelopes,
    health: Mapping[str, CameraHealth],
    alarm: Alarm,
    point: Point,
    detail: Mapping[str, Any],
) -> Message | None:
    """Keep the alarm, its message, the first step of its timeline and the evidence wanted of its cameras.

    ``None``, and nothing kept, if the point has an open alarm already; that is never so for a drill.
    """
    now = alarm.raised_at
    healthy = {id_: h.healthy for id_, h in health.items()}
    data = envelopes.raised(alarm, point, healthy, now, durable=tx.durable)
    alarm, said = envelopes.about_alarm(alarm, MessageType.ALARM_RAISED, data, at=alarm.pressed_at, now=now)
    if not tx.alarms.add(alarm):
        return None
    tx.messages.add(said)
    tx.alarms.note(alarm.id, now, "raised", {"point": point.id, **detail})
    snapshots = [id_ for id_ in point.cameras if id_ in health and health[id_].offers_snapshot]
    tx.evidence.add(wanted_evidence(envelopes.site, alarm, snapshots))
    return said

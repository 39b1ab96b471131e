"""Makes what tests talk about: a small school, an alarm, a contact's message."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from gateway.domain.alarm import Alarm, State
from gateway.domain.envelope import Envelopes
from gateway.domain.links import LinkSigner
from gateway.domain.plan import Camera, ContactSource, Point, Severity, Site, Zone
from gateway.ports.contacts import ContactMessage
from tests.support.clock import MORNING

KEY = bytes(range(32))
PUBLIC_URL = "https://school.example:8443"


def point(
    id_: str = "p-301",
    *,
    topic: str | None = None,
    format_: str = "gateway",
    input_: str | None = None,
    normally_open: bool = True,
    cameras: Sequence[str] = ("cam-a", "cam-b"),
) -> Point:
    """A contact point in classroom 301, by default at the topic that bears its id."""
    return Point(
        id=id_,
        name=f"触点 {id_}",
        zone=Zone(id="b1-301", name="301 教室", kind="classroom", building="一号楼", floor=3),
        cameras=tuple(cameras),
        severity=Severity.PANIC,
        source=ContactSource(
            topic=topic or f"contacts/{id_}", format=format_, input=input_, normally_open=normally_open
        ),
    )


def site(*points: Point, cameras: Sequence[str] = ("cam-a", "cam-b"), **changes: Any) -> Site:
    """A school with those points and cameras."""
    zone = Zone(id="b1-301", name="301 教室", kind="classroom", building="一号楼", floor=3)
    values: dict[str, Any] = {
        "id": "jms-no3-middle",
        "name": "第三中学",
        "address": "长安路 86 号",
        "lat": 46.8085,
        "lon": 130.3653,
        "timezone": "Asia/Shanghai",
        "zones": {zone.id: zone},
        "cameras": {c: Camera(id=c, name=f"镜头 {c}", zone=zone.id) for c in cameras},
        "points": {p.id: p for p in points or (point(),)},
        "retention_days": 30,
        "before_s": 30,
        "after_s": 30,
        "accept_within_s": 60,
    }
    return Site(**(values | changes))


def envelopes(plan: Site | None = None) -> Envelopes:
    """What makes messages for that school."""
    return Envelopes(
        site=plan or site(), links=LinkSigner(KEY, PUBLIC_URL), media_link_s=604800, live_link_s=86400
    )


def alarm(id_: str = "alm_1", *, at: datetime = MORNING, **changes: Any) -> Alarm:
    """A raised alarm of point ``p-301``, pressed at ``at``."""
    values: dict[str, Any] = {
        "id": id_,
        "point": "p-301",
        "severity": Severity.PANIC,
        "state": State.RAISED,
        "pressed_at": at,
        "raised_at": at,
        "last_press_at": at,
        "window_ends_at": at + timedelta(seconds=30),
        "cameras": ("cam-a", "cam-b"),
        "during_next_at": at,
        "during_until": at + timedelta(minutes=30),
    }
    return Alarm(**(values | changes))


@dataclass(slots=True)
class Acknowledgements:
    """Counts which packet ids were acknowledged, in order."""

    mids: list[int] = field(default_factory=list)

    def for_(self, mid: int) -> Callable[[], None]:
        return lambda: self.mids.append(mid)


def contact_message(
    payload: dict[str, Any] | bytes | None = None,
    *,
    topic: str = "contacts/p-301",
    at: datetime = MORNING,
    mid: int = 1,
    retained: bool = False,
    redelivered: bool = False,
    acknowledge: Callable[[], None] = lambda: None,
    connected: Callable[[], bool] = lambda: False,
    connected_at: datetime | None = MORNING,
) -> ContactMessage:
    """A message as the broker brought it; by default a press in the gateway's own format."""
    if payload is None:
        payload = {"event": "pressed"}
    return ContactMessage(
        topic=topic,
        payload=payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
        retained=retained,
        redelivered=redelivered,
        mid=mid,
        arrived_at=at,
        acknowledge=acknowledge,
        connected=connected,
        connected_at=connected_at,
    )

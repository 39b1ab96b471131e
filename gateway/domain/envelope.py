"""The bodies of all messages to the 110 centre: CloudEvents 1.0, structured JSON (API.md, "Messages")."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gateway.domain.alarm import Alarm
from gateway.domain.drill import DrillWindow
from gateway.domain.errors import InvariantBroken
from gateway.domain.evidence import Evidence, EvidenceState
from gateway.domain.fault import Fault
from gateway.domain.ids import is_drill, new_id
from gateway.domain.links import LinkSigner, live_path, media_path
from gateway.domain.message import DRILL_OF, Message, MessageType
from gateway.domain.plan import Point, Site, Zone
from gateway.domain.upload import item_place, live_place


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelopes:
    """Makes messages. Times are written with the school's own offset; links begin with the signer's public address.

    ``media_url`` (no trailing slash) is where evidence is put, ``None`` where the centre fetches it. ``clock_offset`` tells by
    how many seconds the centre's clock is ahead of this one, while signatures bear the centre's time; else ``None``.
    """

    site: Site
    links: LinkSigner
    media_link_s: int
    live_link_s: int
    media_url: str | None = None
    clock_offset: Callable[[], int | None] = lambda: None

    @property
    def pushes(self) -> bool:
        """Whether evidence is PUT at the centre: then nothing is told of an item before the centre has it."""
        return self.media_url is not None

    def about_alarm(
        self, alarm: Alarm, type_: MessageType, data: Mapping[str, Any], *, at: datetime, now: datetime
    ) -> tuple[Alarm, Message]:
        """A message about ``alarm`` and the alarm with its sequence counted on; ``at`` is when it happened.

        The only door for what is said of an alarm, and where the planes part: about a drill goes the drill's type, with
        ``drill`` in its data in place of ``alarm``. Raises ``InvariantBroken`` for what is never said of a drill.
        """
        alarm = alarm.next_sequence()
        if alarm.drill is not None:
            if type_ not in DRILL_OF:
                raise InvariantBroken(f"{type_.value} about the drill {alarm.id}")
            type_ = DRILL_OF[type_]
            data = {("drill" if name == "alarm" else name): value for name, value in data.items()}
            if "drill" in data:
                data["drill"] = {**data["drill"], "kind": alarm.drill.value}
        return alarm, self.message(type_, data, at=at, now=now, subject=alarm.id, sequence=alarm.sequence)

    def message(
        self,
        type_: MessageType,
        data: Mapping[str, Any],
        *,
        at: datetime,
        now: datetime,
        subject: str | None = None,
        sequence: int | None = None,
    ) -> Message:
        """A message, due now, its body fixed for ever."""
        id_ = new_id("msg", now)
        body: dict[str, Any] = {
            "specversion": "1.0",
            "id": id_,
            "source": f"/campus/{self.site.id}",
            "type": type_.value,
        }
        if subject is not None:
            body["subject"] = subject
        body["time"] = self.stamp(at)
        if sequence is not None:
            body["sequence"] = str(sequence)
        if (offset_s := self.clock_offset()) is not None:
            body["clockoffset"] = offset_s
        body |= {"datacontenttype": "application/json", "data": data}
        return Message(
            id=id_,
            type=type_,
            subject=subject,
            sequence=sequence,
            body=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
            created_at=now,
            due_at=now,
        )

    def stamp(self, at: datetime) -> str:
        """RFC 3339 with milliseconds and the school's offset."""
        return at.astimezone(ZoneInfo(self.site.timezone)).isoformat(timespec="milliseconds")

    def alarm_summary(self, alarm: Alarm) -> dict[str, Any]:
        """The ``alarm`` object of ``alarm.raised``."""
        late = (alarm.raised_at - alarm.pressed_at).total_seconds()
        return {
            "id": alarm.id,
            "state": alarm.state.value,
            "severity": alarm.severity.value,
            "pressed_at": self.stamp(alarm.pressed_at),
            "raised_at": self.stamp(alarm.raised_at),
            "late_s": round(late, 3),
            "presses": alarm.presses,
        }

    def raised(
        self,
        alarm: Alarm,
        point: Point,
        healthy: Mapping[str, bool],
        now: datetime,
        *,
        durable: bool = True,
    ) -> dict[str, Any]:
        """Data of ``alarm.raised``: who, where, which cameras, how to watch, where to reply. ``durable`` says whether it was on
        the gateway's disk when the message was made."""
        return {
            "alarm": self.alarm_summary(alarm) | _durability(durable),
            "site": self.site_summary(),
            "point": self.point(point),
            "cameras": [self.camera(id_, alarm.id, healthy.get(id_, False), now) for id_ in alarm.cameras],
            "reply_url": self.reply_url(alarm.id),
        }

    def reply_url(self, alarm: str) -> str:
        """Where the centre replies to an alarm or a drill."""
        plane = "drills" if is_drill(alarm) else "alarms"
        return f"{self.links.public_url}/api/v1/{plane}/{alarm}/replies"

    def window(self, window: DrillWindow, point: Point) -> dict[str, Any]:
        """Data of ``drill.window``: which point's next press is a drill, and until when."""
        return {
            "window": {
                "id": window.id,
                "armed_at": self.stamp(window.armed_at),
                "until": self.stamp(window.until),
                "by": window.by,
            },
            "point": self.point(point),
        }

    def repeated(
        self,
        alarm: Alarm,
        point: Point,
        pressed_at: datetime,
        arrived_at: datetime,
        *,
        durable: bool = True,
    ) -> dict[str, Any]:
        """Data of ``alarm.repeated``."""
        return {
            "alarm": self.alarm_summary(alarm) | _durability(durable),
            "point": self.point(point),
            "pressed_at": self.stamp(pressed_at),
            "raised_at": self.stamp(arrived_at),
        }

    def site_summary(self) -> dict[str, Any]:
        site = self.site
        return {
            "id": site.id,
            "name": site.name,
            "address": site.address,
            "location": {"lat": site.lat, "lon": site.lon},
        }

    def point(self, point: Point) -> dict[str, Any]:
        return {"id": point.id, "name": point.name, "zone": zone_object(point.zone)}

    def camera(self, camera: str, alarm: str, healthy: bool, now: datetime) -> dict[str, Any]:
        """One camera with its live links for this alarm."""
        known = self.site.cameras.get(camera)
        return {
            "id": camera,
            "name": known.name if known else camera,
            "zone": known.zone if known else None,
            "healthy": healthy,
            "live": self.live(camera, alarm, now),
        }

    def live(self, camera: str, alarm: str, now: datetime) -> dict[str, Any]:
        expires_at = now + timedelta(seconds=self.live_link_s)
        links = {
            "page": self.links.url(live_path(camera), expires_at=expires_at, alarm=alarm),
            "hls": self.links.url(live_path(camera, "index.m3u8"), expires_at=expires_at, alarm=alarm),
            "expires_at": self.stamp(expires_at),
        }
        if self.media_url is not None:
            links["pushed"] = f"{self.media_url}/{live_place(alarm, camera)}"
        return links

    def evidence(self, item: Evidence, now: datetime) -> dict[str, Any]:
        """Data of ``alarm.evidence``: one stored item with a link to it, or with the place to which it was put."""
        told = self.evidence_object(item, now)
        if self.media_url is not None:
            told |= {"url": f"{self.media_url}/{item_place(item)}", "expires_at": None}
        return {"alarm": {"id": item.alarm}, "evidence": told}

    def evidence_object(self, item: Evidence, now: datetime) -> dict[str, Any]:
        expires_at = now + timedelta(seconds=self.media_link_s)
        stored = item.state is EvidenceState.STORED and item.key is not None
        link = (
            self.links.url(media_path(item.key or ""), expires_at=expires_at, alarm=item.alarm)
            if stored
            else None
        )
        return {
            "id": item.id,
            "camera": item.camera,
            "kind": item.kind.value,
            "moment": item.moment.value,
            "from": self.stamp(item.start),
            "to": self.stamp(item.end),
            "taken_at": self.stamp(item.taken_at) if item.taken_at else None,
            "offset_ms": item.offset_ms,
            "clock": item.clock,
            "source": item.source,
            "media_type": item.media_type,
            "bytes": item.bytes,
            "sha256": item.sha256,
            "url": link,
            "expires_at": self.stamp(expires_at) if stored else None,
            "shortfall": item.reason,
        }

    def manifest(self, alarm: Alarm, items: Sequence[Evidence], revision: int) -> dict[str, Any]:
        """Data of ``alarm.manifest``: everything asked for against everything delivered."""
        return {
            "alarm": {"id": alarm.id},
            "revision": revision,
            "items": [
                {
                    "camera": item.camera,
                    "kind": item.kind.value,
                    "moment": item.moment.value,
                    "source": item.source,
                    "from": self.stamp(item.wanted_start or item.start),
                    "to": self.stamp(item.wanted_end or item.end),
                    "evidence": item.id if item.state is EvidenceState.STORED else None,
                    "uploaded_at": self.stamp(item.uploaded_at) if item.uploaded_at else None,
                    "reason": self._reason(item),
                }
                for item in items
            ],
        }

    def _reason(self, item: Evidence) -> str | None:
        """Why an item is missing, short or still on its way; ``None`` for one that is as asked for."""
        if item.state is EvidenceState.WANTED and item.captured:
            return "captured and safe on the gateway, and not yet in its store"
        if item.state is EvidenceState.WANTED:
            return item.reason or "not yet complete"
        waits = self.pushes and item.state is EvidenceState.STORED and item.uploaded_at is None
        return "; ".join(r for r in ("not yet uploaded" if waits else "", item.reason) if r) or None

    def fault(self, fault: Fault) -> dict[str, Any]:
        """Data of ``fault.raised`` and ``fault.cleared``."""
        return {
            "fault": {
                "id": fault.id,
                "kind": fault.kind.value,
                "subject": fault.subject,
                "since": self.stamp(fault.since),
                "cleared_at": self.stamp(fault.cleared_at) if fault.cleared_at else None,
                "cause": fault.cause,
            }
        }

    def plan(self) -> dict[str, Any]:
        """Data of ``site.plan``: zones, points, cameras, their map and retention."""
        site = self.site
        return {
            "site": self.site_summary(),
            "zones": [zone_object(z) for z in site.zones.values()],
            "cameras": [{"id": c.id, "name": c.name, "zone": c.zone} for c in site.cameras.values()],
            "points": [
                {
                    "id": p.id,
                    "name": p.name,
                    "zone": p.zone.id,
                    "severity": p.severity.value,
                    "cameras": list(p.cameras),
                }
                for p in site.points.values()
            ],
            "retention_days": site.retention_days,
        }


def _durability(durable: bool) -> dict[str, Any]:
    """``durable: false`` in the alarm of a message that went out before the alarm was on the gateway's disk."""
    return {} if durable else {"durable": False}


def zone_object(zone: Zone) -> dict[str, Any]:
    """A zone as it stands in messages and in the API."""
    return {
        "id": zone.id,
        "name": zone.name,
        "kind": zone.kind,
        "building": zone.building,
        "floor": zone.floor,
    }

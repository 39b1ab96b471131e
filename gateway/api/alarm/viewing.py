"""Alarms as the HTTP face shows them, made from the rows of one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gateway.api.access import CENTRE
from gateway.api.parts import ApiParts, Caller
from gateway.domain.alarm import Alarm, Request, TimelineEntry
from gateway.domain.errors import NotFound
from gateway.domain.evidence import Evidence, EvidenceState
from gateway.domain.links import media_path
from gateway.domain.message import Attempt, Message
from gateway.ports.store import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """All rows about one alarm, as they were at one instant."""

    alarm: Alarm
    timeline: Sequence[TimelineEntry]
    evidence: Sequence[Evidence]
    messages: Sequence[tuple[Message, list[Attempt]]]
    requests: Sequence[Request]
    uploads: Mapping[str, list[Attempt]]


def gathered(tx: Transaction, alarm: str) -> Dossier:
    """Collect what is on record about an alarm. Raises ``NotFound``."""
    found = tx.alarms.get(alarm)
    if found is None:
        raise NotFound(f"alarm {alarm!r:.80}")
    return Dossier(
        alarm=found,
        timeline=tx.alarms.timeline(alarm),
        evidence=tx.evidence.of(alarm),
        messages=tx.messages.about(alarm),
        requests=tx.requests.about(alarm),
        uploads=tx.evidence.attempts(alarm),
    )


def alarm_object(parts: ApiParts, alarm: Alarm) -> dict[str, Any]:
    """An alarm as it stands in lists and answers. A point that is no longer in the plan is shown by its id."""
    stamp = parts.envelopes.stamp
    point = parts.site.points.get(alarm.point)
    unknown = {"id": alarm.point, "name": alarm.point, "zone": None}
    return {
        **parts.envelopes.alarm_summary(alarm),
        "point": parts.envelopes.point(point) if point is not None else unknown,
        "last_press_at": stamp(alarm.last_press_at),
        "escalated_at": stamp(alarm.escalated_at) if alarm.escalated_at else None,
        "closed_at": stamp(alarm.closed_at) if alarm.closed_at else None,
        "drill": alarm.drill.value if alarm.drill else None,
    }


def alarm_detail(parts: ApiParts, caller: Caller, dossier: Dossier) -> dict[str, Any]:
    """An alarm with its timeline, evidence, deliveries, requests and, while they hold, live links."""
    stamp, alarm = parts.envelopes.stamp, dossier.alarm
    return {
        **alarm_object(parts, alarm),
        "cameras": _cameras(parts, alarm),
        "timeline": [
            {"at": stamp(step.at), "what": step.what, "detail": dict(step.detail)}
            for step in dossier.timeline
        ],
        "evidence": [
            _evidence(parts, caller, item, dossier.uploads.get(item.id, [])) for item in dossier.evidence
        ],
        "deliveries": [_delivery(parts, *about) for about in dossier.messages],
        "requests": [_request(parts, request) for request in dossier.requests],
        "reply_url": parts.envelopes.reply_url(alarm.id),
    }


def _cameras(parts: ApiParts, alarm: Alarm) -> list[dict[str, Any]]:
    now = parts.clock.now()
    revoked_at = alarm.live_revoked_at
    watchable = revoked_at is None or now < revoked_at
    health = parts.cameras.health()
    found = []
    for id_ in alarm.cameras:
        known = health.get(id_)
        camera = parts.envelopes.camera(id_, alarm.id, known is not None and known.healthy, now)
        found.append(camera if watchable else {**camera, "live": None})
    return found


def _evidence(parts: ApiParts, caller: Caller, item: Evidence, attempts: Sequence[Attempt]) -> dict[str, Any]:
    document = parts.envelopes.evidence_object(item, parts.clock.now())
    if item.state is EvidenceState.STORED and item.key is not None and caller.role not in CENTRE:
        # A link without an alarm: what the school looks at must never count as taken by the centre.
        path, expires_at = (
            media_path(item.key),
            parts.clock.now() + timedelta(seconds=parts.envelopes.media_link_s),
        )
        document["url"] = parts.links.url(path, expires_at=expires_at)
    uploaded_at = parts.envelopes.stamp(item.uploaded_at) if item.uploaded_at else None
    return {
        **document,
        "state": item.state.value,
        "uploaded_at": uploaded_at,
        "attempts": [_attempt(parts, attempt) for attempt in attempts],
    }


def _attempt(parts: ApiParts, attempt: Attempt) -> dict[str, Any]:
    return {
        "path": attempt.path,
        "at": parts.envelopes.stamp(attempt.at),
        "took_ms": attempt.took_ms,
        "status": attempt.status,
        "outcome": attempt.outcome.value,
        "detail": attempt.detail,
    }


def _delivery(parts: ApiParts, message: Message, attempts: list[Attempt]) -> dict[str, Any]:
    stamp = parts.envelopes.stamp
    return {
        "id": message.id,
        "type": message.type.value,
        "sequence": message.sequence,
        "created_at": stamp(message.created_at),
        "received_at": stamp(message.received_at) if message.received_at else None,
        "attempts": [_attempt(parts, attempt) for attempt in attempts],
    }


def _request(parts: ApiParts, request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "request": request.request,
        "camera": request.camera,
        "operator": dict(request.operator),
        "reason": request.reason,
        "at": parts.envelopes.stamp(request.at),
        "evidence": request.evidence,
        "ok": request.ok,
        "result": request.result,
        "item": request.item,
    }

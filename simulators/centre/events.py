"""What a message to the 110 centre must look like: the CloudEvents envelope and the data of each type.

Two grades of finding. An envelope that is wrong makes the message unusable and is answered 400 or 415.
Data in which something is missing is taken all the same (a real centre would not turn an alarm away for want
of a postal address) and the finding is kept beside the message.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MEDIA_TYPE = "application/cloudevents+json"

_ATTRIBUTE = re.compile(r"[a-z0-9]+")
_SEQUENCE = re.compile(r"[1-9][0-9]{0,8}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

_CAMERA = ("id", "name", "zone", "healthy", "live.page", "live.hls", "live.expires_at")
_ITEM = ("camera", "kind", "moment", "from", "to", "evidence", "uploaded_at", "reason")
# Names in data that each type must have; `*` goes into every item of a list, `ALARM` is `alarm` or `drill`.
_DATA: dict[str, tuple[str, ...]] = {
    "raised": (
        *(
            f"ALARM.{name}"
            for name in ("id", "state", "severity", "pressed_at", "raised_at", "late_s", "presses")
        ),
        *("site.id", "site.name", "site.address", "site.location.lat", "site.location.lon"),
        *("point.id", "point.name", "point.zone.id", "point.zone.name", "point.zone.kind"),
        *("cameras", *(f"cameras.*.{name}" for name in _CAMERA), "reply_url"),
    ),
    "repeated": ("ALARM.id", "ALARM.presses", "point", "pressed_at", "raised_at"),
    "evidence": (
        "ALARM.id",
        *(f"evidence.{name}" for name in ("id", "camera", "kind", "moment", "from", "to", "taken_at")),
        *(f"evidence.{name}" for name in ("offset_ms", "clock", "source", "media_type", "bytes", "sha256")),
        *("evidence.url", "evidence.expires_at"),
    ),
    "manifest": ("ALARM", "revision", "items", *(f"items.*.{name}" for name in _ITEM)),
    "note": ("ALARM",),
    "escalated": ("ALARM",),
    "request.result": ("request", "ok", "reason", "evidence"),
    "fault.raised": tuple(f"fault.{name}" for name in ("id", "kind", "subject", "since", "cause")),
    "fault.cleared": ("fault.id",),
    "site.plan": ("zones", "points", "cameras"),
    "link.probe": ("path",),
    "link.heartbeat": ("next_within_s", "open_alarms", "faults", "undelivered"),
}
_ALARM_TYPES = {
    f"alarm.{name}" for name in ("raised", "repeated", "evidence", "manifest", "note", "escalated")
}
_DRILL_TYPES = {f"drill.{name}" for name in ("raised", "repeated", "evidence", "manifest", "note", "window")}


class EnvelopeRefused(ValueError):
    """The body is no CloudEvent of the expected form; `status` is the HTTP status a receiver answers with."""

    def __init__(self, text: str, *, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One message, read. `sequence` counts within one alarm from 1; `findings` are what its data lacks."""

    id: str
    type: str
    source: str
    subject: str | None
    time: str | None
    sequence: int | None
    data: dict[str, Any]
    findings: tuple[str, ...]

    @property
    def drill(self) -> bool:
        """Whether this belongs to the drills' own plane, and so to the drill secret."""
        return self.type.startswith("drill.")


def read_event(body: bytes, *, content_type: str, webhook_id: str) -> Event:
    """Read a message. Raises EnvelopeRefused naming the attribute, what was found and what was expected."""
    if content_type.split(";")[0].strip().lower() != MEDIA_TYPE:
        raise EnvelopeRefused(f"Content-Type: found {content_type!r}, expected {MEDIA_TYPE}", status=415)
    try:
        envelope = json.loads(body, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise EnvelopeRefused(f"body: not JSON ({error})") from error
    if not isinstance(envelope, dict):
        raise EnvelopeRefused("body: expected a JSON object")
    for name, expected in (("specversion", "1.0"), ("id", webhook_id)):
        if envelope.get(name) != expected:
            raise EnvelopeRefused(f"{name}: found {envelope.get(name)!r}, expected {expected!r}")
    for name in envelope:
        if not _ATTRIBUTE.fullmatch(name):
            raise EnvelopeRefused(f"attribute {name!r}: CloudEvents allows a-z and 0-9 only")
    kind, source = _text(envelope, "type"), _text(envelope, "source")
    if not source.startswith("/campus/"):
        raise EnvelopeRefused(f"source: found {source!r}, expected /campus/ and the school's id")
    if envelope.get("datacontenttype", "application/json") != "application/json":
        raise EnvelopeRefused("datacontenttype: expected application/json")
    data = envelope.get("data")
    if not isinstance(data, dict):
        raise EnvelopeRefused("data: expected an object")
    own = kind == "request.result" or kind.startswith(("alarm.", "drill."))
    subject = _text(envelope, "subject") if own or kind.startswith("fault.") else envelope.get("subject")
    return Event(
        id=webhook_id,
        type=kind,
        source=source,
        subject=subject,
        time=_time(envelope),
        sequence=_sequence(envelope, required=own and kind != "drill.window"),
        data=data,
        findings=tuple(_findings(kind, subject, data)),
    )


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _text(envelope: dict[str, Any], name: str) -> str:
    value = envelope.get(name)
    if not isinstance(value, str) or not value:
        raise EnvelopeRefused(f"{name}: found {value!r}, expected a text that is not empty")
    return value


def _time(envelope: dict[str, Any]) -> str | None:
    if "time" not in envelope:
        return None
    value = _text(envelope, "time")
    if not _RFC3339.fullmatch(value):
        raise EnvelopeRefused(f"time: found {value!r}, expected RFC 3339 with an offset")
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        raise EnvelopeRefused(f"time: {value!r} is no date ({error})") from error
    return value


def _sequence(envelope: dict[str, Any], *, required: bool) -> int | None:
    value = envelope.get("sequence")
    if value is None and not required:
        return None
    if not isinstance(value, str) or not _SEQUENCE.fullmatch(value):
        raise EnvelopeRefused(f'sequence: found {value!r}, expected a text counting from "1"')
    return int(value)


def _findings(kind: str, subject: str | None, data: dict[str, Any]) -> list[str]:
    plane, _, rest = kind.partition(".")
    if kind in _ALARM_TYPES | _DRILL_TYPES:
        paths = _DATA.get(rest, ())
    elif kind in _DATA:
        paths = _DATA[kind]
    else:
        return [f"type {kind}: not known here"]
    found = [text for path in paths for text in _lacks(data, path.replace("ALARM", plane), "data")]
    named = data.get(plane)
    # The plan names its school in data.site and has no subject: only alarms, drills and faults are subjects.
    if plane != "site" and isinstance(named, dict) and "id" in named and named["id"] != subject:
        found.append(f"subject: {subject!r} differs from data.{plane}.id {named['id']!r}")
    return found


def _lacks(value: Any, path: str, where: str) -> list[str]:
    name, _, rest = path.partition(".")
    if name == "*":
        if not isinstance(value, list):
            return [f"{where}: expected a list"]
        return [text for n, item in enumerate(value) for text in _lacks(item, rest, f"{where}[{n}]")]
    if not isinstance(value, dict) or name not in value:
        return [f"{where}.{name}: missing"]
    return _lacks(value[name], rest, f"{where}.{name}") if rest else []

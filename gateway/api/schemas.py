"""What goes over the HTTP face as JSON: bodies that come in, strictly read, and answers that go out.

Times are RFC 3339 with an offset, in both directions. Unknown keys in a body are refused: a misspelt ``reason`` must not be lost.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")
_EARLIEST = datetime(
    2000, 1, 1, tzinfo=UTC
)  # nothing here is older; and no arithmetic on it can leave the calendar
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def instant(value: object) -> object:
    """An RFC 3339 time; an unescaped ``+`` of a query string, which arrives as a space, is understood."""
    expected = "an RFC 3339 time with its offset, e.g. 2026-03-02T10:15:07+08:00, of this century or the next"
    if not isinstance(value, str):
        raise ValueError(expected)
    text = value[:19] + value[19:].replace(" ", "+")
    if not _RFC3339.fullmatch(text):
        raise ValueError(expected)
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(expected) from None
    if not _EARLIEST < at < _LATEST:
        raise ValueError(expected)
    return at.astimezone(UTC)


Instant = Annotated[datetime, BeforeValidator(instant)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
At = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Part = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class Body(BaseModel):
    """What comes in."""

    model_config = ConfigDict(extra="forbid")


class OperatorBody(Body):
    """Who speaks at the centre."""

    name: Words
    unit: Words


class ReplyBody(Body):
    """What the centre says of an alarm. ``reason`` is required for rejected and closed."""

    reply: Literal["accepted", "rejected", "dispatched", "arrived", "closed"]
    operator: OperatorBody
    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)] | None = None


class Asked(Body):
    """What every request of the centre has."""

    camera: Words
    operator: OperatorBody
    reason: Reason


class ClipBody(Asked):
    """A clip of a span, of at most 30 minutes."""

    request: Literal["clip"]
    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")


class StillBody(Asked):
    """A picture of now."""

    request: Literal["still"]


class Move(Body):
    """A movement: each part from -1 to 1, for at most 5 s."""

    pan: Part = 0.0
    tilt: Part = 0.0
    zoom: Part = 0.0
    for_s: Annotated[float, Field(gt=0, le=5)] = 1.0


class PtzBody(Asked):
    """A movement, a stop or a preset. This version puts it on record and answers that it moves no camera."""

    request: Literal["ptz"]
    move: Move | Literal["stop", "preset"] | None = None
    stop: Literal[True] | None = None
    preset: Words | None = None


RequestBody = Annotated[ClipBody | StillBody | PtzBody, Field(discriminator="request")]


class NoteBody(Body):
    """The school's note. ``by`` names the person; ``withdraw`` asks the centre to call the alarm off, which it decides."""

    text: Reason
    by: Words | None = None
    withdraw: bool = False


class ProblemOut(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str


class Place(BaseModel):
    lat: float
    lon: float


class ZoneOut(BaseModel):
    id: str
    name: str
    kind: str
    building: str | None
    floor: int | None


class SiteOut(BaseModel):
    """The school, and whether a press would be committed now."""

    id: str
    name: str
    address: str
    location: Place
    timezone: str
    zones: list[ZoneOut]
    retention_days: int
    before_s: int
    after_s: int
    accept_within_s: int
    ready: bool
    degraded: list[str]
    version: str


class HealthOut(BaseModel):
    """What is known of a camera now."""

    healthy: bool
    cause: str
    since: At | None
    last_frame_at: At | None
    codec: str | None
    width: int | None
    height: int | None
    clock_offset_s: float | None
    offers_snapshot: bool
    ring_s: float
    ring_bytes: int
    sessions: int


class CameraOut(BaseModel):
    id: str
    name: str
    zone: ZoneOut
    continuous: bool
    health: HealthOut


class CamerasOut(BaseModel):
    cameras: list[CameraOut]


class SeenOut(BaseModel):
    """What a contact last told of itself, as far as it does."""

    at: At | None
    battery: int | None
    tamper: bool | None
    test: At | None


class PointOut(BaseModel):
    id: str
    name: str
    zone: ZoneOut
    severity: str
    cameras: list[str]
    last_seen: SeenOut
    open_alarm: str | None


class PointsOut(BaseModel):
    points: list[PointOut]


class FaultOut(BaseModel):
    id: str
    kind: str
    subject: str
    since: At
    cleared_at: At | None
    cause: str


class FaultsOut(BaseModel):
    faults: list[FaultOut]


class QuarantinedOut(BaseModel):
    """A contact's message that could not be read. ``head`` is its first KiB as far as it is text."""

    at: At
    topic: str
    reason: str
    bytes: int
    sha256: str
    head: str


class QuarantineOut(BaseModel):
    quarantine: list[QuarantinedOut]


class PointRef(BaseModel):
    id: str
    name: str
    zone: ZoneOut | None


class AlarmOut(BaseModel):
    id: str
    state: Literal["raised", "accepted", "rejected", "dispatched", "arrived", "closed"]
    severity: str
    pressed_at: At
    raised_at: At
    late_s: float
    presses: int
    point: PointRef
    last_press_at: At
    escalated_at: At | None
    closed_at: At | None


class AlarmsOut(BaseModel):
    """Newest first. ``next_cursor`` asks for what follows; ``null`` at the end."""

    alarms: list[AlarmOut]
    next_cursor: str | None


class StepOut(BaseModel):
    at: At
    what: str
    detail: dict[str, Any]


class EvidenceOut(BaseModel):
    """One item. ``url`` is a fresh link while it is stored; ``shortfall`` says what is missing of it and why."""

    id: str
    camera: str
    kind: str
    moment: str
    state: str
    start: At = Field(alias="from")
    end: At = Field(alias="to")
    taken_at: At | None
    offset_ms: int | None
    clock: str | None
    source: str | None
    media_type: str | None
    bytes: int | None
    sha256: str | None
    url: str | None
    expires_at: At | None
    uploaded_at: At | None
    shortfall: str | None


class AttemptOut(BaseModel):
    path: str
    at: At
    took_ms: int
    status: int | None
    outcome: str
    detail: str


class DeliveryOut(BaseModel):
    """One message to the centre; ``received_at`` is ``null`` while it waits."""

    id: str
    type: str
    sequence: int | None
    created_at: At
    received_at: At | None
    attempts: list[AttemptOut]


class AskedOut(BaseModel):
    """A request of the centre; ``ok`` is ``null`` until it is done."""

    id: str
    request: str
    camera: str
    operator: dict[str, str]
    reason: str
    at: At
    evidence: str | None
    ok: bool | None
    result: str


class LiveOut(BaseModel):
    page: str
    hls: str
    expires_at: At


class AlarmCameraOut(BaseModel):
    """A camera of the alarm; ``live`` is ``null`` once 10 minutes have passed since it closed."""

    id: str
    name: str
    zone: str | None
    healthy: bool
    live: LiveOut | None


class AlarmDetailOut(AlarmOut):
    cameras: list[AlarmCameraOut]
    timeline: list[StepOut]
    evidence: list[EvidenceOut]
    deliveries: list[DeliveryOut]
    requests: list[AskedOut]
    reply_url: str


class RepliedOut(BaseModel):
    """``repeated`` is true if the alarm was in that state already; then nothing has changed."""

    alarm: AlarmOut
    repeated: bool


class NotedOut(BaseModel):
    alarm: AlarmOut


class RequestedOut(BaseModel):
    """What comes of it is told by ``request.result`` with this id."""

    id: str
    evidence: str | None


class ReadyOut(BaseModel):
    status: Literal["ready", "not ready"]
    degraded: list[str]


class AliveOut(BaseModel):
    status: Literal["ok"]

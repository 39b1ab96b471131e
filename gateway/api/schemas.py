"""Answers of the HTTP face as JSON. What a handler returns is held against these, so the OpenAPI document tells the truth.

One file, as that document is one: what two answers share stands once, and beside both.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

At = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


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


class CallerOut(BaseModel):
    """Who a token is. ``role`` is centre, guard, technician or inspector."""

    name: str
    unit: str
    role: str


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
    """What is known of a camera now. ``live_note`` says where what is shown live is not the camera's main stream, or why
    nothing can be."""

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
    key_frames_apart_s: float | None
    live_codec: str | None
    live_note: str
    recorded_stream: str | None = Field(
        description="Which of its streams is recorded now, main or sub; null if none is."
    )


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


class UnreadableOut(BaseModel):
    """The last message on the contact's own topic that could not be understood: when, and why not."""

    at: At
    reason: str


class ContactHealthOut(BaseModel):
    """Whether a press of it would be heard, as far as is known. ``state`` is ``heard`` once a message of it was understood,
    ``unheard`` before, ``unreadable`` while its last could not be understood. ``online`` is its own or its bridge's word,
    ``None`` where there is none; ``qos`` is that of its last publish: at 0 nobody sends a lost press again.
    ``other_words`` were heard of it and are no press, newest first: those by which a keypad arms, and those that the site
    file's ``mqtt.press`` leaves out. ``copied_at`` is when a press was last taken for a copy of an earlier one by its number or
    id, and raised nothing."""

    healthy: bool
    state: Literal["heard", "unheard", "unreadable"]
    causes: list[str]
    unreadable: UnreadableOut | None
    online: bool | None
    online_since: At | None
    qos: int | None
    other_words: list[str]
    copied_at: At | None


class PointOut(BaseModel):
    id: str
    name: str
    zone: ZoneOut
    severity: str
    cameras: list[str]
    last_seen: SeenOut
    health: ContactHealthOut
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
    drill: Literal["drill", "self-test"] | None = Field(
        description="null for an alarm; else the kind of drill."
    )


class AlarmsOut(BaseModel):
    """Newest first. ``next_cursor`` asks for what follows; ``null`` at the end."""

    alarms: list[AlarmOut]
    next_cursor: str | None


class DrillsOut(BaseModel):
    """Newest first. ``next_cursor`` asks for what follows; ``null`` at the end."""

    drills: list[AlarmOut]
    next_cursor: str | None


class WindowOut(BaseModel):
    """An armed point. Press only once ``received_at`` is set: before, a press is an alarm."""

    id: str
    point: str
    by: str
    armed_at: At
    until: At
    received_at: At | None
    ended_by: str | None


class BegunOut(BaseModel):
    """The drill that was raised, or the window that was asked for."""

    drill: AlarmOut | None
    window: WindowOut | None


class RegisterLineOut(BaseModel):
    """One act: who did what to what. ``hash`` is RFC 6962's leaf hash of ``body``."""

    n: int
    at: At
    act: str
    name: str
    unit: str
    right: str
    content: str
    reason: str
    alarm: str | None
    detail: dict[str, Any]
    body: str
    hash: str


class RegisterHeadOut(BaseModel):
    """How long the register is, its root, and the box's Ed25519 signature over both."""

    size: int
    root: str
    at: At
    key: str
    signature: str


class RegisterOut(BaseModel):
    """Oldest first. ``next_after`` asks for what follows; ``null`` at the end."""

    lines: list[RegisterLineOut]
    next_after: int | None
    head: RegisterHeadOut


class RegisterProofOut(BaseModel):
    """An audit path or a consistency proof, as RFC 6962 has them."""

    size: int
    root: str
    line: int | None
    first: int | None
    proof: list[str]


class HoldOut(BaseModel):
    """A reason to keep longer: all evidence of one alarm, or what a camera (``null``: every camera) recorded in a span."""

    id: str
    alarm: str | None
    camera: str | None
    start: At | None = Field(alias="from")
    end: At | None = Field(alias="to")
    reason: str
    placed_by: str
    placed_unit: str
    placed_at: At
    review_at: At
    overdue: bool
    released_at: At | None
    released_by: str | None
    released_unit: str | None
    released_reason: str | None


class HoldsOut(BaseModel):
    holds: list[HoldOut]


class DeletedOut(BaseModel):
    """Objects that had gone before: how many, of which camera, and the line of the register with their record."""

    camera: str | None
    objects: int
    start: At = Field(alias="from")
    end: At = Field(alias="to")
    register_line: int | None


class PlacedOut(BaseModel):
    """The hold, and what of its span had been deleted before."""

    hold: HoldOut
    deleted_before: list[DeletedOut]


class KeptCameraOut(BaseModel):
    """What is kept of a camera, also of one that is no longer in the plan. ``coverage`` is the part of the span it was to be
    recorded in of which footage is kept; ``gaps`` are seconds by cause."""

    id: str
    in_plan: bool
    recorded_since: At | None
    recorded_until: At | None
    first_kept: At | None
    covered_s: float
    expected_s: float
    coverage: float | None
    frames: int
    bytes: int
    gaps: dict[str, float]


class ForecastOut(BaseModel):
    """Of the disk that recordings lie on: ``null`` where there is none of ours. ``full_in_hours`` is ``null`` if that does not
    come within 8 days. ``giving_way`` says to what new footage is reduced now, ``null`` being nothing at all."""

    free_bytes: int | None
    reserve_bytes: int
    bytes_per_day: float
    full_in_hours: int | None
    giving_way: dict[str, str | None]


class TrustedOut(BaseModel):
    """By which time deleting goes: ``behind_s`` is how far the gateway's clock stands ahead of it, unconfirmed."""

    now: At
    trusted: At | None
    behind_s: float
    confirmed_at: At | None
    confirmed_by: str | None


class LossOut(BaseModel):
    """What happened to the database: ``damaged``, ``foreign``, ``missing``, ``older`` or ``removed``."""

    at: At
    kind: str
    cause: str
    aside: str = Field(description="The folder in which the former file lies whole; empty if there is none.")


class LossesOut(BaseModel):
    acknowledged: list[LossOut]


class MinuteOut(BaseModel):
    minute: At
    covered_ms: int = Field(description="Of 60000.")
    frames: int
    bytes: int
    segments: list[str]
    gaps: list[str]


class SegmentOut(BaseModel):
    id: str
    start: At = Field(alias="from")
    end: At = Field(alias="to")
    frames: int
    bytes: int
    key: str
    sha256: str
    version: str | None
    locked_until: At | None
    quality: str = Field(description="full; substream or keyframes while room was short (storage.when_full).")
    stream: str = Field(description="Of which of the camera's streams: main or sub.")


class GapOut(BaseModel):
    id: str
    start: At = Field(alias="from")
    end: At | None = Field(alias="to", description="Null while it lasts.")
    cause: str = Field(description="camera, network, gateway or store.")
    detail: str


class RecordingsOut(BaseModel):
    camera: str
    start: At = Field(alias="from")
    end: At = Field(alias="to")
    recorded_since: At
    recorded_until: At | None = Field(description="Null while it is to be recorded.")
    minutes: list[MinuteOut]
    segments: list[SegmentOut]
    gaps: list[GapOut]


class PlaybackOut(BaseModel):
    """A span that was opened; ``first`` and ``last`` bound what is kept of it, which may begin before and end behind it."""

    camera: str
    start: At = Field(alias="from")
    end: At = Field(alias="to")
    first: At
    last: At
    bytes: int
    playlist: str = Field(description="A signed link to an HLS playlist.")
    expires_at: At


class DayOut(BaseModel):
    """``expected_s`` is what was to be recorded and is within the period; ``coverage`` is null where that is nothing."""

    day: str = Field(json_schema_extra={"format": "date"})
    start: At = Field(alias="from")
    end: At = Field(alias="to")
    covered_s: float
    expected_s: float
    coverage: float | None
    bytes: int
    gaps: dict[str, float] = Field(description="Seconds by cause: camera, network, gateway, store.")


class CameraDaysOut(BaseModel):
    id: str
    name: str
    in_plan: bool
    recorded_since: At | None
    recorded_until: At | None
    first_kept: At | None
    days: list[DayOut]


class DaysOut(BaseModel):
    start: At = Field(alias="from")
    end: At = Field(alias="to")
    retention_days: int
    cameras: list[CameraDaysOut]


class RetentionOut(BaseModel):
    retention_days: int
    start: At = Field(alias="from")
    end: At = Field(alias="to")
    cameras: list[KeptCameraOut]
    forecast: ForecastOut
    clock: TrustedOut
    holds: int
    holds_overdue: int


class StepOut(BaseModel):
    at: At
    what: str
    detail: dict[str, Any]


class AttemptOut(BaseModel):
    path: str
    at: At
    took_ms: int
    status: int | None
    outcome: str
    detail: str


class EvidenceOut(BaseModel):
    """One item. ``url`` is a fresh link while it is stored; ``shortfall`` says what is missing of it and why; ``attempts`` are
    those at its PUT, where evidence is pushed."""

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
    attempts: list[AttemptOut]


class DeliveryOut(BaseModel):
    """One message to the centre; ``received_at`` is ``null`` while it waits."""

    id: str
    type: str
    sequence: int | None
    created_at: At
    received_at: At | None
    attempts: list[AttemptOut]


class AskedOut(BaseModel):
    """A request of the centre; ``ok`` is ``null`` until it is done, ``item`` its id in the answer body it came in."""

    id: str
    request: str
    camera: str
    operator: dict[str, str]
    reason: str
    at: At
    evidence: str | None
    ok: bool | None
    result: str
    item: str | None


class LiveOut(BaseModel):
    """``pushed`` is the playlist put at the centre while the alarm is open; ``null`` with ``media: link``."""

    page: str
    hls: str
    pushed: str | None = None
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


class RepliedDrillOut(BaseModel):
    """``repeated`` is true if the drill was in that state already; then nothing has changed."""

    drill: AlarmOut
    repeated: bool


class NotedOut(BaseModel):
    alarm: AlarmOut


class NotedDrillOut(BaseModel):
    drill: AlarmOut


class RequestedOut(BaseModel):
    """What comes of it is told by ``request.result`` with this id."""

    id: str
    evidence: str | None


class ReadyOut(BaseModel):
    status: Literal["ready", "not ready"]
    degraded: list[str]


class AliveOut(BaseModel):
    status: Literal["ok"]

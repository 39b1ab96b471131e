"""Evidence: what is asked of the cameras for one alarm, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

STILL_BEFORE_S = 2  # API.md, "Messages": stills of the press, then 2 s before and after
STILL_AFTER_S = 2
DURING_CLIP_S = 30  # API.md, "Messages": `during` clips are 30 s each
DURING_ENDS_S = 30 * 60  # … ending 30 min after the last press


class Kind(StrEnum):
    """A picture of one instant, or video of a span."""

    STILL = "still"
    CLIP = "clip"


class Moment(StrEnum):
    """Which part of the event a piece of evidence shows."""

    PRESS = "press"
    BEFORE = "before"
    AFTER = "after"
    WHOLE = "whole"
    DURING = "during"
    REQUESTED = "requested"


class EvidenceState(StrEnum):
    """``WANTED`` until it is stored or is known never to come; ``DELETED`` once its period was over and nothing held it."""

    WANTED = "wanted"
    STORED = "stored"
    FAILED = "failed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One still or clip asked of one camera.

    ``start`` and ``end`` are the span asked for until it is stored, then the span obtained (equal for a
    still). ``offset_ms`` is how far the frame lies from the instant asked for, positive when later. ``reason`` says
    why it is missing or shorter than asked for. ``due`` is the earliest instant it can be complete;
    ``rank`` orders the work: every camera's press still comes before anything else. ``told_at`` is when the message about it
    was made. ``version`` and ``locked_until`` are how its object is kept (:class:`gateway.domain.stored.Kept`).
    """

    id: str
    alarm: str
    camera: str
    kind: Kind
    moment: Moment
    start: datetime
    end: datetime
    state: EvidenceState = EvidenceState.WANTED
    wanted_start: datetime | None = None
    wanted_end: datetime | None = None
    request: str | None = None
    taken_at: datetime | None = None
    offset_ms: int | None = None
    clock: str | None = None
    source: str | None = None
    media_type: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    key: str | None = None
    stored_at: datetime | None = None
    uploaded_at: datetime | None = None
    reason: str | None = None
    told_at: datetime | None = None
    version: str | None = None
    locked_until: datetime | None = None

    @property
    def rank(self) -> int:
        order = (
            (Kind.STILL, Moment.PRESS),
            (Kind.STILL, Moment.BEFORE),
            (Kind.CLIP, Moment.BEFORE),
            (Kind.STILL, Moment.AFTER),
        )
        wanted = (self.kind, self.moment)
        return order.index(wanted) if wanted in order else len(order)

    @property
    def first(self) -> bool:
        """Whether it is a camera's press still out of the ring, which goes before everything else."""
        return self.kind is Kind.STILL and self.moment is Moment.PRESS and self.source is None

    @property
    def suffix(self) -> str:
        return "jpg" if self.kind is Kind.STILL else "mp4"

    @property
    def file_name(self) -> str:
        """Its name in the spool, and the end of its key."""
        return f"{self.id}.{self.suffix}"

    @property
    def captured(self) -> bool:
        """Whether its bytes are safe on this box, or in the store already, while it is not on record as stored."""
        return self.state is EvidenceState.WANTED and self.sha256 is not None

    def failed(self, reason: str) -> Evidence:
        """The same item, known never to come, and why."""
        return replace(self, state=EvidenceState.FAILED, reason=reason)

    def deleted(self, how: str) -> Evidence:
        """The same item, its object gone, and by which record."""
        return replace(
            self, state=EvidenceState.DELETED, reason="; ".join(r for r in (self.reason, how) if r)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StillTaken:
    """One picture as the camera bank hands it over. ``clock`` is ``rtcp`` or ``arrival``: what maps its time;
    ``source`` is ``ring`` (a decoded frame), ``onvif`` (the camera's own snapshot) or ``recording``."""

    jpeg: bytes
    taken_at: datetime
    offset_ms: int
    clock: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipTaken:
    """A clip written to a file: ``start`` is its first key frame, ``shortfall`` says what is missing and why
    (``None`` when the span asked for is covered)."""

    start: datetime
    end: datetime
    bytes: int
    sha256: str
    clock: str
    shortfall: str | None = None


def press_evidence(
    *, before_s: int, after_s: int, pressed_at: datetime, cameras: Sequence[str]
) -> list[tuple[str, Kind, Moment, datetime, datetime]]:
    """What one alarm asks of its cameras: three stills, the clip before, the whole clip.

    Returns ``(camera, kind, moment, start, end)`` in the order in which it should be obtained.
    """
    p = pressed_at
    early, late = p - timedelta(seconds=STILL_BEFORE_S), p + timedelta(seconds=STILL_AFTER_S)
    begin, end = p - timedelta(seconds=before_s), p + timedelta(seconds=after_s)
    spans = [
        (Kind.STILL, Moment.PRESS, p, p),
        (Kind.STILL, Moment.BEFORE, early, early),
        (Kind.CLIP, Moment.BEFORE, begin, p),
        (Kind.STILL, Moment.AFTER, late, late),
        (Kind.CLIP, Moment.WHOLE, begin, end),
    ]
    return [(camera, kind, moment, a, b) for kind, moment, a, b in spans for camera in cameras]

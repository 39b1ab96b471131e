"""What is recorded round the clock, minute by minute: what exists, what does not, and why.

The ledger has two kinds of rows, *segments* (what exists) and *gaps* (what does not, with its cause). From the moment a camera is
recorded until now every instant lies in one of them: what is in neither is itself a finding (fsck). Both are measured by the wall
clock and by the frames that came, never by what a camera says of its rate.
"""

from __future__ import annotations

import json
from collections.abc import (
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SEGMENT_S = 60  # one file a minute: what a crash can cost is a fragment of it, what a deletion takes is no more than it
LONGEST_SEGMENT = timedelta(hours=1)  # far more than any lasts, also where key frames are minutes apart
#: Two segments this close to one another are one recording: a frame's length at one frame a second, and a little.
SEAM = timedelta(milliseconds=1200)
FLOOR_DAYS = 30  # founding notice, II (3) 3; Order 799, Art. 17: not less than 30 days
GONE_WITHIN = timedelta(hours=24)  # contract of the objects: deleted no later than 24 h after the period


class GapCause(StrEnum):
    """Where the chain broke."""

    CAMERA = "camera"  # it is reached and sends nothing, or refuses
    NETWORK = "network"  # it is not reached
    GATEWAY = "gateway"  # the box or its camera process was not running
    STORE = "store"  # there was no room, and this footage gave way


class Quality(StrEnum):
    """What of the stream was kept; all but ``FULL`` is what ``storage.when_full`` allows on a full disk."""

    FULL = "full"
    SUBSTREAM = "substream"  # all of the camera's second, smaller stream
    KEYFRAMES = "keyframes"  # of the main stream

    @property
    def stream(self) -> str:
        """Which of the camera's streams it is of: ``main`` or ``sub``."""
        return "sub" if self is Quality.SUBSTREAM else "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One closed file of one camera, in the object store under ``key``.

    ``start`` is its first frame, ``end`` where its last frame ends. ``version`` is the store's, where it keeps versions;
    ``locked_until`` until when it was really locked there, ``None`` where the store cannot. ``reckoned_end`` is its end by a
    reckoning that a wrong clock does not move (:mod:`gateway.domain.trust`): it is not due before both.
    """

    id: str
    camera: str
    start: datetime
    end: datetime
    frames: int
    bytes: int
    key: str
    sha256: str
    stored_at: datetime
    quality: Quality = Quality.FULL
    version: str | None = None
    locked_until: datetime | None = None
    reckoned_end: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A span in which a camera was to be recorded and was not. ``end`` is ``None`` while it lasts."""

    id: str
    camera: str
    start: datetime
    end: datetime | None
    cause: GapCause
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteLine:
    """One minute of one camera: how much of it exists, in which objects, and what is missing of it and why."""

    minute: datetime
    covered_ms: int
    frames: int
    bytes: int
    segments: tuple[Segment, ...]
    gaps: tuple[Gap, ...]


def segment_key(site: str, camera: str, start: datetime, number: int = 0) -> str:
    """Where a segment is kept: ``{site}/recordings/{camera}/{YYYY}/{MM}/{DD}/{HHMMSS}Z.mp4`` in UTC (API.md, "Objects").

    ``number`` tells those apart that begin within one second, where a stream was opened anew at once: ``…Z-1.mp4``.
    """
    at = start.astimezone(UTC)
    behind = f"-{number}" if number else ""
    return f"{site}/recordings/{camera}/{at:%Y/%m/%d}/{at:%H%M%S}Z{behind}.mp4"


def stagger_s(number: int, cameras: int) -> float:
    """The offset of camera ``number`` (from 0) of so many."""
    return 0.0 if cameras <= 1 else round(number * SEGMENT_S / cameras, 3)


def holes(
    spans: Iterable[tuple[datetime, datetime]], begin: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """What of ``begin`` to ``end`` lies in none of the spans (in any order, overlapping or not), seams left out."""
    at = begin
    for start, stop in sorted(spans):
        if start - at > SEAM:
            yield at, min(start, end)
        at = max(at, stop)
        if at >= end:
            return
    if end - at > SEAM:
        yield at, end


def minutes(
    segments: Sequence[Segment], gaps: Sequence[Gap], begin: datetime, end: datetime
) -> Iterator[MinuteLine]:
    """The ledger of one camera, minute by minute, from the minute ``begin`` lies in up to ``end``.

    ``segments`` and ``gaps`` are those that touch the span, by their start. Frames and bytes of a segment are shared out by time.
    """
    at = begin.replace(second=0, microsecond=0)
    while at < end:
        stop = at + MINUTE
        mine = tuple(s for s in segments if s.start < stop and s.end > at)
        shares = [_share(s, at, stop) for s in mine]
        yield MinuteLine(
            minute=at,
            covered_ms=_covered_ms([(max(s.start, at), min(s.end, stop)) for s in mine]),
            frames=round(sum(s.frames * share for s, share in zip(mine, shares, strict=True))),
            bytes=round(sum(s.bytes * share for s, share in zip(mine, shares, strict=True))),
            segments=mine,
            gaps=tuple(g for g in gaps if g.start < stop and (g.end is None or g.end > at)),
        )
        at = stop


@dataclass(frozen=True, slots=True, kw_only=True)
class HourShare:
    """What one segment adds to one hour of its camera's coverage."""

    hour: datetime
    covered_ms: int
    frames: int
    bytes: int


def hour_shares(segment: Segment) -> list[HourShare]:
    """A segment shared out over the hours (UTC) it lies in: two at the most, for a segment of a minute."""
    shares = []
    hour = segment.start.replace(minute=0, second=0, microsecond=0)
    while hour < segment.end:
        share = _share(segment, hour, hour + HOUR)
        covered = min(segment.end, hour + HOUR) - max(segment.start, hour)
        shares.append(
            HourShare(
                hour=hour,
                covered_ms=round(covered.total_seconds() * 1000),
                frames=round(segment.frames * share),
                bytes=round(segment.bytes * share),
            )
        )
        hour += HOUR
    return shares


def _share(segment: Segment, begin: datetime, end: datetime) -> float:
    """Which part of a segment lies between the two instants."""
    whole = (segment.end - segment.start).total_seconds()
    part = (min(segment.end, end) - max(segment.start, begin)).total_seconds()
    return 0.0 if whole <= 0 else max(0.0, part / whole)


def _covered_ms(spans: Sequence[tuple[datetime, datetime]]) -> int:
    """Milliseconds covered by spans that may overlap."""
    covered, at = timedelta(), None
    for start, end in sorted(spans):
        begin = start if at is None else max(start, at)
        if end > begin:
            covered += end - begin
        at = end if at is None else max(at, end)
    return min(60_000, round(covered.total_seconds() * 1000))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedFile:
    """A finished file of a recording on this box's disk. ``pauses`` are spans within it in which no frames came."""

    camera: str
    start: datetime
    end: datetime
    frames: int
    bytes: int
    sha256: str
    path: Path
    quality: Quality = Quality.FULL
    pauses: Sequence[tuple[datetime, datetime]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraCoverage:
    """What is kept of one camera within a span, in sums by the hour. ``first_hour`` is the oldest of which anything is kept."""

    camera: str
    covered_ms: int
    frames: int
    bytes: int
    first_hour: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraDay:
    """What is kept of one camera between two edges, in sums by the hour, and how many seconds its gaps take there, by cause."""

    camera: str
    start: datetime
    covered_ms: int
    bytes: int
    gaps: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A batch of objects that are gone, or, without ``register_line``, are to go. ``items`` are objects with ``key``, ``sha256``,
    ``version``, ``start`` and ``end``; ``register_line`` is the line of the register that vouches for :attr:`lines`."""

    id: str
    at: datetime
    start: datetime
    end: datetime
    size_bytes: int
    items: tuple[Mapping[str, Any], ...]
    register_line: int | None = None
    camera: str | None = None
    alarm: str | None = None

    @property
    def lines(self) -> bytes:
        """The items as JSON lines with sorted keys: what the register's line has the SHA-256 of."""
        return b"\n".join(
            json.dumps(dict(item), sort_keys=True, separators=(",", ":")).encode() for item in self.items
        )

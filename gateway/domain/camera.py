"""What is known of one camera, and its live picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraHealth:
    """What is known of one camera now.

    ``cause`` is empty while frames arrive, else says what is wrong in words a technician can act on.
    ``last_frame_at`` is in the gateway's clock. ``clock_offset_s`` is the camera's own clock minus ours,
    ``None`` where it does not tell. ``ring_s`` and ``ring_bytes`` are what the ring holds now. ``sessions`` counts the times
    its stream was opened since the camera process began. ``timing_error_s`` bounds what is not known of the
    newest frames' times (how far arrivals typically lie above the least delayed). ``key_frames_apart_s`` is the time between
    its last two key frames. ``live_codec`` is what is shown live, ``None`` while that is not known or nothing can be;
    ``live_note`` says where that is not the camera's main stream, or why there is none. ``reached`` is false where nothing of the
    camera answers at all. ``recording`` is ``None`` for a camera that is not recorded now, empty while it is, else what keeps it
    from being; ``recorded_since`` is the first frame of the file that is being written, ``recorded_until`` the newest.
    ``recorded_substream`` says that it is the second stream which is recorded; ``substream_missing`` why it is not, although room
    is short and it was asked for.
    """

    camera: str
    healthy: bool
    cause: str
    since: datetime
    last_frame_at: datetime | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    clock_offset_s: float | None = None
    offers_snapshot: bool = False
    ring_s: float = 0.0
    ring_bytes: int = 0
    sessions: int = 0
    timing_error_s: float | None = None
    key_frames_apart_s: float | None = None
    live_codec: str | None = None
    live_note: str = ""
    reached: bool = True
    recording: str | None = None
    recorded_since: datetime | None = None
    recorded_until: datetime | None = None
    recorded_substream: bool = False
    substream_missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSegment:
    """One entry of a live playlist: ``name`` is asked for by :meth:`CameraBank.live_part`."""

    name: str
    sequence: int
    duration_s: float
    begins_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePlaylist:
    """The newest segments of a camera's live picture, oldest first. ``epoch`` changes when the stream was
    reopened, and with it the name of ``init``: players need a discontinuity there. ``note`` says where the picture is not
    the camera's main stream."""

    codec: str
    init: str
    epoch: int
    segments: Sequence[LiveSegment]
    note: str = ""

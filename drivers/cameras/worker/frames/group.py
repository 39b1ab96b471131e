"""What a camera sends, kept by reference: pictures and sound, in groups of pictures that can be decoded by themselves. Pure."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from drivers.cameras.worker.frames.timing import Run

PLAUSIBLE_S = 1.5
"""What a camera's encoder may hold pictures back against sound; a report that says more is not believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One coded picture. ``pts`` is when it is shown, in units of the stream's ``tick_s``; ``arrival_s`` is when its first byte
    came. ``leading`` marks one that follows a key frame, is shown before it, and refers to what came before it."""

    packet: Any
    pts: int
    arrival_s: float
    key: bool
    size: int
    leading: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """One packet of sound. ``end_s`` is the media time of its end, at which it can have been sent at the earliest, and ``run``
    what its own arrivals say. ``paired`` says that the camera's reports have set its time beside the pictures' time."""

    packet: Any
    begins_s: float
    end_s: float
    size: int
    run: Run
    paired: bool


class Group:
    """A key frame and all that follows up to the next one. ``stream`` describes what all its frames share.

    ``frames`` are in the order of decoding. It only grows, until the group has left the ring and the memory is wanted back: then
    it is emptied, and so are ``sounds``, what was heard meanwhile.
    ``before`` is the group before of the same epoch, as long as it is held.
    """

    __slots__ = (
        "__weakref__",
        "_before",
        "after",
        "begins_media_s",
        "bytes",
        "earliest",
        "epoch",
        "epoch_pts",
        "frames",
        "latest",
        "run",
        "segment",
        "sounds",
        "stream",
    )

    def __init__(
        self, stream: Any, run: Run, *, epoch: int, epoch_pts: int, segment: int, begins_media_s: float
    ) -> None:
        self.epoch_pts = epoch_pts
        self.stream = stream
        self.run = run
        self.epoch = epoch
        self.segment = segment
        self.begins_media_s = begins_media_s
        self.frames: list[Frame] = []
        self.sounds: list[Sound] = []
        self.earliest = self.latest = 0  # pts of the frames shown first and last
        self.bytes = 0
        self.after: Group | None = None
        self._before: weakref.ref[Group] | None = None

    @property
    def before(self) -> Group | None:
        return self._before() if self._before is not None else None

    def follow(self, group: Group) -> None:
        """This group comes after that one; if of the same epoch, it may refer to it."""
        group.after = self
        if group.epoch == self.epoch:
            self._before = weakref.ref(group)

    def add(self, frame: Frame) -> None:
        """Append a frame."""
        first = not self.frames
        self.earliest = frame.pts if first else min(self.earliest, frame.pts)
        self.latest = frame.pts if first else max(self.latest, frame.pts)
        self.frames.append(frame)

    def offset_s(self) -> float:
        """From this group's media time to the monotonic clock; one for the whole group, so that it keeps its rhythm."""
        return self.run.offset_at(self.begins_media_s)

    def time_of(self, frame: Frame) -> float:
        """When the frame was, on the monotonic clock."""
        return self.at(frame.pts)

    def at(self, pts: int) -> float:
        """When a frame of this time was, on the monotonic clock."""
        return float(pts * self.stream.tick_s + self.offset_s())

    def clock(self) -> str:
        """What maps its times: ``rtcp`` where the camera's reports are followed, else ``arrival``."""
        return "rtcp" if self.run.held_s() > 0 else "arrival"

    def heard_at(self, sound: Sound) -> float:
        """When the sound began, on the monotonic clock. The camera's reports are followed where its arrivals do not gainsay them:
        they alone tell how much longer its pictures take than its sound."""
        by_arrival = sound.begins_s + sound.run.offset_at(sound.end_s)
        if not sound.paired:
            return by_arrival
        by_reports = sound.begins_s + self.offset_s()
        return by_reports if abs(by_reports - by_arrival) < PLAUSIBLE_S else by_arrival

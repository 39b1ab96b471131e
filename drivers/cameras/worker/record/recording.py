"""Recording round the clock: what comes into a camera's ring is written into files of a minute, as it comes, nothing re-encoded.

A file is a :class:`~drivers.cameras.worker.record.segment_file.SegmentFile`; the recorder decides when one starts and ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from pathlib import Path

from drivers.cameras.unforeseen import in_words
from drivers.cameras.worker.evidence.stills import Source
from drivers.cameras.worker.frames.group import Frame, Group
from drivers.cameras.worker.frames.mp4 import TICKS
from drivers.cameras.worker.frames.order import lag_of
from drivers.cameras.worker.frames.timing import HouseClock
from drivers.cameras.worker.record.segment_file import Facts, SegmentFile, seal
from gateway.domain.errors import Unavailable
from gateway.domain.recording import SEGMENT_S

STEP_S = 0.5
"""How often a camera's new frames are written: with a fragment of at most 0.8 s and one frame held back, what a crash costs stays
below the 2 s that are allowed."""

PAUSE_S = 1.0
"""A pause between frames that is told (and more than four frames' time, for slow cameras)."""

LONGEST_GROUP_S = 10.0
AFTER_TROUBLE_S = 5.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Place:
    """How far the ring was read. What is kept of a group is decided as it begins."""

    group: Group
    keys_only: bool
    index: int = 0


class Recorder:
    """Records one camera. ``step`` is called about every :data:`STEP_S`, by one thread."""

    def __init__(
        self,
        source: Source,
        folder: Path,
        clock: HouseClock,
        *,
        offset_s: float,
        closed: Callable[[Facts], None],
        segment_s: float = SEGMENT_S,
        camera: str = "",
        substream: bool = False,
        first: Group | None = None,
    ) -> None:
        """``offset_s`` is the second of the minute at which this camera's files begin, so that not all do so at once. ``camera``
        is whose files they are, where that is not the source's own name; ``substream`` that they are of its second stream;
        ``first`` the group to begin with, if not the newest."""
        self.source = source
        self.camera = camera or source.id
        self.substream = substream
        self.folder = folder / self.camera
        #: What was at this moment or later is not written: it is in another recorder's file. ``reached`` once such a frame came.
        self.upto_s = inf
        self.reached = False
        self._first = first
        self.cause = ""
        self.since_s: float | None = None  # the first frame of the file being written
        self.until_s: float | None = None  # the newest frame written
        self.ending = False
        self.keys_only = False
        self._keys_only = False  # as of the file being written
        self._clock = clock
        self._offset_s = offset_s
        self._segment_s = segment_s
        self._closed = closed
        self._place: _Place | None = None
        self._file: SegmentFile | None = None
        self._stem = ""
        self._start = (
            0.0  # of the file being written, by the wall clock of then: it may be set while the file goes on
        )
        self._ends_s = 0.0
        self._pauses: list[tuple[float, float]] = []
        self._lag: tuple[int, int] | None = None  # of which epoch, and how long its frames are held back
        self._not_before_s = 0.0

    # ------------------------------------------------------------------ stepping

    def step(self, now_s: float) -> None:
        """Write what is new. Never raises what a stream or a disk can do to it: that is :attr:`cause`, and it tries again."""
        if now_s < self._not_before_s:
            return
        try:
            while self._one_group():
                pass
            self.cause = ""
        except (OSError, Unavailable) as exc:
            self.give_up(
                f"cannot be written in {self.folder}: {getattr(exc, 'strerror', None) or exc}", now_s
            )
        except Exception as exc:
            log.exception("recording camera %s failed", self.camera)
            self.give_up(f"cannot be recorded: {in_words(exc)}", now_s)

    def give_up(self, cause: str, now_s: float) -> None:
        """Leave the file being written as it is, to be mended, and write nothing for a moment."""
        self.cause = cause
        self._not_before_s = now_s + AFTER_TROUBLE_S
        file, self._file = self._file, None
        if file is not None:
            file.abandon()
        self._place = None

    def sync(self) -> None:
        """Have the disk keep what is written so far. Raises ``OSError``."""
        file = self._file
        if file is not None:
            file.sync()

    def end(self) -> None:
        """Close what is open: this camera is no longer recorded. Raises ``OSError``."""
        self._close()
        self._place = None

    def hand_over(self, now_s: float) -> None:
        """Close what is open: another recorder goes on. Never raises: what the disk does not close is :attr:`cause`, and
        left to be mended."""
        try:
            self._close(self.upto_s)
        except (
            Exception
        ) as exc:  # whatever a muxer or a disk does at the end costs what is not whole of this file
            log.error("recording camera %s: its file was not closed: %s", self.camera, exc)
            self.give_up(f"cannot be written: {getattr(exc, 'strerror', None) or exc}", now_s)

    def _one_group(self) -> bool:
        """Write what is new of one group; whether there may be more in the next."""
        ring = self.source.ring
        place = self._place
        if place is None:
            groups = [self._first] if self._first is not None else ring.groups()
            if not groups:
                return False
            self._first = None
            place = self._place = _Place(groups[-1], self.keys_only)
        group = place.group
        whole = group.after is not None or group is not ring.open_group()
        frames = list(group.frames)
        if place.index > len(frames):  # the ring has moved on and emptied it
            self._place = None
            self._close()
            return True
        if place.keys_only:
            self._write_key(group, place, frames)
        elif new := frames[place.index :] if whole else self._ready(group, frames, place.index):
            self._write(group, new, first=place.index == 0)
            place.index += len(new)
        if not whole:
            return False
        if group.after is None:
            self._close()  # the stream ended, and nothing follows on it
            return False
        self._place = _Place(group.after, self.keys_only)
        return True

    def _write_key(self, group: Group, place: _Place, frames: list[Frame]) -> None:
        if frames and place.index == 0:
            self._write(group, frames[:1], first=True)
        place.index = len(frames)

    def _ready(self, group: Group, frames: list[Frame], index: int) -> list[Frame]:
        """Of a group that still grows: what may be written now, so that no frame yet to come is to be shown before it.

        The newest frame waits for the next one, and with it the sound that belongs to both.
        """
        if group.run.reorder_s > 0 and (self._lag is None or self._lag[0] != group.epoch):
            return []  # how long frames are held back is known when one whole group is there
        complete = group.run.complete_media_s() / group.stream.tick_s
        shown_later = frames[-1].pts if frames else 0
        count = len(frames) - 1
        latest = list(accumulate((frame.pts for frame in frames), max))
        while count > index and (latest[count - 1] > shown_later or latest[count - 1] > complete):
            count -= 1
            shown_later = min(shown_later, frames[count].pts)
        return frames[index:count]

    # ------------------------------------------------------------------ files

    def _write(self, group: Group, frames: list[Frame], *, first: bool) -> None:
        if self.upto_s < inf and not (frames := self._before(group, frames)):
            return
        begins_s = group.time_of(frames[0])
        file = self._file
        if file is not None and first and self._ends(file, group, begins_s):
            self._close(begins_s)
            file = None
        if file is None:
            if not first:  # a file begins with a key frame
                return
            file = self._begin(group, frames)
        elif begins_s - file.film.last_s > self._pause_s(group):
            self._pauses.append((file.film.last_s + group.run.interval_s, begins_s))
        file.add(group, frames)
        self.until_s = file.film.last_s

    def _before(self, group: Group, frames: list[Frame]) -> list[Frame]:
        """Those up to :attr:`upto_s`, and what they refer to."""
        earlier = [n for n, frame in enumerate(frames) if group.time_of(frame) < self.upto_s]
        self.reached = self.reached or len(earlier) < len(frames)
        return frames[: earlier[-1] + 1] if earlier else []

    def _ends(self, file: SegmentFile, group: Group, begins_s: float) -> bool:
        return (
            file.film.epoch != group.epoch
            or file.film.video is not group.stream
            or self._place_keys_only() is not self._keys_only
            or begins_s - file.film.last_s > self._pause_s(group)
            or begins_s >= self._ends_s
        )

    def _place_keys_only(self) -> bool:
        return self._place is not None and self._place.keys_only

    def _pause_s(self, group: Group) -> float:
        """How far apart frames are that have a pause between them."""
        return self._key_pause_s() if self._keys_only else max(PAUSE_S, 4 * group.run.interval_s)

    def _key_pause_s(self) -> float:
        return max(PAUSE_S, 2.5 * (self.source.ring.key_frames_apart_s() or LONGEST_GROUP_S))

    def _begin(self, group: Group, frames: list[Frame]) -> SegmentFile:
        if self._lag is None or self._lag[0] != group.epoch:
            self._lag = (group.epoch, lag_of([frame.pts for frame in frames]))
        start = self._start = self._clock.to_wall(group.time_of(frames[0]))
        # The name says what of the camera it is, for the process that takes it up after a crash.
        kept = ".sub" if self.substream else ".keys" if self._place_keys_only() else ""
        named = round(start * 1000)
        # Where a second stream fell soon after it had taken over, the group begun with has begun a file before.
        while any((self.folder / f"{named}{kept}{end}").exists() for end in (".part", ".mp4", ".json")):
            named += 1
        self._stem = f"{named}{kept}"
        part = self.folder / f"{self._stem}.part"
        # In the stream's own ticks until it is written; the file's are TICKS.
        lag = round(self._lag[1] * group.stream.tick_s * TICKS)
        self._file = SegmentFile(part, group, frames[0], sound=self.source.sound, lag=lag)
        self._keys_only = self._place_keys_only()
        self.since_s = self._file.film.first_s
        self._pauses = []
        self._ends_s = self.since_s + next_boundary(start, self._offset_s, self._segment_s) - start
        return self._file

    def _close(self, next_s: float = inf) -> None:
        """``next_s`` is when the first frame of the file after it was, if there is one yet."""
        file, self._file = self._file, None
        if file is None:
            return
        end_s = file.close()
        if self._keys_only and next_s - file.film.last_s <= self._key_pause_s():
            end_s = max(end_s, next_s)  # as long as those within the file, a key frame stands for its group
        picture = file.film.video.picture
        facts = {
            "camera": self.camera,
            "start": self._start,
            "end": self._start + end_s - file.film.first_s,
            "frames": file.frames,
            "bytes": file.bytes,
            "sha256": file.sha256(),
            "codec": file.film.video.codec,
            "width": picture.width,
            "height": picture.height,
            "clock": file.film.clock,
            "keys_only": self._keys_only,
            "substream": self.substream,
            "pauses": [[self._start + at_s - file.film.first_s for at_s in pause] for pause in self._pauses],
        }
        self._closed(seal(self.folder, self._stem, facts))


def next_boundary(start: float, offset_s: float, segment_s: float) -> float:
    """The first instant after ``start`` (wall clock) at which a file that begins there ends: a whole number of ``segment_s`` plus
    the camera's own offset, and at least a third of one away, so that a beginning shortly before it makes no crumb."""
    number = (start - offset_s) // segment_s + 1
    end: float = number * segment_s + offset_s
    return end if end - start >= segment_s / 3 else end + segment_s

"""Recording round the clock: what comes into a camera's ring is written into files of a minute, as it comes, nothing re-encoded.

A file is fragmented MP4, its bytes never written twice, so that it is good up to its last whole fragment whenever power or
process goes, and its SHA-256 is known as it ends. While it is written it is called ``{start}.part`` (milliseconds since 1970)
in the camera's folder of the spool, or ``{start}.sub.part`` of its second stream, ``{start}.keys.part`` of key frames only;
closed, ``.mp4``; and only the ``.json`` beside it, written last and at once, says that it is closed. Whatever lies there without
one is of a process that ended, and is taken up by the next (:mod:`drivers.cameras.worker.record.mending`). One file, though
long: a recorder and its file know each other's every step.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Any

from drivers.cameras.unforeseen import in_words
from drivers.cameras.worker.evidence.stills import Source
from drivers.cameras.worker.evidence.writing import Writing
from drivers.cameras.worker.frames.group import Frame, Group
from drivers.cameras.worker.frames.mp4 import TICKS, named_hvc1
from drivers.cameras.worker.frames.order import lag_of
from drivers.cameras.worker.frames.timing import HouseClock
from gateway.domain.errors import Unavailable
from gateway.domain.recording import SEGMENT_S

STEP_S = 0.5
"""How often a camera's new frames are written: with a fragment of at most 0.8 s and one frame held back, what a crash costs stays
below the 2 s that are allowed."""

PAUSE_S = 1.0
"""A pause between frames that is told (and more than four frames' time, for slow cameras)."""

LONGEST_GROUP_S = 10.0
LONGEST_HEAD = 1 << 20
"""Bytes: a head is some 1 KiB; what is longer is none, and is written as it is."""

AFTER_TROUBLE_S = 5.0

MUXER = {
    "movflags": "empty_moov+default_base_moof+negative_cts_offsets+skip_trailer",
    "frag_duration": "800000",  # µs
    "video_track_timescale": str(TICKS),
    "flush_packets": "1",
    "max_interleave_delta": "500000",
}

log = logging.getLogger(__name__)

Facts = dict[str, Any]


class HashedFile:
    """A file that is only ever appended to. ``size`` and :meth:`sha256` are of what was written so far.

    Of H.265 (``hevc``) the head is held back until it is whole and its sample entry named as players want it
    (:func:`drivers.cameras.worker.frames.mp4.named_hvc1`); nothing that is written is altered otherwise.
    """

    def __init__(self, path: Path, *, hevc: bool = False) -> None:
        self.size = 0
        self._head: bytearray | None = bytearray() if hevc else None
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._digest = hashlib.sha256()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append. Raises ``OSError`` from the disk, with as much written as could be."""
        if self._head is None:
            self._append(data)
            return len(data)
        self._head += data
        named = named_hvc1(self._head)
        if named is not None or len(self._head) > LONGEST_HEAD:
            named, self._head = named or bytes(self._head), None
            self._append(named)
        return len(data)

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            written = self._file.write(view) or 0
            self._digest.update(view[:written])
            self.size += written
            view = view[written:]

    def flush(self) -> None:
        """Nothing but an unfinished head is held back here."""

    def sync(self) -> None:
        """Have the disk keep what was written. Raises ``OSError``, also where the file is no longer where it was made: what is
        written into a file that was removed is nowhere."""
        os.fdatasync(self._file.fileno())
        mine = os.fstat(self._file.fileno())
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            there = None
        # Closed meanwhile, it bears another name by now.
        if (there is None or not os.path.samestat(mine, there)) and not self._file.closed:
            raise FileNotFoundError(errno.ENOENT, "the file being written was removed or its folder replaced")

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()


class Recording(Writing):
    """One file of a recording on its way."""

    def __init__(self, target: Path, group: Group, first: Frame, source: Source, lag: int | None) -> None:
        super().__init__(target, group, first, sound=source.sound, progress=None)
        self._lag = lag
        self.frames = 0

    muxer = MUXER

    def _open(self, target: Path) -> HashedFile:
        self.file = HashedFile(target, hevc=self.video.codec == "hevc")
        return self.file

    @property
    def lag(self) -> int | None:
        return self._lag

    def add(self, group: Group, frames: list[Frame], end_s: float) -> None:
        self.frames += len(frames)
        # Sound sent ahead of its picture belongs to the file that picture is in.
        super().add(group, frames, min(end_s, group.at(max(frame.pts for frame in frames))))

    def close(self) -> float:
        """End the file and sync it; when its last frame ends. Raises ``OSError``."""
        self._end_last()
        self._mp4.close()
        self.file.sync()
        self.file.close()
        return self.first_s + self._end / TICKS

    def abandon(self) -> None:
        """Leave the file as it is: what is whole of it will be taken up."""
        self._let_go()


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
        self._writing: Recording | None = None
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
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.abandon()
        self._place = None

    def sync(self) -> None:
        """Have the disk keep what is written so far. Raises ``OSError``."""
        writing = self._writing
        if writing is not None:
            writing.file.sync()

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
        writing = self._writing
        if writing is not None and first and self._ends(writing, group, begins_s):
            self._close(begins_s)
            writing = None
        if writing is None:
            if not first:  # a file begins with a key frame
                return
            writing = self._begin(group, frames)
        elif begins_s - writing.last_s > self._pause_s(group):
            self._pauses.append((writing.last_s + group.run.interval_s, begins_s))
        writing.add(group, frames, float("inf"))
        self.until_s = writing.last_s

    def _before(self, group: Group, frames: list[Frame]) -> list[Frame]:
        """Those up to :attr:`upto_s`, and what they refer to."""
        earlier = [n for n, frame in enumerate(frames) if group.time_of(frame) < self.upto_s]
        self.reached = self.reached or len(earlier) < len(frames)
        return frames[: earlier[-1] + 1] if earlier else []

    def _ends(self, writing: Recording, group: Group, begins_s: float) -> bool:
        return (
            writing.epoch != group.epoch
            or writing.video is not group.stream
            or self._place_keys_only() is not self._keys_only
            or begins_s - writing.last_s > self._pause_s(group)
            or begins_s >= self._ends_s
        )

    def _place_keys_only(self) -> bool:
        return self._place is not None and self._place.keys_only

    def _pause_s(self, group: Group) -> float:
        """How far apart frames are that have a pause between them."""
        return self._key_pause_s() if self._keys_only else max(PAUSE_S, 4 * group.run.interval_s)

    def _key_pause_s(self) -> float:
        return max(PAUSE_S, 2.5 * (self.source.ring.key_frames_apart_s() or LONGEST_GROUP_S))

    def _begin(self, group: Group, frames: list[Frame]) -> Recording:
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
        self._writing = Recording(part, group, frames[0], self.source, lag)
        self._keys_only = self._place_keys_only()
        self.since_s = self._writing.first_s
        self._pauses = []
        self._ends_s = self.since_s + next_boundary(start, self._offset_s, self._segment_s) - start
        return self._writing

    def _close(self, next_s: float = inf) -> None:
        """``next_s`` is when the first frame of the file after it was, if there is one yet."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        end_s = writing.close()
        if self._keys_only and next_s - writing.last_s <= self._key_pause_s():
            end_s = max(end_s, next_s)  # as long as those within the file, a key frame stands for its group
        picture = writing.video.picture
        facts = {
            "camera": self.camera,
            "start": self._start,
            "end": self._start + end_s - writing.first_s,
            "frames": writing.frames,
            "bytes": writing.file.size,
            "sha256": writing.file.sha256(),
            "codec": writing.video.codec,
            "width": picture.width,
            "height": picture.height,
            "clock": writing.clock,
            "keys_only": self._keys_only,
            "substream": self.substream,
            "pauses": [[self._start + at_s - writing.first_s for at_s in pause] for pause in self._pauses],
        }
        self._closed(seal(self.folder, self._stem, facts))


def next_boundary(start: float, offset_s: float, segment_s: float) -> float:
    """The first instant after ``start`` (wall clock) at which a file that begins there ends: a whole number of ``segment_s`` plus
    the camera's own offset, and at least a third of one away, so that a beginning shortly before it makes no crumb."""
    number = (start - offset_s) // segment_s + 1
    end: float = number * segment_s + offset_s
    return end if end - start >= segment_s / 3 else end + segment_s


def seal(folder: Path, stem: str, facts: Facts) -> Facts:
    """Name a finished file and put its facts beside it, each step whole or not at all. Raises ``OSError``."""
    facts = {**facts, "file": f"{stem}.mp4"}
    (folder / f"{stem}.part").rename(folder / f"{stem}.mp4")
    fresh = folder / f"{stem}.json.new"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(folder / f"{stem}.json")
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
    return facts

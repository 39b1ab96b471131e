"""Clips: a span of the ring and of what follows it, copied packet by packet into an MP4 file.

A clip is written as it goes, one fragment a group of pictures, and turned into a plain MP4 with one index when it
ends (``hybrid_fragmented``): whole, it plays anywhere; cut off by a crash, it still plays up to its last fragment, whose
place is reported as it is written, so that the gateway can keep what there is.

A clip that waits for its next group holds no thread: a few threads serve all of them, one group at a time each in turn.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path

import av

from drivers.cameras.mp4 import TICKS, Mp4, VideoFormat
from drivers.cameras.ring import Frame, Group
from drivers.cameras.stills import Source
from drivers.cameras.timing import HouseClock
from gateway.domain.errors import Unavailable

PATIENCE_S = 1.5
"""How long after its end a clip waits for frames that are on their way."""

GAP_S = 1.0
"""A pause between frames that is told as a gap (and more than four frames' time, for slow cameras)."""

LATE_S = 0.1
"""A clip that begins or ends this far inside the span asked for is still whole."""

NICE = 5
"""How much the threads that write clips stand back."""

STAND_BACK_S = 2.0
"""How long a clip waits at most, once, for the stills of a press: by then they are due."""

OUT_OF_ORDER = "the camera sends frames out of order (B-frames): all are here, but shown at the wrong moments"

MUXER = {
    "movflags": "hybrid_fragmented+frag_keyframe+default_base_moof",
    "video_track_timescale": str(TICKS),
    "flush_packets": "1",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip finished: times on the monotonic clock."""

    start_s: float
    end_s: float
    bytes: int
    sha256: str
    shortfall: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A clip is a valid file up to ``bytes``, and shows ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    bytes: int


class Cutting:
    """One clip on its way. ``step`` writes what is there and says whether that was all; the rest is state."""

    def __init__(
        self,
        source: Source,
        start_s: float,
        end_s: float,
        target: Path,
        clock: HouseClock,
        *,
        progress: Callable[[Progress], None],
        answer: Callable[[Clip | Unavailable], None],
    ) -> None:
        self.source = source
        self.end_s = end_s
        self.deadline_s = max(end_s, time.monotonic()) + PATIENCE_S
        self.answer = answer
        self.given_up = False
        self.stood_back = False
        self._start_s = start_s
        self._target = target
        self._clock = clock
        self._progress = progress
        self._group: Group | None = None
        self._index = 0
        self._file: BufferedRandom | None = None
        self._mp4: Mp4 | None = None
        self._video: VideoFormat | None = None
        self._epoch = 0
        self._base = (0, 0)  # (pts, ticks): this pts of the epoch lies at these ticks of the file
        self._held: tuple[Frame, int] | None = None  # written once the next frame tells how long it lasts
        self._first_s = self._last_s = 0.0
        self._missing: list[str] = []

    # ------------------------------------------------------------------ stepping

    def has_work(self) -> bool:
        """Whether a step would write something: a whole group, or the span's end."""
        if time.monotonic() >= self.deadline_s or self.source.ring.reaches(self.end_s):
            return True
        group = self._group or self.source.ring.covering(self._start_s)
        return (
            group is not None
            and group is not self.source.ring.open_group()
            and (self._index < len(group.frames) or group.after is not None)
        )

    def step(self) -> bool:
        """Write up to one group; ``True`` when the clip has ended. Raises ``Unavailable`` and ``OSError``."""
        over = time.monotonic() >= self.deadline_s
        ending = over or self.source.ring.reaches(self.end_s)
        if self._group is None and not self._find_start():
            if over:
                raise Unavailable(f"nothing of this span: {self.source.cause or self._nothing()}")
            return False
        group = self._group
        assert group is not None
        if group is self.source.ring.open_group() and not ending:
            return False
        offset = group.offset_s()
        frames = group.frames
        if self._index > len(frames):
            self._missing.append("the disk was slower than the camera, and the ring has moved on")
            return True
        for frame in frames[self._index :]:
            time_s = frame.pts * group.stream.tick_s + offset
            if time_s > self.end_s:
                return True
            if not self._take(group, frame, time_s):
                return True
            self._index += 1
        if group.after is not None:
            self._group, self._index = group.after, 0
            return False
        return over

    def _find_start(self) -> bool:
        group = self.source.ring.covering(self._start_s)
        while group is not None and group.frames and group.time_of(group.frames[-1]) < self._start_s:
            group = group.after
        self._group = group
        return group is not None

    def _nothing(self) -> str:
        oldest = self.source.ring.groups()[:1]
        if not oldest:
            return "the ring is empty"
        return f"the ring begins at {self._wall(oldest[0].time_of(oldest[0].frames[0]))}"

    def _take(self, group: Group, frame: Frame, time_s: float) -> bool:
        video: VideoFormat = group.stream
        if self._video is None:
            self._begin(group, frame, time_s)
        elif self._epoch != group.epoch:
            if not video.same_picture(self._video):
                self._missing.append(
                    f"the camera changed its picture from {_named(self._video)} to {_named(video)} at {self._wall(time_s)}"
                )
                return False
            self._base = (frame.pts, max(self._next_ticks(), round((time_s - self._first_s) * TICKS)))
            self._epoch = group.epoch
            self._gap(time_s, "the stream was opened again")
        elif time_s - self._last_s > max(GAP_S, 4 * group.run.interval_s):
            self._gap(time_s, "no frames came")
        ticks = self._base[1] + round((frame.pts - self._base[0]) * video.tick_s * TICKS)
        if self._held is not None and ticks <= self._held[1]:  # a file's times only go forward
            ticks = self._held[1] + 1
            if OUT_OF_ORDER not in self._missing:
                self._missing.append(OUT_OF_ORDER)
        self._flush_held(ticks)
        self._held = (frame, ticks)
        self._last_s = time_s
        return True

    def _gap(self, until_s: float, why: str) -> None:
        self._missing.append(f"{until_s - self._last_s:.1f} s missing from {self._wall(self._last_s)}: {why}")

    def _begin(self, group: Group, frame: Frame, time_s: float) -> None:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._target.open("w+b")
        self._video = group.stream
        self._mp4 = Mp4(self._file, group.stream, MUXER)
        self._epoch = group.epoch
        self._base = (frame.pts, 0)
        self._first_s = time_s
        if time_s > self._start_s + LATE_S:
            self._missing.append(
                f"begins {time_s - self._start_s:.1f} s late: nothing earlier is in the ring"
            )

    def _next_ticks(self) -> int:
        assert self._held is not None
        assert self._group is not None
        return self._held[1] + round(self._group.run.interval_s * TICKS)

    def _flush_held(self, next_ticks: int) -> None:
        if self._held is None:
            return
        assert self._mp4 is not None
        assert self._file is not None
        frame, ticks = self._held
        self._mp4.write(frame, ticks, max(1, next_ticks - ticks))
        if frame.key and ticks:  # the muxer has just written the fragment that ended before this key frame
            self._file.flush()
            self._progress(
                Progress(start_s=self._first_s, end_s=self._first_s + ticks / TICKS, bytes=self._file.tell())
            )

    # ------------------------------------------------------------------ ending

    def finish(self) -> Clip:
        """Close the file and hash it. Raises ``Unavailable`` if there is no frame, ``OSError`` from the disk."""
        if self._held is None or self._mp4 is None or self._file is None:
            raise Unavailable(f"nothing of this span: {self.source.cause or self._nothing()}")
        end_ticks = self._next_ticks()
        self._flush_held(end_ticks)
        self._mp4.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha256").hexdigest()
        size = self._file.seek(0, os.SEEK_END)
        self._file.close()
        last_s = self._first_s + end_ticks / TICKS
        if self._last_s < self.end_s - max(LATE_S, 2 * (last_s - self._last_s)):
            cause = self.source.cause or "no later frame came in time"
            self._missing.append(f"ends {self.end_s - last_s:.1f} s early: {cause}")
        return Clip(
            start_s=self._first_s,
            end_s=last_s,
            bytes=size,
            sha256=digest,
            shortfall="; ".join(self._missing) or None,
        )

    def discard(self) -> None:
        """Remove what was written."""
        if self._mp4 is not None:
            try:
                self._mp4.close()
            except (OSError, av.FFmpegError):
                log.debug("an abandoned clip could not be closed in order", exc_info=True)
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                log.debug("an abandoned clip could not be flushed", exc_info=True)
            self._target.unlink(missing_ok=True)

    def _wall(self, time_s: float) -> str:
        return datetime.fromtimestamp(self._clock.to_wall(time_s), UTC).isoformat(timespec="milliseconds")


def _named(video: VideoFormat) -> str:
    return f"{video.picture.codec} {video.picture.width}x{video.picture.height}"


class Clips:
    """Serves all clips with a few threads, which stand back while ``calm`` is not set: stills of a press go first."""

    def __init__(self, calm: threading.Event, *, threads: int = 2) -> None:
        self._calm = calm
        self._changed = threading.Condition()
        self._queue: deque[Cutting] = deque()
        self._parked: list[Cutting] = []
        self._watched: Counter[str] = Counter()
        for i in range(threads):
            threading.Thread(target=self._work, name=f"clip-{i}", daemon=True).start()
        threading.Thread(target=self._keep_deadlines, name="clip-deadlines", daemon=True).start()

    def cut(self, cutting: Cutting) -> None:
        """Take over a clip; its ``answer`` is called once, from one of the threads here, unless it is given up."""
        with self._changed:
            self._queue.append(cutting)
            self._changed.notify_all()

    def give_up(self, cutting: Cutting) -> None:
        """Nobody wants it any more: what was written is removed, soon."""
        cutting.given_up = True
        self._wake([cutting])

    def frame_arrived(self, source: Source) -> None:
        """To be called for each new frame."""
        if source.id not in self._watched:
            return
        with self._changed:
            mine = [cutting for cutting in self._parked if cutting.source is source]
        self._wake([cutting for cutting in mine if cutting.has_work()])

    def _wake(self, cuttings: list[Cutting]) -> None:
        with self._changed:
            for cutting in cuttings:
                if cutting in self._parked:
                    self._parked.remove(cutting)
                    self._watched[cutting.source.id] -= 1
                    if not self._watched[cutting.source.id]:
                        del self._watched[cutting.source.id]
                    self._queue.append(cutting)
            self._changed.notify_all()

    def _park(self, cutting: Cutting) -> None:
        with self._changed:
            self._parked.append(cutting)
            self._watched[cutting.source.id] += 1
            self._changed.notify_all()
        if cutting.has_work():  # it came between the step and the parking
            self._wake([cutting])

    def _keep_deadlines(self) -> None:
        while True:
            with self._changed:
                next_s = min((c.deadline_s for c in self._parked), default=None)
                self._changed.wait(None if next_s is None else max(0.01, next_s - time.monotonic()))
                now = time.monotonic()
                late = [c for c in self._parked if c.deadline_s <= now]
            self._wake(late)

    def _work(self) -> None:
        if (
            sys.platform == "linux"
        ):  # there priorities are a thread's: stills and the streams themselves go first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            with self._changed:
                while not self._queue:
                    self._changed.wait()
                cutting = self._queue.popleft()
            if not cutting.stood_back:
                self._calm.wait(STAND_BACK_S)
                cutting.stood_back = True
            self._step(cutting)

    def _step(self, cutting: Cutting) -> None:
        if cutting.given_up:
            cutting.discard()
            return
        try:
            if not cutting.step():
                if cutting.has_work():
                    with self._changed:
                        self._queue.append(cutting)
                else:
                    self._park(cutting)
                return
            answer: Clip | Unavailable = cutting.finish()
        except Unavailable as exc:
            cutting.discard()
            answer = exc
        except OSError as exc:
            cutting.discard()
            answer = Unavailable(f"the clip cannot be written: {exc.strerror or exc}")
        except Exception as exc:  # whatever a stream can do to the muxer costs this clip only
            log.exception("cutting a clip of camera %s failed", cutting.source.id)
            cutting.discard()
            answer = Unavailable(f"the clip cannot be made from this stream: {exc}")
        cutting.answer(answer)

"""Clips: a span of the ring and of what follows it, copied packet by packet into an MP4 file.

A clip is written as it goes, one fragment a group of pictures, and turned into a plain MP4 with one index when it
ends (``hybrid_fragmented``): whole, it plays anywhere; cut off by a crash, it still plays up to its last fragment, whose
place is reported as it is written, so that the gateway can keep what there is.

A clip that waits for its next group holds no thread: a few threads serve all of them, one group at a time each in turn.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from drivers.cameras.worker.evidence.clip_file import ClipFile
from drivers.cameras.worker.evidence.film import FilmWriter, Progress
from drivers.cameras.worker.evidence.stills import Source
from drivers.cameras.worker.frames.group import Frame, Group
from drivers.cameras.worker.frames.timing import HouseClock
from drivers.cameras.worker.threads import THREADS
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

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip finished: times on the monotonic clock."""

    start_s: float
    end_s: float
    bytes: int
    sha256: str
    shortfall: str | None
    clock: str


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
        self._until_s = end_s  # how far the ring has to reach
        self._target = target
        self._clock = clock
        self._progress = progress
        self._group: Group | None = None
        self._index = 0
        self._file: ClipFile | None = None
        self._missing: list[str] = []

    # ------------------------------------------------------------------ stepping

    def has_work(self) -> bool:
        """Whether a step would write something: a whole group, or the span's end."""
        if time.monotonic() >= self.deadline_s or self.source.ring.reaches(self._until_s):
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
        ending = over or self.source.ring.reaches(self._until_s)
        if self._group is None and not self._find_start():
            if over:
                raise Unavailable(f"nothing of this span: {self.source.cause or self._nothing()}")
            return False
        group = self._group
        assert group is not None
        if group is self.source.ring.open_group() and not ending:
            return False
        frames = list(group.frames)
        if self._index > len(frames):
            self._missing.append("the disk was slower than the camera, and the ring has moved on")
            return True
        wanted = frames[self._index :]
        at_end = group.at(group.latest) > self.end_s
        if at_end:
            wanted = self._up_to_end(group, wanted)
            latest_s = group.at(max(frame.pts for frame in wanted)) if wanted else self.end_s
            if latest_s > self._until_s and group is self.source.ring.open_group() and not over:
                self._until_s = latest_s
                return False  # some that are shown before that one may still be on their way
        if wanted and not self._take(group, wanted):
            return True
        self._index += len(wanted)
        if at_end:
            return True
        if group.after is not None:
            self._group, self._index = group.after, 0
            return False
        return over

    def _up_to_end(self, group: Group, frames: list[Frame]) -> list[Frame]:
        """Those that are shown up to the end, and what they need. That was sent before them and may be shown after the end: then
        what is shown before it is there too, or a moment would be missing within the clip."""
        within = [i for i, frame in enumerate(frames) if group.time_of(frame) <= self.end_s]
        if not within:
            return []
        latest = max(frame.pts for frame in frames[: within[-1] + 1])
        return frames[: 1 + max(i for i, frame in enumerate(frames) if frame.pts <= latest)]

    def _find_start(self) -> bool:
        group = self.source.ring.covering(self._start_s)
        while group is not None and group.frames and group.at(group.latest) < self._start_s:
            group = group.after
        self._group = group
        return group is not None

    def _nothing(self) -> str:
        oldest = self.source.ring.groups()[:1]
        if not oldest:
            return "the ring is empty"
        return f"the ring begins at {self._wall(oldest[0].time_of(oldest[0].frames[0]))}"

    # ------------------------------------------------------------------ what is taken

    def _take(self, group: Group, frames: list[Frame]) -> bool:
        """Write these frames; ``False`` if the file cannot go on with them and is to end before."""
        film = self._file.film if self._file is not None else None
        if self._file is not None and film is not None and film.video.codec != group.stream.codec:
            at_s = group.time_of(frames[0])
            if self.end_s - at_s <= at_s - film.first_s:
                self._missing.append(f"ends at {self._changed(film, group, at_s)}")
                return False
            # One file cannot hold both: the longer part is kept.
            self._missing.append(f"begins at {self._changed(film, group, at_s)}")
            self._file.discard()
            film = self._file = None
        if film is None:
            film = self._begin(group, frames[0])
        elif film.epoch != group.epoch:
            self._go_on(film, group, group.time_of(frames[0]))
        else:
            gap_s = group.at(min(frame.pts for frame in frames)) - film.last_s
            if gap_s > max(GAP_S, 4 * group.run.interval_s):
                self._gap(film, film.last_s + gap_s, "no frames came")
        film.add(group, frames, self.end_s)
        return True

    def _begin(self, group: Group, frame: Frame) -> FilmWriter:
        first_s = group.time_of(frame)
        if first_s > self._start_s + LATE_S and not self._missing:
            self._missing.append(
                f"begins {first_s - self._start_s:.1f} s late: nothing earlier is in the ring"
            )
        self._file = ClipFile(self._target, group, frame, sound=self.source.sound, progress=self._progress)
        return self._file.film

    def _go_on(self, film: FilmWriter, group: Group, at_s: float) -> None:
        if not group.stream.same_picture(film.video):
            if str(group.stream) != str(film.video):
                self._missing.append(
                    f"the camera changed its picture from {film.video} to {group.stream} at {self._wall(at_s)}: both are "
                    "in this file, and players that read the change within the stream show both"
                )
            film.change(group.stream)
        if at_s - film.last_s > max(LATE_S, 4 * group.run.interval_s) or (
            group.stream.session != film.video_session
        ):
            self._gap(film, at_s, "the stream was opened again")
        film.rebase(group, at_s)

    def _gap(self, film: FilmWriter, until_s: float, why: str) -> None:
        if until_s < film.last_s:
            twice_s = film.last_s - until_s
            self._missing.append(f"{twice_s:.1f} s before {self._wall(film.last_s)} are here twice: {why}")
            return
        self._missing.append(f"{until_s - film.last_s:.1f} s missing from {self._wall(film.last_s)}: {why}")

    def _changed(self, film: FilmWriter, group: Group, at_s: float) -> str:
        return (
            f"{self._wall(at_s)}: the camera changed from {film.video} to {group.stream}, one file cannot hold both, and this "
            "is the longer part"
        )

    # ------------------------------------------------------------------ ending

    def finish(self) -> Clip:
        """Close the file and hash it. Raises ``Unavailable`` if there is no frame, ``OSError`` from the disk."""
        if self._file is None:
            raise Unavailable(f"nothing of this span: {self.source.cause or self._nothing()}")
        film = self._file.film
        last_s, size, digest = self._file.finish()
        if film.last_s < self.end_s - max(LATE_S, 2 * (last_s - film.last_s)) and not any(
            text.startswith("ends at") for text in self._missing
        ):
            cause = self.source.cause or "no later frame came in time"
            self._missing.append(f"ends {self.end_s - last_s:.1f} s early: {cause}")
        self._missing += film.complaints
        if self.source.sound_missing:
            self._missing.append(self.source.sound_missing)
        elif film.sound is not None and film.heard_s < 0.5 * (last_s - film.first_s):
            self._missing.append(f"sound: only {film.heard_s:.1f} s came from the camera")
        return Clip(
            start_s=film.first_s,
            end_s=last_s,
            bytes=size,
            sha256=digest,
            shortfall="; ".join(self._missing) or None,
            clock=film.clock,
        )

    def discard(self) -> None:
        """Remove what was written."""
        if self._file is not None:
            self._file.discard()

    def _wall(self, time_s: float) -> str:
        return datetime.fromtimestamp(self._clock.to_wall(time_s), UTC).isoformat(timespec="milliseconds")


class Clips:
    """Serves all clips with a few threads, which stand back while ``calm`` is not set: stills of a press go first."""

    def __init__(self, calm: threading.Event, *, threads: int = 2) -> None:
        self._calm = calm
        self._changed = threading.Condition()
        self._queue: deque[Cutting] = deque()
        self._parked: list[Cutting] = []
        self._watched: Counter[str] = Counter()
        for i in range(threads):
            THREADS.begin(f"clip-{i}", self._work)
        THREADS.begin("clip-deadlines", self._keep_deadlines)

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

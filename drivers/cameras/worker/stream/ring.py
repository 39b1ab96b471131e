"""The last seconds of one camera, as the packets that came: bounded in time and bytes, found again by time.

Pure: no I/O and no media library. Packets are kept by reference and never altered. They lie in *groups*, each a key frame and
what depends on it; only whole groups are dropped, so that every frame in the ring can be decoded.

Groups are linked forward: whoever reads (a clip being written) follows ``group.after`` and so never loses its place, even where
the ring has moved on meanwhile. What is outside the ring and still held that way is bounded too.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.frames.group import Frame, Group, Sound
from drivers.cameras.worker.frames.pacing import Flow
from drivers.cameras.worker.frames.timing import DEEPEST, Run

PACKET_OVERHEAD = 600
"""Bytes a packet costs beside its data: two Python objects and the library's buffer heads (measured)."""

SEGMENT_S = 0.98
"""Shortest live segment; shorter groups are joined until they last as long (a player asks for each one over HTTP)."""

FLOW_S = 1.0
"""How much of a stream's newest tells its rate, and how often it is looked at how steadily it comes."""

WIDEST_GAP_S = 5.0
"""A frame further than this from the instant asked for is no picture of it. Equals the watchdog's limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A frame of the ring, and when it was."""

    group: Group
    frame: Frame
    time_s: float


class Ring:
    """One camera's ring. Thread-safe: one thread appends, others look up.

    ``epoch`` and ``segment`` numbers never go back, not even over a restart of the process, if ``first_number`` is taken
    from the clock (half-seconds suffice: a segment lasts longer).
    """

    def __init__(self, limits: RingLimits, *, first_number: int = 1) -> None:
        self.limits = limits
        self.dropped = 0
        self._lock = threading.RLock()
        self._groups: deque[Group] = deque()
        self._current: Group | None = None
        self._leaving: deque[weakref.ref[Group]] = deque()
        self._bytes = 0
        self._epoch = first_number
        self._epoch_pts = 0
        self._segment = first_number
        self._segment_from = 0.0
        self._sound_run = Run()
        self._looked: tuple[Run, float, float, float] | None = None  # when, and how steadily a run came then

    # ------------------------------------------------------------------ filling

    def append(
        self,
        stream: Any,
        packet: Any,
        pts: int,
        arrival_s: float,
        *,
        key: bool,
        size: int,
        leading: bool = False,
        prompt: bool = True,
    ) -> None:
        """Take in the next packet of the stream. What cannot be decoded (no key frame yet) is counted and left.

        ``stream`` is any object with ``tick_s``; another object than before opens a new epoch, as does a jump
        of the timestamps.
        """
        media_s = pts * stream.tick_s
        with self._lock:
            group = self._current
            goes_on = group is not None and group.run.continues(media_s, arrival_s)
            if group is None or group.stream is not stream or not goes_on:
                self._current = None
                if not key:
                    self.dropped += 1
                    return
                self._epoch += 1
                self._epoch_pts = pts
                self._segment += 1
                self._segment_from = media_s
                # A camera that changes its picture within a session goes on counting its time.
                run = group.run if group is not None and goes_on else Run()
                group = self._open(stream, run, media_s)
            elif key:
                if media_s - self._segment_from >= SEGMENT_S:
                    self._segment += 1
                    self._segment_from = media_s
                group = self._open(stream, group.run, media_s)
            elif leading and group.before is None:  # what it refers to never came
                self.dropped += 1
                return
            group.run.observe(media_s, arrival_s, prompt=prompt)
            group.add(Frame(packet, pts, arrival_s, key, size, leading))
            group.bytes += size + PACKET_OVERHEAD
            self._bytes += size + PACKET_OVERHEAD
            self._trim(arrival_s)

    def append_sound(
        self,
        packet: Any,
        begins_s: float,
        end_s: float,
        arrival_s: float,
        *,
        size: int,
        paired: bool,
        prompt: bool = True,
    ) -> None:
        """Take in a packet of sound; without a group of pictures to lie beside it is left."""
        with self._lock:
            if not self._sound_run.continues(end_s, arrival_s):
                self._sound_run = Run()
            self._sound_run.observe(end_s, arrival_s, prompt=prompt)
            group = self._current
            if group is None:
                return
            group.sounds.append(Sound(packet, begins_s, end_s, size, self._sound_run, paired))
            group.bytes += size + PACKET_OVERHEAD
            self._bytes += size + PACKET_OVERHEAD
            self._trim(arrival_s)

    def report(self, pts: int, at_s: float) -> float | None:
        """The camera says that the frame of this time was at ``at_s``; returns how far that lies from what its arrivals say,
        ``None`` if nothing is open to compare it with."""
        with self._lock:
            group = self._current
            if group is None:
                return None
            media_s = pts * group.stream.tick_s
            group.run.report(media_s, at_s)
            return float(at_s - media_s - group.run.arrival_offset_at(media_s))

    def end_epoch(self) -> None:
        """The stream ended: nothing that comes later follows on its last group."""
        with self._lock:
            self._current = None
            self._sound_run = Run()

    def renumber(self, first_number: int) -> None:
        """Give what comes next numbers from here on, if they are higher: another ring's were shown meanwhile."""
        with self._lock:
            self._epoch, self._segment = max(self._epoch, first_number), max(self._segment, first_number)

    def _open(self, stream: Any, run: Run, media_s: float) -> Group:
        group = Group(
            stream,
            run,
            epoch=self._epoch,
            epoch_pts=self._epoch_pts,
            segment=self._segment,
            begins_media_s=media_s,
        )
        if self._groups:
            group.follow(self._groups[-1])
        self._groups.append(group)
        self._current = group
        return group

    def _trim(self, newest_s: float) -> None:
        groups, limits = self._groups, self.limits
        before = len(groups)
        while len(groups) > 1 and (
            newest_s - groups[1].frames[0].arrival_s > limits.seconds or self._bytes > limits.bytes
        ):
            self._drop()
        if (
            self._bytes > limits.bytes
        ):  # one group alone is too large: it is given up, and the next one waited for
            self.dropped += len(groups[0].frames)
            self._drop()
            self._current = None
        if len(groups) != before:
            self._bound_the_leaving()

    def _drop(self) -> None:
        group = self._groups.popleft()
        self._bytes -= group.bytes
        self._leaving.append(weakref.ref(group))

    def _bound_the_leaving(self) -> None:
        held = [group for ref in self._leaving if (group := ref()) is not None and group.frames]
        self._leaving = deque(weakref.ref(group) for group in held)
        spare = self.limits.bytes
        for group in reversed(held):
            spare -= group.bytes
            if spare < 0:
                group.frames.clear()
                group.sounds.clear()

    # ------------------------------------------------------------------ looking up

    def groups(self) -> list[Group]:
        """What the ring holds, oldest first; the last one still grows unless its epoch has ended."""
        with self._lock:
            return list(self._groups)

    def open_group(self) -> Group | None:
        """The group that still grows, if there is one."""
        with self._lock:
            return self._current

    def time_of(self, group: Group, frame: Frame) -> float:
        """When the frame was, on the monotonic clock."""
        with self._lock:
            return group.time_of(frame)

    def newest_s(self) -> float | None:
        """The time of the newest frame."""
        with self._lock:
            if not self._groups:
                return None
            return self._groups[-1].at(self._groups[-1].latest)

    def interval_s(self) -> float:
        """Time between frames, as it has been lately."""
        with self._lock:
            return self._groups[-1].run.interval_s if self._groups else 0.04

    def flow(self, now_s: float) -> Flow | None:
        """How its stream comes; ``None`` while there is no whole second of it since it began or was broken off."""
        with self._lock:
            group = self._current
            if group is None:
                return None
            bytes_per_s = _rate(group)
            if bytes_per_s is None:
                return None
            run = group.run
            if self._looked is None or self._looked[0] is not run or now_s - self._looked[1] >= FLOW_S:
                self._looked = (run, now_s, *run.quality())
            _, _, unsteady_s, skew = self._looked
            behind_s = now_s - group.at(group.latest)
            return Flow(behind_s, run.interval_s, bytes_per_s, run.reorder_s, unsteady_s, skew)

    def reaches(self, at_s: float) -> bool:
        """Whether a frame later than this instant is there and all before it, so that the nearest one to it is known."""
        with self._lock:
            if not self._groups:
                return False
            last = self._groups[-1]
            if last is not self._current:  # nothing comes after it
                return last.at(last.latest) > at_s
            return last.run.complete_media_s() + last.offset_s() > at_s

    def patience_s(self) -> float:
        """How long after its instant a frame may come, by the camera's own doing: frames apart, and frames held back. One frame
        more than that, since a picture is whole only when the next one begins."""
        with self._lock:
            if not self._groups:
                return 3.5 * 0.04
            run = self._groups[-1].run
            reorder_s = min(run.reorder_s, DEEPEST * run.interval_s)
            return 3.5 * run.interval_s + 2 * reorder_s + run.held_s()

    def nearest(self, at_s: float) -> Found | None:
        """The frame nearest to an instant; ``None`` if the ring is empty."""
        with self._lock:
            best: Found | None = None
            for group in self._groups:
                # Every frame is looked at: a camera may count its time back within a group. A second of video costs some 10 µs.
                offset = group.offset_s()
                tick_s = group.stream.tick_s
                outside_s = max(
                    group.earliest * tick_s + offset - at_s, at_s - group.latest * tick_s - offset, 0.0
                )
                if best is not None and outside_s > abs(best.time_s - at_s):
                    continue
                for frame in group.frames:
                    time_s = frame.pts * tick_s + offset
                    if best is None or abs(time_s - at_s) < abs(best.time_s - at_s):
                        best = Found(group, frame, time_s)
            return best

    def around(self, at_s: float, within_s: float) -> list[tuple[int, Found]]:
        """All frames so near to an instant, each with its place in its group: how many are decoded before it."""
        with self._lock:
            found: list[tuple[int, Found]] = []
            for group in self._groups:
                if group.at(group.earliest) > at_s + within_s or group.at(group.latest) < at_s - within_s:
                    continue
                offset, tick_s = group.offset_s(), group.stream.tick_s
                for place, frame in enumerate(group.frames):
                    time_s = frame.pts * tick_s + offset
                    if abs(time_s - at_s) <= within_s:
                        found.append((place, Found(group, frame, time_s)))
            return found

    def covering(self, start_s: float) -> Group | None:
        """The last group that begins at or before an instant, else the oldest there is; ``None`` if empty."""
        with self._lock:
            chosen: Group | None = None
            for group in self._groups:
                if chosen is not None and group.time_of(group.frames[0]) > start_s:
                    break
                chosen = group
            return chosen

    def held(self) -> tuple[float, int]:
        """``(seconds, bytes)`` in the ring now."""
        with self._lock:
            if not self._groups:
                return (0.0, 0)
            seconds = self._groups[-1].frames[-1].arrival_s - self._groups[0].frames[0].arrival_s
            return (seconds, self._bytes)

    def key_frames_apart_s(self) -> float | None:
        """Time between the last two key frames of one epoch; ``None`` while there are no two."""
        with self._lock:
            if len(self._groups) < 2 or self._groups[-1].epoch != self._groups[-2].epoch:
                return None
            last, before = self._groups[-1], self._groups[-2]
            return float((last.frames[0].pts - before.frames[0].pts) * last.stream.tick_s)

    def quality(self) -> tuple[float, float]:
        """``(error_s, skew)`` of the newest frames' times, as :meth:`Run.quality` has it."""
        with self._lock:
            return self._groups[-1].run.quality() if self._groups else (0.0, 0.0)


def _rate(newest: Group) -> float | None:
    """Bytes a second of what came last, which may be much more than before: of this epoch alone, or what lies before an outage
    would make the stream look slower than it is. ``None`` if all that is less than a second."""
    newest_s, size = newest.frames[-1].arrival_s, 0
    group: Group | None = newest
    while group is not None:
        for frame in reversed(group.frames):
            if newest_s - frame.arrival_s >= FLOW_S:
                return size / FLOW_S
            size += frame.size + PACKET_OVERHEAD
        group = group.before
    return None

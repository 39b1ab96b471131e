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
from drivers.cameras.timing import Run

PACKET_OVERHEAD = 600
"""Bytes a packet costs beside its data: two Python objects and the library's buffer heads (measured)."""

SEGMENT_S = 0.98
"""Shortest live segment; shorter groups are joined until they last as long (a player asks for each one over HTTP)."""

WIDEST_GAP_S = 5.0
"""A frame further than this from the instant asked for is no picture of it. Equals the watchdog's limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One coded picture. ``pts`` is in units of the stream's ``tick_s``; ``arrival_s`` is when its first byte came."""

    packet: Any
    pts: int
    arrival_s: float
    key: bool
    size: int


class Group:
    """A key frame and all that follows up to the next one. ``stream`` describes what all its frames share.

    ``frames`` only grows, until the group has left the ring and the memory is wanted back: then it is emptied.
    """

    __slots__ = (
        "__weakref__",
        "after",
        "begins_media_s",
        "bytes",
        "epoch",
        "epoch_pts",
        "frames",
        "run",
        "segment",
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
        self.bytes = 0
        self.after: Group | None = None

    def offset_s(self) -> float:
        """From this group's media time to the monotonic clock; one for the whole group, so that it keeps its rhythm."""
        return self.run.offset_at(self.begins_media_s)

    def time_of(self, frame: Frame) -> float:
        """When the frame was, on the monotonic clock."""
        return float(frame.pts * self.stream.tick_s + self.offset_s())


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A frame of the ring: the ``index``-th of its group, and when it was."""

    group: Group
    index: int
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

    # ------------------------------------------------------------------ filling

    def append(self, stream: Any, packet: Any, pts: int, arrival_s: float, *, key: bool, size: int) -> None:
        """Take in the next packet of the stream. What cannot be decoded (no key frame yet) is counted and left.

        ``stream`` is any object with ``tick_s``; another object than before opens a new epoch, as does a jump
        of the timestamps.
        """
        media_s = pts * stream.tick_s
        with self._lock:
            group = self._current
            if group is None or group.stream is not stream or not group.run.continues(media_s, arrival_s):
                self._current = None
                if not key:
                    self.dropped += 1
                    return
                self._epoch += 1
                self._epoch_pts = pts
                self._segment += 1
                self._segment_from = media_s
                group = self._open(stream, Run(), media_s)
            elif key:
                if media_s - self._segment_from >= SEGMENT_S:
                    self._segment += 1
                    self._segment_from = media_s
                group = self._open(stream, group.run, media_s)
            group.run.observe(media_s, arrival_s)
            group.frames.append(Frame(packet, pts, arrival_s, key, size))
            group.bytes += size + PACKET_OVERHEAD
            self._bytes += size + PACKET_OVERHEAD
            self._trim(arrival_s)

    def complete_last(self, packet: Any, size: int) -> None:
        """Put a packet in place of the newest one, of which it is the whole: its end came apart from its beginning."""
        with self._lock:
            group = self._current
            if group is None:
                return
            part = group.frames[-1]
            group.frames[-1] = Frame(packet, part.pts, part.arrival_s, part.key, size)
            group.bytes += size - part.size
            self._bytes += size - part.size
            self._trim(part.arrival_s)

    def end_epoch(self) -> None:
        """The stream ended: nothing that comes later follows on its last group."""
        with self._lock:
            self._current = None

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
            self._groups[-1].after = group
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
            return self._groups[-1].time_of(self._groups[-1].frames[-1])

    def interval_s(self) -> float:
        """Time between frames, as it has been lately."""
        with self._lock:
            return self._groups[-1].run.interval_s if self._groups else 0.04

    def reaches(self, at_s: float) -> bool:
        """Whether a frame later than this instant is there, so that the nearest one to it is known."""
        newest = self.newest_s()
        return newest is not None and newest > at_s

    def nearest(self, at_s: float) -> Found | None:
        """The frame nearest to an instant; ``None`` if the ring is empty."""
        with self._lock:
            best: Found | None = None
            for group in self._groups:
                # Every frame is looked at: a camera may count its time back within a group. A second of video costs some 10 µs.
                offset = group.offset_s()
                for index, frame in enumerate(group.frames):
                    time_s = frame.pts * group.stream.tick_s + offset
                    if best is None or abs(time_s - at_s) < abs(best.time_s - at_s):
                        best = Found(group, index, time_s)
            return best

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

    def quality(self) -> tuple[float, float]:
        """``(error_s, skew)`` of the newest frames' times, as :meth:`Run.quality` has it."""
        with self._lock:
            return self._groups[-1].run.quality() if self._groups else (0.0, 0.0)

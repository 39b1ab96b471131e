"""From a camera's timestamps to the gateway's clock, without believing the camera's own clock.

A frame's timestamp (*media time*) says exactly how frames lie to each other and nothing of when they were; its arrival says
when, but late by an unknown delay. Delay only ever adds. So over a window the smallest ``arrival - media`` is the
best statement of the offset between both clocks, and ``media + offset`` is when a frame was, free of jitter, stalls
and the burst of old frames that many cameras send on connecting.

All times here are seconds of the monotonic clock; :class:`HouseClock` takes them to the wall and back.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from statistics import median

WINDOW_S = 15.0
"""Media time on either side of a frame whose arrivals speak for it. Quartz is within 100 ppm: 1.5 ms over it."""

KEPT_S = 600
"""Media seconds of which a run remembers the minima; above any ring the site file allows."""

STEP_S = 0.25
"""A timestamp this far ahead of its arrival, in one step, was moved and not merely carried late."""

SKEW_FLOOR = 300e-6
"""Below this rate error the window is too short to tell skew from jitter, and it would not matter."""

SKEW_SPAN_S = 8.0
"""Shortest span from which a rate error is believed."""


class _Second:
    """What arrived for one second of media time: the least delayed frame of it, and how steadily it came."""

    __slots__ = ("at", "least", "seen", "steady", "typical")

    def __init__(self, at: float, least: float) -> None:
        self.at = at
        self.least = least
        self.typical = least
        self.seen = 0
        self.steady = 0


class Run:
    """One stretch of a stream whose timestamps run on without a jump. Not thread-safe: the ring's lock guards it."""

    def __init__(self) -> None:
        self._seconds: deque[_Second] = deque()
        self._keys: deque[int] = deque()
        self._last: tuple[float, float] | None = None
        self._offsets: dict[float, float] = {}  # what was worked out since the envelope last changed
        self.interval_s = 0.04

    def continues(self, media_s: float, arrival_s: float) -> bool:
        """Whether this timestamp can follow the last one, or whether the camera has moved its own time."""
        if self._last is None:
            return True
        step, passed = media_s - self._last[0], arrival_s - self._last[1]
        if step < -STEP_S:
            return False
        return step <= 3 * self.interval_s or step - passed <= STEP_S

    def observe(self, media_s: float, arrival_s: float) -> None:
        """Take note of one frame. It must :meth:`continues` the last one."""
        steady = False
        if self._last is not None:
            step, passed = media_s - self._last[0], arrival_s - self._last[1]
            if 0 < step < 2:
                self.interval_s += (step - self.interval_s) / 16
            # A frame that follows the one before faster than it was made is catching up: its arrival tells nothing
            # of the rate of the camera's clock.
            steady = passed >= 0.5 * step
        self._last = (media_s, arrival_s)
        key, delay = int(media_s // 1), arrival_s - media_s
        if not self._keys or key > self._keys[-1]:
            self._offsets.clear()
            self._keys.append(key)
            self._seconds.append(_Second(media_s, delay))
            while len(self._keys) > KEPT_S:
                self._keys.popleft()
                self._seconds.popleft()
        second = self._seconds[-1]
        if delay < second.least:
            second.least, second.at = delay, media_s
            self._offsets.clear()
        second.seen += 1
        second.steady += steady
        second.typical += (delay - second.typical) / second.seen

    def offset_at(self, media_s: float) -> float:
        """What to add to ``media_s``: the lower envelope of the delays around it. 0 before the first frame."""
        known = self._offsets.get(media_s)
        if known is None:
            window = self._window(media_s)
            skew = self._skew(window)
            known = min((second.least - skew * (second.at - media_s) for second in window), default=0.0)
            self._offsets[media_s] = known
        return known

    def quality(self) -> tuple[float, float]:
        """``(error_s, skew)`` now: how far arrivals typically lie above the envelope, which bounds what is not known of
        the newest frames' times, and the rate error of the camera's timestamps (0.001 = 1 ms a second)."""
        if self._last is None:
            return (0.0, 0.0)
        window = self._window(self._last[0])
        skew = self._skew(window)
        offset = self.offset_at(self._last[0])
        above = [s.typical - skew * (s.at - self._last[0]) - offset for s in window]
        return (max(0.0, median(above)), skew)

    def _window(self, media_s: float) -> list[_Second]:
        keys = self._keys
        low = bisect_left(keys, int((media_s - WINDOW_S) // 1))
        high = bisect_right(keys, int((media_s + WINDOW_S) // 1))
        if low >= high and keys:  # a frame older than what is remembered: the nearest there is
            low, high = (0, 1) if media_s < keys[0] else (len(keys) - 1, len(keys))
        return [self._seconds[i] for i in range(low, high)]

    @staticmethod
    def _skew(window: list[_Second]) -> float:
        steady = [s for s in window if 2 * s.steady >= s.seen]
        if len(steady) < SKEW_SPAN_S or steady[-1].at - steady[0].at < SKEW_SPAN_S:
            return 0.0
        half = len(steady) // 2
        slopes = [
            (later.least - early.least) / (later.at - early.at)
            for early, later in zip(steady, steady[half:], strict=False)
        ]
        skew = median(slopes)
        return skew if abs(skew) > SKEW_FLOOR else 0.0


class HouseClock:
    """The gateway's wall clock as a history, so that an instant named before the clock was set is still found.

    The wall reading is kept as offsets to the monotonic clock, one for each time it changed; an instant is looked up
    under the offset that held then.
    """

    TOLERANCE_S = 0.002

    def __init__(self, monotonic_s: float, wall_s: float, *, kept_s: float = 900.0) -> None:
        self._kept_s = kept_s
        self._since: deque[tuple[float, float]] = deque([(monotonic_s, wall_s - monotonic_s)])

    def observe(self, monotonic_s: float, wall_s: float) -> None:
        """Compare both clocks; to be called about once a second."""
        offset = wall_s - monotonic_s
        if abs(offset - self._since[-1][1]) > self.TOLERANCE_S:
            self._since.append((monotonic_s, offset))
        while len(self._since) > 1 and self._since[1][0] < monotonic_s - self._kept_s:
            self._since.popleft()

    def to_wall(self, monotonic_s: float) -> float:
        """Unix seconds as the gateway's clock showed (or would show) at that moment."""
        offset = self._since[0][1]
        for since, known in self._since:
            if since > monotonic_s:
                break
            offset = known
        return monotonic_s + offset

    def to_monotonic(self, wall_s: float) -> float:
        """The moment at which the gateway's clock showed ``wall_s``; the latest one where it showed it twice."""
        until = float("inf")
        for since, offset in reversed(self._since):
            moment = wall_s - offset
            if since <= moment:
                return min(moment, until)
            until = since
        return wall_s - self._since[0][1]

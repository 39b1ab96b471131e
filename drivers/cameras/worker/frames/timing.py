"""From a camera's timestamps to the gateway's clock, without believing the camera's own clock.

A frame's timestamp (*media time*) says exactly how frames lie to each other and nothing of when they were; its arrival says
when, but late by an unknown delay. Delay only ever adds. So over a window the smallest ``arrival - media`` is the
best statement of the offset between both clocks, and ``media + offset`` is when a frame was, free of jitter, stalls
and the burst of old frames that many cameras send on connecting.

A frame that lay in the gateway's own socket while its thread rested (``pacing.py``) came late by our doing, not by the camera's:
it is not *prompt*, and only says that it was no later.

All times here are seconds of the monotonic clock; :class:`HouseClock` takes them to the wall and back.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from math import sqrt
from statistics import median
from typing import NamedTuple

from drivers.cameras.worker.frames.pacing import LONGEST_S

WINDOW_S = 15.0
"""Media time on either side of a frame whose arrivals speak for it. Quartz is within 100 ppm: 1.5 ms over it."""

KEPT_S = 600
"""Media seconds of which a run remembers the minima; above any ring the site file allows."""

STEP_S = 0.25
"""A timestamp this far ahead of its arrival, in one step, was moved and not merely carried late."""

SKEW_FLOOR = 300e-6
"""Below this rate error the window is too short to tell skew from jitter, and it would not matter."""

SKEW_SURE = 8.0
"""How many times what chance may make of it a rate error must be to be believed where pictures lay in the socket: some 4 standard
errors of a median."""

SKEW_PLAIN = 0.01
"""A rate error no chance makes: where a rate changes at once the slopes differ widely, and it is to be followed all the same."""

SKEW_SPAN_S = 8.0
"""Shortest span from which a rate error is believed."""

DEEPEST = 16
"""Frames that may come between one that is shown later and one that is shown earlier: the limit of both H.264 and H.265."""

HELD_FRAMES = 8
"""What an encoder that sends B-frames may hold back beyond what their order makes it: its look-ahead. Reports that say more are
not believed."""

FIRST_FRAMES = 8
FIRST_STEP_S = 1.0
"""While the time between frames is not known yet, what may lie between two: five B-frames' time at 5 frames a second."""

DEPTH_FRAMES = 128
"""Frames over which the depth of reordering is looked at; it is forgotten after twice as many."""


class Arrival(NamedTuple):
    """When a frame's first byte came; if not ``prompt``, when it was found, having lain there while nobody read. ``camera_us`` is
    when the frame was by the camera's own clock, in µs since 1970, if that was told and looked at."""

    at_s: float
    prompt: bool
    camera_us: int | None = None


class _Second:
    """What arrived for one second of media time: the least delayed frame of it, and how steadily its prompt ones came."""

    __slots__ = ("at", "least", "rested", "seen", "steady", "typical")

    def __init__(self, at: float, least: float) -> None:
        self.at = at
        self.least = least
        self.typical = least
        self.seen = 0
        self.steady = 0
        self.rested = False  # some of it was not prompt


class Run:
    """One stretch of a stream whose timestamps run on without a jump. Not thread-safe: the ring's lock guards it.

    Frames come in the order of decoding. With B-frames the ones that lead (the *front*) are sent as soon as they were made, and
    those between are held back by the camera: so the front alone tells how steadily frames come, while the smallest delay over
    all is that of the front by itself. How long such an encoder holds back the front too, no arrival tells: there, and within
    what an encoder can hold, the camera's own reports are followed.
    """

    def __init__(self) -> None:
        self._seconds: deque[_Second] = deque()
        self._keys: deque[int] = deque()
        self._front: tuple[float, float, bool] | None = None  # media time, arrival, prompt
        self._prompt: tuple[float, float] | None = None  # the same of the last front that was prompt
        self._since_front = 0
        self._seen = 0
        self._fronts = 0
        self._latest: list[float] = []  # media times of the last frames, sorted
        self._depths = (0, 0)  # frames held back at most: of the stretch before, and of this one
        self._offsets: dict[float, float] = {}  # what was worked out since the envelope last changed
        self._reported: float | None = None  # the offset as the camera's reports have it
        self.interval_s = 0.04
        self.reorder_s = 0.0

    def continues(self, media_s: float, arrival_s: float) -> bool:
        """Whether this timestamp can follow the last ones, or whether the camera has moved its own time."""
        if self._front is None:
            return True
        first = self._seen < FIRST_FRAMES
        step, passed = media_s - self._front[0], arrival_s - self._front[1]
        if step <= 0:
            back_s = FIRST_STEP_S if first else max(STEP_S, 5 * self.interval_s)
            return step >= -back_s and self._since_front < DEEPEST
        if step <= 3 * self.interval_s * (self._since_front + 1):
            return True
        late_s = 0.0 if self._front[2] else LONGEST_S
        return step - passed <= (FIRST_STEP_S if first else STEP_S + late_s)

    def observe(self, media_s: float, arrival_s: float, *, prompt: bool = True) -> None:
        """Take note of one frame. It must :meth:`continues` the last one."""
        leads = self._front is None or media_s > self._front[0]
        steady = False
        if self._front is not None and leads:
            each = (media_s - self._front[0]) / (self._since_front + 1)
            if 0 < each < 2:
                self._fronts += 1
                self.interval_s += (each - self.interval_s) / min(16, self._fronts)
        if self._prompt is not None and leads:
            # A frame that follows the one before faster than it was made is catching up: its arrival tells nothing
            # of the rate of the camera's clock.
            steady = arrival_s - self._prompt[1] >= 0.5 * (media_s - self._prompt[0])
        self._note_order(media_s, leads)
        if leads:
            self._front, self._since_front = (media_s, arrival_s, prompt), 0
        else:
            self._since_front += 1
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
        second.rested = second.rested or not prompt
        if leads and prompt:
            self._prompt = (media_s, arrival_s)
            second.seen += 1
            second.steady += steady
            second.typical += (delay - second.typical) / second.seen

    def _note_order(self, media_s: float, leads: bool) -> None:
        self._seen += 1
        if self._seen % DEPTH_FRAMES == 0:
            self._depths = (self._depths[1], 0)
        if not leads and self._front is not None:
            depth = len(self._latest) - bisect_right(self._latest, media_s)
            self._depths = (self._depths[0], max(self._depths[1], depth))
            self.reorder_s = max(self.reorder_s, self._front[0] - media_s)
        insort(self._latest, media_s)
        del self._latest[: -DEEPEST - 1]

    def report(self, media_s: float, at_s: float) -> None:
        """The camera says that this media time was at ``at_s``, by its own clock taken for ours."""
        self._reported = at_s - media_s
        self._offsets.clear()

    def held_s(self) -> float:
        """By how much frames are set back from what their arrivals say, because the camera's reports say that it holds them."""
        if self._front is None:
            return 0.0
        return self.arrival_offset_at(self._front[0]) - self.offset_at(self._front[0])

    def complete_media_s(self) -> float:
        """Media time up to which every frame has come, as far as the order of the last ones tells."""
        depth = max(self._depths)
        return self._latest[-1 - depth] if len(self._latest) > depth else float("-inf")

    def offset_at(self, media_s: float) -> float:
        """What to add to ``media_s``: the lower envelope of the delays around it. 0 before the first frame."""
        known = self._offsets.get(media_s)
        if known is None:
            known = self.arrival_offset_at(media_s)
            most_s = self.reorder_s + HELD_FRAMES * self.interval_s
            if (
                self.reorder_s > 0
                and self._reported is not None
                and 0 < known - self._reported <= most_s
                and not self._skew(self._window(media_s))  # a clock that runs wrong is no witness
            ):
                known = self._reported
            self._offsets[media_s] = known
        return known

    def arrival_offset_at(self, media_s: float) -> float:
        """The same by arrivals alone."""
        window = self._window(media_s)
        return _envelope(window, self._skew(window), media_s)

    def quality(self) -> tuple[float, float]:
        """``(error_s, skew)`` now: how far arrivals typically lie above the envelope, which bounds what is not known of
        the newest frames' times, and the rate error of the camera's timestamps (0.001 = 1 ms a second)."""
        if self._front is None:
            return (0.0, 0.0)
        newest = self._front[0]
        window = self._window(newest)
        skew = self._skew(window)
        offset = _envelope(window, skew, newest)
        above = [s.typical - skew * (s.at - newest) - offset for s in window]
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
        steady = [s for s in window if s.seen and 2 * s.steady >= s.seen]
        if len(steady) < SKEW_SPAN_S or steady[-1].at - steady[0].at < SKEW_SPAN_S:
            return 0.0
        half = len(steady) // 2
        slopes = [
            (later.least - early.least) / (later.at - early.at)
            for early, later in zip(steady, steady[half:], strict=False)
        ]
        skew = median(slopes)
        least = SKEW_FLOOR
        if any(
            second.rested for second in steady
        ):  # of few prompt frames a second the least delay is a matter of chance
            chance = median(abs(slope - skew) for slope in slopes) / sqrt(len(slopes))
            least = max(least, min(SKEW_SURE * chance, SKEW_PLAIN))
        return skew if abs(skew) > least else 0.0


def _envelope(window: list[_Second], skew: float, media_s: float) -> float:
    return min((second.least - skew * (second.at - media_s) for second in window), default=0.0)


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

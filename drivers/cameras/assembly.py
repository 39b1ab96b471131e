"""From what the demuxer gives out to whole frames with their times, in the order of decoding. For one session.

Servers tell the time of their first frames only afterwards, and some streams repeat their parameter sets before each slice of a
picture, so that the parser takes each slice for a picture of its own.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av.packet import Packet

from drivers.cameras.timing import Arrival

MOST_EARLY = 100
REORDERED_LOOK = 8
"""Frames after the first one with a time that are waited for where frames come out of order: the earliest of them tells."""

Dated = tuple[Any, int, Arrival]
"""A packet, its time in ticks of the stream, and when its first byte came."""


class Assembly:
    """``take`` every packet; it answers with those that are whole by now. ``reorders`` says that the stream may have B-frames."""

    def __init__(self, time_base: Fraction, *, reorders: bool) -> None:
        self._time_base = time_base
        self._reorders = reorders
        self._early: list[tuple[Any, Arrival]] = []
        self._after_early: list[Dated] = []
        self._kept: Dated | None = None
        self._last_pts: int | None = None
        self._in_pieces = False

    def take(self, packet: Any, came: Arrival) -> tuple[list[Dated], Any | None]:
        """``(frames, rest)``: ``rest`` belongs to the frame given out last, seen for the first time to have come in pieces."""
        if packet.pts is None:
            self._early = [*self._early[1 - MOST_EARLY :], (packet, came)]
            return [], None
        arrived = [(packet, packet.pts, came)]
        if self._early:
            self._after_early += arrived
            if self._reorders and len(self._after_early) < REORDERED_LOOK:
                return [], None
            arrived, self._after_early = self._after_early, []
            arrived = [*_dated(self._early, arrived, self._time_base), *arrived]
            self._early = []
        whole: list[Dated] = []
        rest = None
        for each in arrived:
            pts = each[1]
            if self._kept is not None and pts == self._kept[1]:
                self._kept = (joined(self._kept[0], each[0]), pts, self._kept[2])
            elif self._kept is None and pts == self._last_pts:
                self._in_pieces = True
                if whole:
                    whole[-1] = (joined(whole[-1][0], each[0]), pts, whole[-1][2])
                else:
                    rest = each[0] if rest is None else joined(rest, each[0])
            else:
                if self._kept is not None:
                    whole.append(self._kept)
                    self._kept = None
                if self._in_pieces:  # what else belongs to this picture is known when the next one has begun
                    self._kept = each
                else:
                    whole.append(each)
                self._last_pts = pts
        return whole, rest


def _dated(early: list[tuple[Any, Arrival]], after: list[Dated], time_base: Fraction) -> list[Dated]:
    """Give packets that came without a time the times before the earliest of those that have one."""
    first = min(after, key=lambda each: each[1])[0]
    step = first.duration or round(Fraction(1, 25) / time_base)
    dated: list[Dated] = []
    pts, following = first.pts, after[0][0]
    for packet, came in reversed(early):
        if not (packet.is_keyframe and following.is_keyframe):  # two key frames in a row are one in pieces
            pts -= step
        dated.insert(0, (packet, pts, came))
        following = packet
    return dated


def joined(first: Any, second: Any) -> Any:
    """One packet of two pieces of a picture."""
    data = bytes(first) + bytes(second)
    whole: Any = Packet(len(data))
    whole.update(data)
    whole.is_keyframe = first.is_keyframe
    return whole

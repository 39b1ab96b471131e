"""Live picture: fragmented MP4 for HLS out of the ring, made when asked for and not before.

A segment is one or more whole groups of pictures; its number was given when they came in, so the same name is the same
bytes for everybody, and what is kept between two requests is kept for speed alone. Only whole groups are shown: the
delay is one group and what the player adds.
"""

from __future__ import annotations

import io
import re
import struct
from collections import OrderedDict
from dataclasses import dataclass
from itertools import groupby

from drivers.cameras.worker.bounds import LARGEST_PART
from drivers.cameras.worker.frames.group import Group
from drivers.cameras.worker.frames.mp4 import TICKS, Mp4, VideoFormat
from drivers.cameras.worker.frames.order import decode_times, lag_of
from drivers.cameras.worker.stream.ring import Ring
from gateway.domain.boxes import find
from gateway.domain.errors import Unavailable

PLAYABLE = "h264"
"""What browsers play."""

LISTED = 6
"""Segments in a playlist: a player starts three before the end and may lag as much again."""

NAME = re.compile(
    r"(?:init-(?P<init>\d{1,19})\.mp4|(?P<epoch>\d{1,19})-(?P<segment>\d{1,19})\.m4s)", re.ASCII
)

MUXER = {
    "movflags": "empty_moov+default_base_moof+frag_custom+skip_trailer",
    "video_track_timescale": str(TICKS),
}


LEAD_TICKS = 2 * TICKS
"""Where an epoch begins on its own time: with B-frames its first frame is decoded before it is shown, and no time is negative."""

KEPT_BYTES = 8 << 20
"""Parts kept for the next viewer: the newest segment of each of 16 cameras at 4 Mbit/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One whole segment: ``begins_s`` on the monotonic clock."""

    number: int
    duration_s: float
    begins_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Playlist:
    """The newest segments of the present epoch."""

    codec: str
    epoch: int
    segments: list[Segment]


class Parts:
    """Makes parts, and keeps the last ones while somebody looks. For one thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def part(self, camera: str, ring: Ring, name: str) -> bytes:
        """See :func:`part`."""
        data = self._kept.pop((camera, name), None) or part(ring, name)
        self._kept[camera, name] = data
        while sum(len(kept) for kept in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return data

    def forget(self) -> None:
        """Nobody looks any more."""
        self._kept.clear()


def playlist(ring: Ring) -> Playlist | None:
    """What can be shown now; ``None`` while no group is whole, or only such as browsers do not play: of a camera that has just
    become H.264, whose earlier H.264 is too old to go back to."""
    whole = _whole_groups(ring)
    if not whole or whole[-1].stream.codec != PLAYABLE:
        return None
    epoch = whole[-1].epoch
    segments: list[Segment] = []
    for number, members in groupby((g for g in whole if g.epoch == epoch), key=lambda g: g.segment):
        groups = list(members)
        first_pts = groups[0].frames[0].pts
        segments.append(
            Segment(
                number=number,
                duration_s=(_end_pts(groups[-1]) - first_pts) * groups[0].stream.tick_s,
                begins_s=groups[0].at(first_pts),
            )
        )
    codec = whole[-1].stream.picture.codec
    return Playlist(codec=codec, epoch=epoch, segments=segments[-LISTED:])


def holds(ring: Ring, name: str) -> bool:
    """Whether this name may be of an epoch the ring holds and browsers play."""
    asked = NAME.fullmatch(name)
    return asked is not None and any(
        group.epoch == int(asked["init"] or asked["epoch"]) and group.stream.codec == PLAYABLE
        for group in ring.groups()
    )


def part(ring: Ring, name: str) -> bytes:
    """The bytes of ``init-<epoch>.mp4`` or ``<epoch>-<segment>.m4s``.

    Raises ``Unavailable`` for any other name and for what has left the ring.
    """
    asked = NAME.fullmatch(name)
    if asked is None:
        raise Unavailable(
            "no such part of a live picture; init-<epoch>.mp4 and <epoch>-<number>.m4s are there"
        )
    epoch = int(asked["init"] or asked["epoch"])
    groups = [group for group in _whole_groups(ring) if group.epoch == epoch]
    if asked["segment"] is not None:
        groups = [group for group in groups if group.segment == int(asked["segment"])]
    if not groups:
        raise Unavailable(f"{name} has left the ring, or is not in it yet")
    video: VideoFormat = groups[0].stream
    if video.codec != PLAYABLE:
        raise Unavailable(f"{name} is H.265, which browsers do not play")
    size = sum(group.bytes for group in groups)
    if asked["segment"] is not None and size > LARGEST_PART:
        raise Unavailable(
            f"{name} has {size >> 20} MB; at most {LARGEST_PART >> 20} are given out: set a lower bit rate"
        )
    sink = io.BytesIO()
    mp4 = Mp4(sink, video, MUXER)
    mp4.begin()
    header = sink.tell()
    if asked["segment"] is None:
        return sink.getvalue()
    frames = [frame for group in groups for frame in list(group.frames)]
    at = [_ticks(frame.pts, groups[0]) for frame in frames]
    lag = lag_of(at)
    decoded = decode_times(at, lag)
    begins, end = decoded[0], _ticks(_end_pts(groups[-1]), groups[0]) - lag
    for frame, pts, dts, next_dts in zip(frames, at, decoded, [*decoded[1:], end], strict=True):
        mp4.write(frame, pts - begins, max(1, next_dts - dts), dts=dts - begins)
    mp4.close()
    return _placed(sink.getvalue()[header:], number=groups[0].segment, begins=begins)


def _placed(fragment: bytes, *, number: int, begins: int) -> bytes:
    """The fragment with its number and its time in the stream: the muxer, which made no other, counts both from the start.

    ISO/IEC 14496-12 §8.8.5 (``mfhd``) and §8.8.12 (``tfdt``, whose version 1 has 64 bits of time).
    """
    data = bytearray(fragment)
    moof = find(data, None, b"moof")
    mfhd, tfdt = find(data, moof, b"mfhd"), find(data, moof, b"traf", b"tfdt")
    if moof is None or mfhd is None or tfdt is None:
        raise Unavailable("the muxer wrote a fragment without moof, mfhd or tfdt")
    if data[tfdt.content] != 1:
        raise Unavailable(
            f"the muxer wrote version {data[tfdt.content]} of a fragment's time; 1 was expected"
        )
    struct.pack_into(">I", data, mfhd.content + 4, number & 0xFFFFFFFF)
    struct.pack_into(">Q", data, tfdt.content + 4, begins)
    return bytes(data)


def _ticks(pts: int, group: Group) -> int:
    """Time since shortly before the epoch began, so that segments follow on each other whoever makes them, and when."""
    tick_s: float = group.stream.tick_s
    return LEAD_TICKS + round((pts - group.epoch_pts) * tick_s * TICKS)


def _whole_groups(ring: Ring) -> list[Group]:
    """Groups whose segment is over: another one has begun after them."""
    groups = ring.groups()
    return [group for group in groups if group.segment != groups[-1].segment and group.frames]


def _end_pts(group: Group) -> int:
    """Where the next group begins, or would have."""
    after = group.after
    if after is not None and after.epoch == group.epoch and after.frames:
        return after.frames[0].pts
    tick_s: float = group.stream.tick_s
    return group.latest + round(group.run.interval_s / tick_s)

"""From coded pictures to a JPEG: a group of pictures decoded once for all that is wanted of it.

JPEG is made by the media library's own encoder. Measured at 1080p against OpenCV's at quality 90: the same size and PSNR,
6 ms a picture slower, and 30 MB of memory and 0.7 s of importing cheaper.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.codec.context import Flags
from av.packet import Packet
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from drivers.cameras.worker.bounds import LARGE_PICTURE, Room, decoding_bytes, most_samples
from drivers.cameras.worker.frames.group import Frame, Group
from drivers.cameras.worker.frames.mp4 import VideoFormat
from gateway.domain.errors import Unavailable

ROOM = Room()
"""What decoding may take of this process, whoever decodes."""

QUANTISER = "2"
"""The JPEG encoder's finest useful step, about quality 90 in libjpeg's counting."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A decoded picture, and the frame it was."""

    frame: Frame
    picture: Any


def decode(group: Group, wanted: Collection[Frame], *, every_core: bool) -> dict[Frame, Shown]:
    """The pictures of these frames of a group; what cannot be decoded is replaced by its nearest neighbour.

    Decoding begins at the group's key frame, or at the one before where a frame refers to what came before it, and goes no
    further than the last frame wanted: whatever a frame refers to was sent before it. Raises ``Unavailable`` where that may take
    more memory than is given.
    """
    frames = list(group.frames)
    places = {frame: i for i, frame in enumerate(frames)}
    last = max((places[frame] for frame in wanted if frame in places), default=-1)
    if last < 0:
        raise Unavailable("the group of pictures has left the ring")
    frames = frames[: last + 1]
    before = group.before
    if before is not None and any(frame.leading for frame in wanted):
        frames = [*before.frames, *frames]
    video: VideoFormat = group.stream
    # One context a core holds a picture each: not of pictures so large.
    every_core = every_core and video.picture.samples <= LARGE_PICTURE
    shown = [frame.pts for frame in frames]
    reordered = group.run.reorder_s > 0 or shown != sorted(shown)
    needed = decoding_bytes(
        video.picture, reordered=reordered, threads=os.cpu_count() or 1 if every_core else 1
    )
    with ROOM.taken(needed, video):
        return _decoded(group, frames, wanted, every_core=every_core, reordered=reordered)


def _decoded(
    group: Group, frames: list[Frame], wanted: Collection[Frame], *, every_core: bool, reordered: bool
) -> dict[Frame, Shown]:
    video: VideoFormat = group.stream
    before = group.before
    formats = [video.picture, *([before.stream.picture] if before is not None else [])]
    decoder: Any = av.CodecContext.create(video.codec, "r")
    decoder.extradata = video.parameters
    decoder.thread_type = "AUTO" if every_core else "SLICE"
    decoder.thread_count = 0 if every_core else 1
    # A picture the parameter sets did not promise is refused before it is allocated.
    decoder.options = {"max_pixels": str(most_samples(*formats))}
    if not reordered and video.picture.samples > LARGE_PICTURE:
        decoder.flags |= Flags.low_delay
    known = {frame for frame in frames if frame in set(wanted)}
    by_pts = {frame.pts: frame for frame in frames}
    targets = {frame.pts: frame for frame in wanted if frame in known}
    nearest: dict[Frame, Shown] = {}
    for frame in [*frames, None]:
        packet = None
        if frame is not None:
            packet = _owned(frame)
            packet.pts, packet.dts = frame.pts, None
            packet.time_base = video.time_base
        try:
            decoded: list[Any] = decoder.decode(packet)
        except av.FFmpegError:
            continue  # one packet's trouble, a picture too large included
        for picture in decoded:
            shown = by_pts.get(picture.pts)
            if shown is None:
                continue
            for pts, target in targets.items():
                best = nearest.get(target)
                if best is None or abs(picture.pts - pts) < abs(best.frame.pts - pts):
                    nearest[target] = Shown(shown, picture)
    return nearest


def _owned(frame: Frame) -> Any:
    """A packet whose bytes belong to the media library. (The camera's own may have no time yet: some tell it only later.)

    One that refers to Python's bytes takes the interpreter's lock when it is let go. A decoder lets it go on a thread of its own,
    and the interpreter holds that lock while it waits for those threads to end: the whole process would stand still.
    """
    packet: Any = Packet(frame.packet.size)
    packet.update(bytes(frame.packet))
    return packet


def encode_jpeg(picture: Any) -> bytes:
    """One decoded picture as baseline JPEG, in JFIF's colours (full range, ITU-R BT.601) whatever the camera's were."""
    full = VideoReformatter().reformat(
        picture,
        format="yuvj420p",
        src_color_range=picture.color_range or ColorRange.MPEG,
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG,
    )
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = full.width, full.height
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"qmin": QUANTISER, "qmax": QUANTISER}
    full.pts = 0
    full.time_base = encoder.time_base
    full.pict_type = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(full), *encoder.encode(None)])

"""A moment of H.264 without a camera: packets as a session lays them into a ring."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np

from drivers.cameras.worker.frames.group import Group
from drivers.cameras.worker.frames.mp4 import CODECS, VideoFormat, read_format
from drivers.cameras.worker.stream.ring import Ring

FPS = 10
TICK = Fraction(1, 90_000)


def packets_of(seconds: int, codec: str = "h264", b_frames: int = 0) -> list[Any]:
    """So many seconds, a key frame each second; every picture is grey, and another grey than its neighbours. With B-frames (of
    H.264 only) they are in the order of decoding, and ``pts`` is each one's place in the order of showing."""
    encoder: Any = av.CodecContext.create({"h264": "libx264", "hevc": "libx265"}[codec], "w")
    encoder.width, encoder.height, encoder.pix_fmt = 64, 64, "yuv420p"
    encoder.time_base = Fraction(1, FPS)
    encoder.options = {"g": str(FPS), "bf": "0", "tune": "zerolatency", "keyint_min": str(FPS)}
    if b_frames:
        encoder.options = {"g": str(FPS), "bf": str(b_frames), "b_strategy": "0", "sc_threshold": "0"}
    if codec == "hevc":
        encoder.options["x265-params"] = f"log-level=none:repeat-headers=1:keyint={FPS}:min-keyint={FPS}"
    made: list[Any] = []
    for n in range(seconds * FPS):
        frame = av.VideoFrame.from_ndarray(np.full((96, 64), 10 * n % 250, np.uint8), format="yuv420p")
        frame.pts = n
        made += encoder.encode(frame)
    return [*made, *encoder.encode(None)]


def stream_of(packets: list[Any], session: int, codec: str = "h264") -> VideoFormat:
    """What a session says of these packets."""
    data = bytes(packets[0])
    return read_format(codec, CODECS[codec].parameter_sets(data), data, TICK, session)


def lay(ring: Ring, packets: list[Any], session: int, begins_s: float, codec: str = "h264") -> list[Group]:
    """Lay a session's packets into the ring; the first picture is of ``begins_s``. Returns its groups."""
    stream, known = stream_of(packets, session, codec), ring.groups()
    for n, packet in enumerate(packets):
        ring.append(
            stream,
            packet,
            n * 90_000 // FPS,
            begins_s + n / FPS,
            key=packet.is_keyframe,
            size=packet.size,
        )
    ring.end_epoch()
    return [group for group in ring.groups() if group not in known]

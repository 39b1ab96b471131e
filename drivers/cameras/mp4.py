"""Packets of a ring into MP4, unaltered: only their timestamps are moved.

Each packet is muxed through a fresh ``Packet`` that refers to the same bytes: the muxer rewrites the one it is given, and a
ring's packets belong to several readers at once.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import av
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from drivers.cameras.ring import Frame
from drivers.cameras.sps import Picture, picture_of
from gateway.domain.errors import Malformed

TICKS = 90_000
"""RTP's clock rate for video (RFC 6184 §8.2.1), kept in the files so that no time is rounded."""


class Sink(Protocol):
    """What a file is written to."""

    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class VideoFormat:
    """What all packets between two changes of the stream share.

    ``parameters`` are SPS and PPS as a byte stream. ``shelf`` is a stream of a container that is never written, holding the
    codec parameters: the camera's own container is gone by the time a clip is cut, and its streams with it.
    """

    picture: Picture
    parameters: bytes
    tick_s: float
    time_base: Fraction
    session: int
    shelf: Stream = field(repr=False)
    shelf_owner: OutputContainer = field(repr=False)

    def same_picture(self, other: VideoFormat) -> bool:
        """Whether a file of the one can go on with the other."""
        return self.parameters == other.parameters and self.picture == other.picture


def read_format(parameters: bytes, key_frame: bytes, time_base: Fraction, session: int) -> VideoFormat:
    """Describe a stream by its parameter sets and one key frame, independent of the container they came from.

    Raises ``Malformed`` where the parameter sets or the picture cannot be read.
    """
    picture = picture_of(parameters)
    owner = av.open(io.BytesIO(), "w", format="mp4")
    shelf = owner.add_mux_stream("h264", width=picture.width, height=picture.height)
    try:
        with av.open(io.BytesIO(parameters + key_frame), "r", format="h264") as probe:
            BitStreamFilterContext("null", in_stream=probe.streams.video[0], out_stream=shelf)
    except (av.FFmpegError, IndexError) as exc:
        raise Malformed(f"no picture can be read from a key frame of {len(key_frame)} bytes: {exc}") from exc
    return VideoFormat(
        picture=picture,
        parameters=parameters,
        tick_s=float(time_base),
        time_base=time_base,
        session=session,
        shelf=shelf,
        shelf_owner=owner,
    )


class Mp4:
    """An MP4 that is being written. ``options`` go to the muxer."""

    def __init__(self, sink: Sink, video: VideoFormat, options: dict[str, str]) -> None:
        self._out = av.open(sink, "w", format="mp4", options=options, buffer_size=1 << 18)
        self._stream: Any = self._out.add_mux_stream(
            "h264", width=video.picture.width, height=video.picture.height
        )
        BitStreamFilterContext("null", in_stream=video.shelf, out_stream=self._stream)
        self._stream.time_base = Fraction(1, TICKS)

    def begin(self) -> None:
        """Write the header now instead of with the first frame."""
        self._out.start_encoding()

    def write(self, frame: Frame, pts: int, duration: int) -> None:
        """Append one frame; ``pts`` and ``duration`` in ticks."""
        packet = Packet(frame.packet)
        packet.stream = self._stream
        packet.time_base = Fraction(1, TICKS)
        packet.pts = packet.dts = pts
        packet.duration = duration
        packet.is_keyframe = frame.key
        self._out.mux(packet)

    def close(self) -> None:
        """Write what is outstanding and the index."""
        self._out.close()

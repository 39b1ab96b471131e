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

from drivers.cameras.codec import hevc, sps
from drivers.cameras.codec.sps import Picture
from drivers.cameras.worker.bounds import most_samples
from drivers.cameras.worker.frames.group import Frame, Sound
from gateway.domain.boxes import Box, Bytes, OpenFile, boxes, sample_entry
from gateway.domain.errors import Malformed

TICKS = 90_000
"""RTP's clock rate for video (RFC 6184 §8.2.1), kept in the files so that no time is rounded."""

TICK = Fraction(1, TICKS)

CODECS = {"h264": sps, "hevc": hevc}
"""What can be read of each codec, under the media library's name for it."""

MARK = "campus-gateway: pictures as the camera sent them"
"""What files say of themselves since no byte of a picture is altered any more (:mod:`drivers.cameras.export.soundness`)."""

SPOKEN = {"h264": "H.264", "hevc": "H.265"}


class Sink(Protocol):
    """What a file is written to."""

    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class VideoFormat:
    """What all packets between two changes of the stream share. ``codec`` is ``h264`` or ``hevc``.

    ``parameters`` are the parameter sets as a byte stream. ``shelf`` is a stream of a container that is never written, holding
    the codec parameters: the camera's own container is gone by the time a clip is cut, and its streams with it.
    """

    codec: str
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

    def __str__(self) -> str:
        return f"{SPOKEN[self.codec]} {self.picture.width}x{self.picture.height}"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SoundFormat:
    """What all packets of a camera's sound share; AAC, of which ``header`` is the configuration. ``shelf`` as with pictures."""

    rate: int
    header: bytes
    shelf: Stream = field(repr=False)
    shelf_owner: OutputContainer = field(repr=False)


def read_format(codec: str, parameters: bytes, key_frame: bytes, tick: Fraction, session: int) -> VideoFormat:
    """Describe a stream by its parameter sets and one key frame, independent of the container they came from.

    Raises ``Malformed`` where the parameter sets or the picture cannot be read.
    """
    picture = CODECS[codec].picture_of(parameters)
    owner = av.open(io.BytesIO(), "w", format="mp4")
    shelf = owner.add_mux_stream(codec, width=picture.width, height=picture.height)
    try:
        options = {"max_pixels": str(most_samples(picture))}
        with av.open(io.BytesIO(parameters + key_frame), "r", format=codec, options=options) as probe:
            BitStreamFilterContext("null", in_stream=probe.streams.video[0], out_stream=shelf)
    except (av.FFmpegError, IndexError) as exc:
        raise Malformed(f"no picture can be read from a key frame of {len(key_frame)} bytes: {exc}") from exc
    return VideoFormat(
        codec=codec,
        picture=picture,
        parameters=parameters,
        tick_s=float(tick),
        time_base=tick,
        session=session,
        shelf=shelf,
        shelf_owner=owner,
    )


def read_sound(stream: Any) -> SoundFormat:
    """Describe a stream of AAC, independent of its container. Raises ``Malformed`` where it does not say what is needed."""
    header, rate = bytes(stream.codec_context.extradata or b""), stream.codec_context.sample_rate
    if not header or not rate:
        raise Malformed("the session description says nothing of the AAC's configuration")
    owner = av.open(io.BytesIO(), "w", format="mp4")
    shelf = owner.add_mux_stream("aac", rate=rate)
    try:
        BitStreamFilterContext("null", in_stream=stream, out_stream=shelf)
    except av.FFmpegError as exc:
        raise Malformed(f"the AAC's configuration cannot be read: {exc}") from exc
    return SoundFormat(rate=rate, header=header, shelf=shelf, shelf_owner=owner)


class Mp4:
    """An MP4 that is being written. ``options`` go to the muxer."""

    def __init__(
        self, sink: Sink, video: VideoFormat, options: dict[str, str], sound: SoundFormat | None = None
    ) -> None:
        self._out = av.open(sink, "w", format="mp4", options=options, buffer_size=1 << 18)
        self._out.metadata["comment"] = MARK
        self._stream: Any = self._out.add_mux_stream(
            video.codec, width=video.picture.width, height=video.picture.height
        )
        BitStreamFilterContext("null", in_stream=video.shelf, out_stream=self._stream)
        self._stream.time_base = TICK
        self._sound: Any = None
        if sound is not None:
            self._sound = self._out.add_mux_stream("aac", rate=sound.rate)
            BitStreamFilterContext("null", in_stream=sound.shelf, out_stream=self._sound)
            self._sound.time_base = Fraction(1, sound.rate)

    def begin(self) -> None:
        """Write the header now instead of with the first frame."""
        self._out.start_encoding()

    def write(self, frame: Frame, pts: int, duration: int, *, dts: int, sets: bytes = b"") -> None:
        """Append one frame; times and ``duration`` in ticks. ``sets`` are parameter sets to stand before it in the file."""
        packet = Packet(sets + bytes(frame.packet)) if sets else Packet(frame.packet)
        packet.stream = self._stream
        packet.time_base = TICK
        packet.pts, packet.dts = pts, dts
        packet.duration = duration
        packet.is_keyframe = frame.key
        self._out.mux(packet)

    def write_sound(self, sound: Sound, at: int, duration: int) -> None:
        """Append one packet of sound; times in its samples."""
        packet = Packet(sound.packet)
        packet.stream = self._sound
        packet.time_base = self._sound.time_base
        packet.pts = packet.dts = at
        packet.duration = duration
        self._out.mux(packet)

    def close(self) -> None:
        """Write what is outstanding and the index."""
        self._out.close()


def named_hvc1(head: bytes | bytearray) -> bytes | None:
    """The beginning of a file with its H.265 named ``hvc1``; ``None`` while its ``moov`` is not whole.

    Apple's players take no other name, and the muxer, told to write it, leaves parameter sets out of the pictures.
    """
    moov = next((box for box in boxes(head, partial=True) if box.kind == b"moov"), None)
    if moov is None or moov.end > len(head):
        return None
    named = bytearray(head)
    for place in _hev1_in(head, moov):
        named[place : place + 4] = b"hvc1"
    return bytes(named)


def name_hvc1(file: Any) -> None:
    """As :func:`named_hvc1`, in a file that is being written. The place of writing is left as it was."""
    place = file.tell()
    data = OpenFile(file)
    for moov in [box for box in boxes(data, partial=True) if box.kind == b"moov" and box.end <= len(data)]:
        for at in _hev1_in(data, moov):
            file.seek(at)
            file.write(b"hvc1")
    file.seek(place)


def _hev1_in(data: Bytes, moov: Box) -> list[int]:
    """Where the names of its tracks' sample entries stand that are ``hev1``."""
    entries = [
        sample_entry(data, trak) for trak in boxes(data, moov.content, moov.end) if trak.kind == b"trak"
    ]
    return [entry.begin + 4 for entry in entries if entry is not None and entry.kind == b"hev1"]

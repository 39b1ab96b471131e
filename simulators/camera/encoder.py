"""x264 and x265, set to what cameras do: no look-ahead to speak of, parameter sets before every key frame."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from simulators.camera.codecs import CODECS
from simulators.camera.h264 import split_annex_b
from simulators.camera.picture import Canvas, Image
from simulators.camera.rtp import CLOCK_HZ
from simulators.camera.settings import StreamSettings
from simulators.camera.surface import Surface

# The encoders' rate factor: the squares stay readable up to about 45; at 28 the clock takes some 0.2 Mbit/s.
_RATE_FACTOR = "28"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPicture:
    """One picture as the encoder gave it, in the order of decoding."""

    pts: int
    """The one it was handed over with."""
    key: bool
    nals: list[bytes]


class PictureEncoder:
    """Encodes luma planes; not to be used from two threads at once.

    The title decides the tint, so that cameras beside each other differ by eye.
    """

    def __init__(self, settings: StreamSettings, *, title: str) -> None:
        self._codec = CODECS[settings.codec]
        options = {"preset": "ultrafast", "crf": _RATE_FACTOR, "forced-idr": "1"}
        if not settings.b_frames:
            options["tune"] = "zerolatency"
        if settings.codec == "h264":
            options["profile"] = "main" if settings.b_frames else "baseline"
        self._context = opened(settings, options, time_base=Fraction(1, CLOCK_HZ))
        # x264's own threads would wake up for pictures that take it a millisecond.
        self._context.thread_count = 1
        tint = zlib.crc32(title.encode())
        self._surface = Surface(
            width=settings.width,
            height=settings.height,
            blue=116 + tint % 25,
            red=116 + tint // 25 % 25,
            time_base=Fraction(1, CLOCK_HZ),
        )

    def encode(self, luma: Image, *, pts: int, key: bool = False) -> list[EncodedPicture]:
        """Return the pictures that are ready: this one, or earlier ones if there are B-frames.

        `pts` counts 1/90000 s and grows; `key` demands a key frame.
        """
        np.copyto(self._surface.luma, luma)
        return self._pictures(self._context.encode(self._surface.at(pts, key=key)))

    def drain(self) -> list[EncodedPicture]:
        """Return what is still on its way; nothing can be encoded after that."""
        return self._pictures(self._context.encode(None))

    def _pictures(self, packets: list[av.Packet[Any]]) -> list[EncodedPicture]:
        pictures = []
        for packet in packets:
            # x264 advertises its version and options in an SEI of 600 bytes; a camera does not.
            nals = [nal for nal in split_annex_b(bytes(packet)) if not self._codec.is_sei(nal)]
            assert packet.pts is not None
            pictures.append(EncodedPicture(pts=packet.pts, key=self._codec.is_key(nals), nals=nals))
        return pictures


def opened(
    settings: StreamSettings, options: dict[str, str], *, time_base: Fraction, parameters: str = ""
) -> av.VideoCodecContext:
    """Return the encoder with its groups and B-frames set; `parameters` are the library's own, behind these."""
    context = av.CodecContext.create(CODECS[settings.codec].encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = settings.width, settings.height, "yuv420p"
    context.time_base, context.framerate = time_base, Fraction(settings.fps, 1)
    groups = (
        f"keyint={settings.gop}:min-keyint={settings.gop}:scenecut=0:repeat-headers=1:open-gop=0:"
        f"bframes={settings.b_frames}:b-adapt=0"
    )
    if settings.codec == "h265":
        # One thread, no advertising SEI, and for so plain a picture half the work by small blocks and little search.
        name, own = (
            "x265-params",
            "pools=none:frame-threads=1:log-level=error:info=0:ctu=16:me=dia:subme=0:max-merge=1:rd=1:aq-mode=0",
        )
        if settings.b_frames:
            # x265 wants to look ahead further than it has B-frames.
            own += f":rc-lookahead={settings.b_frames + 1}"
    else:
        name, own = "x264-params", "b-pyramid=none:rc-lookahead=0:sync-lookahead=0:sliced-threads=0"
    context.options = {**options, name: ":".join(filter(None, (groups, own, parameters)))}
    return context


def first_key_frame(settings: StreamSettings) -> list[bytes]:
    """Return a key frame as the encoder would make it, for its parameter sets."""
    encoder = PictureEncoder(settings, title="")
    canvas = Canvas(width=settings.width, height=settings.height)
    first = encoder.encode(canvas.draw(unix_ms=0, frame=0), pts=0, key=True)
    return (first or encoder.drain())[0].nals

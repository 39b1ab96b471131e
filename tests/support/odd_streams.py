"""Streams as strangers' cameras send them: messages, delimiters and parameter sets in every place, slices, fields, filling.

A stream is a list of pictures, each a list of NAL units in the order they are sent under one time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import av
import numpy as np

from simulators.camera.codecs import CODECS
from simulators.camera.encoded import EncodedStream
from simulators.camera.settings import StreamSettings
from tests.support import h264_fields

FPS = 12
GOP = 12
Pictures = list[list[bytes]]

FILLER = b"\x0c" + b"\xff" * 40 + b"\x80"
END_OF_SEQUENCE, END_OF_STREAM = b"\x0a", b"\x0b"
DELIMITER = b"\x09\xf0"
FILLER_265 = b"\x4c\x01" + b"\xff" * 40 + b"\x80"
DELIMITER_265 = b"\x46\x01\x50"


def message(text: bytes) -> bytes:
    """An SEI unit with words of the camera's own (user_data_unregistered)."""
    return b"\x06\x05" + bytes((16 + len(text),)) + b"campus-odd-words" + text + b"\x80"


def message_265(text: bytes, *, suffix: bool = False) -> bytes:
    """The same in H.265, before the slices or behind them."""
    header = b"\x50\x01" if suffix else b"\x4e\x01"
    return header + message(text)[1:]


@cache
def encoded(
    codec: str, parameters: str, *, width: int = 320, height: int = 180, pictures: int = 36
) -> Pictures:
    """What x264 or x265 makes of a moving picture with these parameters, its access units as it made them."""
    encoder: Any = av.CodecContext.create({"h264": "libx264", "hevc": "libx265"}[codec], "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.thread_count = FPS, 1
    usual = f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes=0:repeat-headers=1"
    if codec == "hevc":
        usual += ":log-level=none:open-gop=0"
    words = ":".join(each for each in (usual, parameters) if each)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", f"{encoder.name[3:]}-params": words}
    chance = np.random.default_rng(50)
    ground = chance.integers(30, 220, (height * 3 // 2, width), dtype=np.uint8)
    made: list[Any] = []
    for n in range(pictures):
        frame = av.VideoFrame.from_ndarray(np.roll(ground, 4 * n, axis=1), format="yuv420p")
        frame.pts = n
        made += encoder.encode(frame)
    made += encoder.encode(None)
    return [units(bytes(packet)) for packet in made]


def units(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream."""
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]]


def kinds(picture: list[bytes]) -> list[int]:
    """The types of a picture's units (H.264)."""
    return [unit[0] & 31 for unit in picture]


def is_slice(unit: bytes) -> bool:
    """Of H.264."""
    return unit[0] & 31 in (1, 5)


def is_slice_265(unit: bytes) -> bool:
    """Of H.265."""
    return unit[0] >> 1 & 63 < 32


def each_265(pictures: Pictures, change: Callable[[int, list[bytes], list[bytes]], list[bytes]]) -> Pictures:
    """The same of H.265."""
    return [
        change(n, [u for u in picture if not is_slice_265(u)], [u for u in picture if is_slice_265(u)])
        for n, picture in enumerate(pictures)
    ]


def each(pictures: Pictures, change: Callable[[int, list[bytes], list[bytes]], list[bytes]]) -> Pictures:
    """Every picture made anew from its number, what stands before its slices, and its slices."""
    return [
        change(n, [u for u in picture if not is_slice(u)], [u for u in picture if is_slice(u)])
        for n, picture in enumerate(pictures)
    ]


def key_only(n: int, made: list[bytes]) -> list[bytes]:
    """These units, of key pictures alone."""
    return made if n % GOP == 0 else []


def _h264() -> dict[str, Pictures]:
    plain = encoded("h264", "")
    sliced = encoded("h264", "slices=4")
    sets = [unit for unit in plain[0] if unit[0] & 31 in (7, 8)]
    first, last = [message(b"before")], [message(b"behind")]
    return {
        "as x264 makes it": plain,
        "delimiters": each(plain, lambda _n, head, body: [DELIMITER, *head, *body]),
        "a message behind each key picture": each(plain, lambda n, h, b: [*h, *b, *key_only(n, last)]),
        "messages before and behind every picture": each(plain, lambda _n, h, b: [*h, *first, *b, *last]),
        "two messages behind, and filling": each(plain, lambda _n, h, b: [*h, *b, *last, *last, FILLER]),
        "four slices": sliced,
        "four slices, a message behind each": each(
            sliced, lambda _n, h, b: [DELIMITER, *h, *(u for s in b for u in (s, *last))]
        ),
        "sets before every picture": each(
            plain, lambda _n, h, b: [*sets, *(u for u in h if u not in sets), *b]
        ),
        "sets between messages and slices": each(plain, lambda _n, h, b: [*first, *h, *first, *sets, *b]),
        "sets between slices": each(sliced, lambda _n, h, b: [*h, *(u for s in b for u in (*sets, s))]),
        "sets behind every picture": each(plain, lambda _n, h, b: [*h, *b, *sets]),
        "filling": each(plain, lambda _n, h, b: [*h, *b, FILLER]),
        "ends of sequences": each(
            plain, lambda n, h, b: [*h, *b, *([END_OF_SEQUENCE] if n % GOP == GOP - 1 else [])]
        ),
        "interlaced, as x264 makes it": encoded("h264", "tff=1", height=192),
        "interlaced, two slices, messages behind": each(
            encoded("h264", "tff=1:slices=2", height=192), lambda _n, h, b: [DELIMITER, *h, *b, *last]
        ),
        "fields": h264_fields.pictures(36, gop=GOP),
        "fields of two slices": h264_fields.pictures(36, gop=GOP, slices=2),
        "fields, messages behind each": each(
            h264_fields.pictures(36, gop=GOP), lambda _n, h, b: [*h, *(u for s in b for u in (s, *last))]
        ),
        "fields, a delimiter before each": each(
            h264_fields.pictures(36, gop=GOP), lambda _n, h, b: [DELIMITER, *h, b[0], DELIMITER, b[1]]
        ),
        "every picture a key picture": encoded("h264", "keyint=1:min-keyint=1"),
        "pictures nothing refers to": encoded("h264", "bframes=2:b-adapt=0:rc-lookahead=3"),
    }


def _h265() -> dict[str, Pictures]:
    plain = encoded("hevc", "")
    sliced = encoded("hevc", "slices=4", height=512)
    sets = [unit for unit in plain[0] if unit[0] >> 1 & 63 in (32, 33, 34)]
    first, last = [message_265(b"before")], [message_265(b"behind", suffix=True)]
    return {
        "as x265 makes it": plain,
        "delimiters": each_265(plain, lambda _n, h, b: [DELIMITER_265, *h, *b]),
        "messages before and behind": each_265(plain, lambda _n, h, b: [*h, *first, *b, *last]),
        "a message behind that belongs before": each_265(plain, lambda _n, h, b: [*h, *b, *first]),
        "four slices": sliced,
        "four slices, messages between": each_265(
            sliced, lambda _n, h, b: [*h, *(u for s in b for u in (s, *last))]
        ),
        "sets before every picture": each_265(
            plain, lambda _n, h, b: [*sets, *(u for u in h if u not in sets), *b]
        ),
        "sets between messages and slices": each_265(plain, lambda _n, h, b: [*first, *h, *first, *sets, *b]),
        "sets behind every picture": each_265(plain, lambda _n, h, b: [*h, *b, *sets]),
        "filling": each_265(plain, lambda _n, h, b: [*h, *b, FILLER_265]),
    }


@cache
def odd(codec: str) -> dict[str, Pictures]:
    """All odd streams of ``h264`` or ``hevc``, by what is odd about them."""
    return _h264() if codec == "h264" else _h265()


H264 = (
    "as x264 makes it",
    "delimiters",
    "a message behind each key picture",
    "messages before and behind every picture",
    "two messages behind, and filling",
    "four slices",
    "four slices, a message behind each",
    "sets before every picture",
    "sets between messages and slices",
    "sets between slices",
    "sets behind every picture",
    "filling",
    "ends of sequences",
    "interlaced, as x264 makes it",
    "interlaced, two slices, messages behind",
    "fields",
    "fields of two slices",
    "fields, messages behind each",
    "fields, a delimiter before each",
    "every picture a key picture",
    "pictures nothing refers to",
)
H265 = (
    "as x265 makes it",
    "delimiters",
    "messages before and behind",
    "a message behind that belongs before",
    "four slices",
    "four slices, messages between",
    "sets before every picture",
    "sets between messages and slices",
    "sets behind every picture",
    "filling",
)
ALL = [*(("h264", name) for name in H264), *(("hevc", name) for name in H265)]


def served(codec: str, name: str) -> EncodedStream:
    """The stream as a simulated camera sends it again and again, each picture with its number in a message before its slices."""
    about = CODECS["h265" if codec == "hevc" else codec]
    pictures = [about.stamped(picture, n) for n, picture in enumerate(odd(codec)[name])]
    settings = StreamSettings(
        codec="h265" if codec == "hevc" else codec, width=320, height=180, fps=FPS, gop=GOP
    )
    return EncodedStream(pictures, settings)

"""How large a picture a JPEG says it is."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from drivers.cameras.http.jpeg import size_of

SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def frame(width: int, height: int, kind: int = 0xC0) -> bytes:
    return struct.pack(">BBHBHHB", 0xFF, kind, 11, 8, height, width, 1) + b"\1\x11\0"


SCAN = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + b"\x12\x34"
APP = b"\xff\xe0\0\x06JFIF"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (SOI + APP + frame(1920, 1080) + SCAN + EOI, (1920, 1080)),
        (SOI + frame(65535, 65535) + SCAN + EOI, (65535, 65535)),
        (SOI + frame(640, 480, 0xC2) + SCAN + EOI, (640, 480)),
        (SOI + b"\xff\xff\xff" + frame(640, 480)[1:] + SCAN + EOI, (640, 480)),
        # Two frames: whichever a decoder believes, the larger one counts.
        (SOI + frame(64, 64) + frame(65535, 65535) + SCAN + EOI, (65535, 65535)),
        # A small one in an EXIF thumbnail is none of the picture's frames.
        (
            SOI + b"\xff\xe1\0\x20" + (SOI + frame(16, 16) + EOI).ljust(30, b"\0") + frame(800, 600) + SCAN,
            (800, 600),
        ),
        # Height 0 is told later, by DNL: nobody knows it.
        (SOI + frame(640, 0) + SCAN + EOI, (640, 0)),
        (SOI + APP + SCAN + EOI, None),
        (SOI + EOI, None),
        (SOI + b"\xff\xc4\0\2" + EOI, None),
        (SOI + b"\xff\xe0\0\0" * 3 + EOI, None),
        (b"", None),
    ],
)
def test_size(data: bytes, size: tuple[int, int] | None) -> None:
    """Of each kind of frame, whatever stands before it."""
    assert size_of(data) == size


def test_size_of_a_real_one() -> None:
    """As OpenCV writes it."""
    done, data = cv2.imencode(".jpg", np.zeros((120, 200, 3), np.uint8))
    assert done
    assert size_of(data.tobytes()) == (200, 120)

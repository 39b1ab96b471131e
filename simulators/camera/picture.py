"""A picture that proves its own time: a clock for people and a block code for programs.

The block code is a grid of black and white squares in the lower part of the picture. Its place and size follow from
the picture's size alone, so that it is found again after H.264, JPEG, re-encoding and scaling. Row by row, most
significant bit first, it holds the Unix time in milliseconds (48 bits), the frame number (32 bits) and the CRC-32
of those ten bytes (32 bits).
"""

from __future__ import annotations

import struct
import time
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

# Squares per row and rows of the code: 16 * 7 = 112 bits.
_COLUMNS, _ROWS = 16, 7
# A square is this part of the picture's width: 16 pixels, an H.264 macroblock, at 640.
_SQUARES_PER_WIDTH = 40
# Luma of black and white in video (limited range, ITU-R BT.601).
_BLACK, _WHITE = 16, 235
# Below this difference between the darkest and the brightest square there is no code to be read.
_LEAST_CONTRAST = 60

FRAME_NUMBERS = 2**32
"""Frame numbers in the picture count modulo this."""


class UnreadablePicture(ValueError):
    """The picture carries no block code, or its checksum does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a picture says about itself."""

    unix_ms: int
    """When it was drawn, in milliseconds since 1970-01-01T00:00:00Z; 0 in a pre-encoded stream."""
    frame: int
    """Its number, modulo `FRAME_NUMBERS`."""


class Canvas:
    """Draws pictures of one size; everything that never changes is drawn once.

    Width and height are even and at least 160 by 120 pixels; the width is not more than twice the height.
    """

    def __init__(self, *, width: int = 640, height: int = 360, title: str = "camera") -> None:
        if width % 2 or height % 2 or width < 160 or height < 120 or width > 2 * height:
            raise ValueError(
                f"picture size {width}x{height}: expected even numbers, at least 160x120, not wider than 2:1"
            )
        self.width, self.height = width, height
        self._scale = width / 640
        self._code = _code_box(width, height)
        self._background = self._draw_background(title)
        self._second = -1
        self._second_text = ""

    def draw(self, *, unix_ms: int, frame: int, out: Image | None = None) -> Image:
        """Return the luma plane (height x width) stamped with this instant (0: none) and number, in `out` if given."""
        image = np.empty_like(self._background) if out is None else out
        second, millisecond = divmod(unix_ms, 1000)
        if second != self._second:
            self._second = second
            local = time.localtime(second)
            self._second_text = time.strftime("%H:%M:%S", local)
            # Time 0 is "no time": a person shall not take 1970 for a clock that is wrong.
            date = time.strftime("%Y-%m-%d  UTC%z", local) if unix_ms else "no clock"
            self._put(self._background, date, 24, 142, 0.8, clear=(20, 114, 600, 36))
        np.copyto(image, self._background)
        clock = f"{self._second_text}.{millisecond:03d}" if unix_ms else "--:--:--.---"
        self._put(image, clock, 22, 104, 2.0, thickness=3)
        self._put(image, f"frame {frame}", 24, 178, 0.8)
        self._draw_hand(image, millisecond)
        left, top, side = self._code
        bits = _encode(unix_ms, frame)
        image[top : top + _ROWS * side, left : left + _COLUMNS * side] = np.repeat(
            np.repeat(bits, side, axis=0), side, axis=1
        )
        return image

    def _draw_background(self, title: str) -> Image:
        ramp = np.linspace(50, 90, self.height, dtype=np.float32).astype(np.uint8)
        image: Image = np.repeat(ramp[:, None], self.width, axis=1)
        self._put(image, title.encode("ascii", "replace").decode(), 24, 36, 0.8)
        left, top, side = self._code
        # The white frame around the code tells a person where to look; reading does not need it.
        cv2.rectangle(
            image,
            (left - side // 2, top - side // 2),
            (left + _COLUMNS * side + side // 2, top + _ROWS * side + side // 2),
            _WHITE,
            -1,
        )
        cv2.circle(image, self._dial(), self._px(70), 120, -1, cv2.LINE_AA)
        return image

    def _draw_hand(self, image: Image, millisecond: int) -> None:
        """One turn of the hand a second: a stream that stutters is seen by eye."""
        x, y = self._dial()
        angle = 2 * np.pi * millisecond / 1000
        tip = (int(x + self._px(62) * np.sin(angle)), int(y - self._px(62) * np.cos(angle)))
        cv2.line(image, (x, y), tip, _WHITE, max(1, self._px(5)), cv2.LINE_AA)

    def _dial(self) -> tuple[int, int]:
        left, top, side = self._code
        return (left + _COLUMNS * side + self.width) // 2, top + _ROWS * side // 2

    def _px(self, at_640: int) -> int:
        return int(at_640 * self._scale)

    def _put(
        self,
        image: Image,
        text: str,
        x: int,
        y: int,
        size: float,
        *,
        thickness: int = 2,
        clear: tuple[int, int, int, int] | None = None,
    ) -> None:
        top_edge = self.height / (self.width * 9 / 16)
        if clear is not None:
            cx, cy, cw, ch = clear
            rows = slice(int(self._px(cy) * top_edge), int(self._px(cy + ch) * top_edge))
            ramp = np.linspace(50, 90, self.height, dtype=np.float32).astype(np.uint8)
            image[rows, self._px(cx) : self._px(cx + cw)] = ramp[rows, None]
        cv2.putText(
            image,
            text,
            (self._px(x), int(self._px(y) * top_edge)),
            cv2.FONT_HERSHEY_SIMPLEX,
            size * self._scale * 0.9,
            _WHITE,
            max(1, int(thickness * self._scale)),
            cv2.LINE_AA,
        )


def draw(*, unix_ms: int, frame: int, width: int = 640, height: int = 360, title: str = "camera") -> Image:
    """Draw one picture (luma plane, height x width); use a `Canvas` for many of one size."""
    return Canvas(width=width, height=height, title=title).draw(unix_ms=unix_ms, frame=frame)


def read(image: npt.NDArray[Any]) -> Reading:
    """Read the block code of a gray or BGR/RGB picture of any size with the drawn one's proportions.

    Raises `UnreadablePicture` (a `ValueError`) if there is none or it is damaged.
    """
    if image.ndim == 3:
        gray = image[..., :3].mean(axis=2)
    elif image.ndim == 2:
        gray = image.astype(np.float64)
    else:
        raise UnreadablePicture(
            f"picture of shape {image.shape}: expected height x width or height x width x 3"
        )
    height, width = gray.shape
    side = width / _SQUARES_PER_WIDTH
    left, top = _origin(width, height, side)
    # The mean of each square's middle half: ringing and chroma smear live at the borders.
    levels = np.empty((_ROWS, _COLUMNS))
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            y, x = top + (row + 0.25) * side, left + (column + 0.25) * side
            patch = gray[
                int(y) : max(int(y) + 1, int(y + side / 2)), int(x) : max(int(x) + 1, int(x + side / 2))
            ]
            levels[row, column] = patch.mean() if patch.size else 0.0
    darkest, brightest = float(levels.min()), float(levels.max())
    if brightest - darkest < _LEAST_CONTRAST:
        raise UnreadablePicture(
            f"no block code in a picture of {width}x{height}: squares differ by {brightest - darkest:.0f} only"
        )
    data = np.packbits((levels > (darkest + brightest) / 2).ravel()).tobytes()
    if zlib.crc32(data[:10]) != struct.unpack(">I", data[10:])[0]:
        raise UnreadablePicture(
            f"block code in a picture of {width}x{height} is damaged: checksum does not fit"
        )
    return Reading(unix_ms=int.from_bytes(data[:6], "big"), frame=int.from_bytes(data[6:10], "big"))


def _encode(unix_ms: int, frame: int) -> Image:
    data = (unix_ms % 2**48).to_bytes(6, "big") + (frame % FRAME_NUMBERS).to_bytes(4, "big")
    bits = np.unpackbits(np.frombuffer(data + struct.pack(">I", zlib.crc32(data)), np.uint8))
    return np.where(bits, _WHITE, _BLACK).astype(np.uint8).reshape(_ROWS, _COLUMNS)


def _origin(width: int, height: int, side: float) -> tuple[float, float]:
    """Left and top edge of the code: two squares from the left, one and a half from the bottom."""
    return 2 * side, height - (_ROWS + 1.5) * side


def _code_box(width: int, height: int) -> tuple[int, int, int]:
    side = width // _SQUARES_PER_WIDTH
    left, top = _origin(width, height, width / _SQUARES_PER_WIDTH)
    return round(left), round(top), side

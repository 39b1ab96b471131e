"""One video frame that is drawn into again and again."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.frame import PictureType
from av.video.plane import VideoPlane

from simulators.camera.picture import Image


class Surface:
    """A YUV 4:2:0 frame with two constant colour planes, which tint the picture and cost nothing.

    The encoder must take its copy before `encode` returns, as x264 does.
    """

    def __init__(self, *, width: int, height: int, blue: int, red: int, time_base: Fraction) -> None:
        self._frame = av.VideoFrame(width, height, "yuv420p")
        self._frame.time_base = time_base
        luma, blue_plane, red_plane = self._frame.planes
        self.luma: Image = _pixels(luma).reshape(height, luma.line_size)[:, :width]
        """Where to draw."""
        _pixels(blue_plane)[:] = blue
        _pixels(red_plane)[:] = red

    def at(self, pts: int, *, key: bool = False) -> av.VideoFrame:
        """Return the frame as it is now, for the encoder; `key` demands a key frame."""
        self._frame.pts = pts
        self._frame.pict_type = PictureType.I if key else PictureType.NONE
        return self._frame


def _pixels(plane: VideoPlane) -> Image:
    return np.frombuffer(memoryview(plane), np.uint8)

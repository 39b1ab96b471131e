"""Where a JPEG ends: from SOI to its own EOI, whatever stands behind it.

Cameras pad pictures with zeros, put their own marks behind them (``dhav``), name a wrong length, or begin the next picture.
Only the segments tell the end: a thumbnail inside one has an EOI of its own. Source: ITU-T T.81, annex B.
"""

from __future__ import annotations

import re

SOI = b"\xff\xd8"
BEGINNING = b"\xff\xd8\xff"

BEFORE = 4096
"""Bytes that may stand before a picture: the head of a part of multipart/x-mixed-replace, or stray line ends."""

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_ALONE = frozenset([0x01, *range(0xD0, 0xD9)])
"""Markers without a length: TEM, RST0 to RST7, SOI."""
_EOI, _SOS = 0xD9, 0xDA


class PictureEnd:
    """Finds the picture in bytes as they grow; every byte is looked at once, however small the pieces are."""

    def __init__(self) -> None:
        self.begins: int | None = None
        self.ends: int | None = None
        """Behind the last byte of EOI, once that has come."""
        self._at = 0
        self._in_scan = False

    def found(self, data: bytearray) -> bool:
        """Whether the picture is whole; ``data`` is all that came so far."""
        if self.begins is None:
            begins = data.find(BEGINNING, self._at)
            if begins < 0:
                self._at = max(0, len(data) - len(BEGINNING) + 1)
                return False
            self.begins, self._at = begins, begins + len(SOI)
        while self.ends is None and self._step(data):
            pass
        return self.ends is not None

    @property
    def hopeless(self) -> bool:
        """Whether so much came without a beginning that this is no picture."""
        return self.begins is None and self._at > BEFORE

    def _step(self, data: bytearray) -> bool:
        marker = (_MARKER_IN_SCAN if self._in_scan else _MARKER).search(data, self._at)
        if marker is None:
            self._at = max(self._at, len(data) - 1)  # its first byte may be the last that came
            return False
        kind, behind = data[marker.start() + 1], marker.end()
        if kind == _EOI:
            self.ends = behind
            return True
        if kind not in _ALONE:
            if len(data) < behind + 2:
                self._at = marker.start()
                return False
            behind += max(2, int.from_bytes(data[behind : behind + 2], "big"))
        self._in_scan = kind == _SOS or (self._in_scan and kind in _ALONE)
        self._at = behind
        return True

"""What one camera may take of the memory that all cameras share: checked before it is allocated.

A camera's own numbers (a picture's size, the bytes of one picture) are a stranger's: each limit here is above what any camera
needs and below what hurts the others. What exceeds one is refused in words, and that camera alone goes without.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from drivers.cameras.codec.sps import Picture
from gateway.domain.errors import Unavailable

LARGEST_UNIT = 12 << 20
"""Bytes of one coded picture. A key frame of 4K at best quality has about 4 MB."""

LARGEST_HELD = 16 << 20
"""Bytes that may come of a camera before a whole picture of them is there: one of the largest, and what stands before it."""

MOST_PIECES = 512
"""NAL units that a picture may come in: its slices, each behind parameter sets of its own. Each one is looked at by itself."""

PIECE_OVERHEAD = 64
"""Bytes that each piece costs until its picture is whole, beside its data: an object and its place in a list."""

MOST_PICTURES, PICTURES_WITHIN_S = 3000, 5.0
"""Pictures that may come in so many seconds: 240 a second, and a camera that begins with ten seconds it has kept."""

MOST_RECEIVED, RECEIVED_WITHIN_S = 80 << 20, 5.0
"""Bytes of pictures that may come in so many seconds: 134 Mbit/s, more than most cameras' network allows; one of 40 Mbit/s that
begins with ten seconds it has kept sends 75 MB."""

MOST_CHANGES, CHANGES_WITHIN_S = 40, 60.0
"""Changes of a stream's parameter sets in so many seconds. Each one ends a file and is described anew."""

LARGEST_PART = 32 << 20
"""Bytes of one part of the live picture: 20 s at 12 Mbit/s. It is copied several times on its way."""

LARGE_PICTURE = 9_437_184
"""Luma samples above which a picture is decoded with as little beside it as can be: H.264 level 5.2 (table A-1), 4096 x 2304."""

DELAYED = 16
"""Decoded pictures a decoder may hold back until they are shown: the limit of both standards."""

SPARE = 3
"""Pictures a decoder holds beside those: the one being decoded, the one given out, and a substitute for one that is missing."""

DECODING_BYTES = 448 << 20
"""What decoding of one group may take: a picture of 12 megapixels with B-frames and five references takes 430 MB."""

ALL_DECODING_BYTES = 512 << 20
"""The same for all groups that are decoded at once; who comes later waits."""

TOGETHER_BYTES = 96 << 20
"""Decoded pictures kept at once until they are JPEG: 30 of 1080p."""


MOST_ALLOCATED = 96 << 20
"""Bytes of one block that the media library may allocate: a plane of the largest picture at ten bits has 71 MB."""


def allocate_at_most(size: int) -> bool:
    """Let the media library allocate no block larger than this; ``False`` where it cannot be told."""
    with suppress(OSError, AttributeError):
        maps = Path("/proc/self/maps").read_text("utf-8", "replace")
        for path in sorted(set(re.findall(r"/\S*libavutil\S*", maps))):
            ctypes.CDLL(path).av_max_alloc(ctypes.c_size_t(size))
            return True
    return False


class Rate:
    """How often something happens: no more than ``most`` times ``within_s``."""

    def __init__(self, most: int, within_s: float) -> None:
        self._within_s = within_s
        self._times: deque[float] = deque(maxlen=most)

    def exceeded(self, now_s: float) -> bool:
        """Note that it happened; whether that is more often than it may."""
        times = self._times
        full = len(times) == times.maxlen and now_s - times[0] < self._within_s
        times.append(now_s)
        return full


class Volume:
    """How much comes: no more than ``most`` bytes within ``within_s``, counted from one span of that length to the next."""

    def __init__(self, most: int, within_s: float, now_s: float) -> None:
        self._most, self._within_s = most, within_s
        self._since_s, self._sum = now_s, 0

    def exceeded(self, size: int, now_s: float) -> bool:
        """Note that so many bytes came; whether that is more than may."""
        if now_s - self._since_s >= self._within_s:
            self._since_s, self._sum = now_s, 0
        self._sum += size
        return self._sum > self._most


def decoding_bytes(picture: Picture, *, reordered: bool, threads: int) -> int:
    """What a decoder may take for pictures like this one. ``reordered``: some are shown later than they are sent."""
    delayed = DELAYED if reordered or picture.samples <= LARGE_PICTURE else 0
    return picture.decoded_bytes * (picture.references + delayed + SPARE + threads)


class Room:
    """The memory that decoding may take, shared by all who decode. Thread-safe."""

    def __init__(self, one: int = DECODING_BYTES, together: int = ALL_DECODING_BYTES) -> None:
        self._one, self._free = one, together
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, needed: int, what: object) -> Iterator[None]:
        """Hold so many bytes, when they are free. Raises ``Unavailable`` where no decoder is given so much."""
        if needed > self._one:
            raise Unavailable(
                f"no still can be made: decoding {what} may take {needed >> 20} MB, and {self._one >> 20} MB are given; set the "
                "camera to a smaller picture"
            )
        with self._changed:
            while self._free < needed:
                self._changed.wait()
            self._free -= needed
        try:
            yield
        finally:
            with self._changed:
                self._free += needed
                self._changed.notify_all()


def together(picture: Picture) -> int:
    """How many pictures of a group are decoded for at once: at least one."""
    return max(1, TOGETHER_BYTES // max(1, picture.decoded_bytes))


def most_samples(*pictures: Picture) -> int:
    """What a decoder of these pictures may be made to allocate, in luma samples: sides are rounded up, as decoders do."""
    return max(-(-p.coded_width // 64) * 64 * (-(-p.coded_height // 64) * 64) for p in pictures)

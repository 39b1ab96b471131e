"""From the pieces a session receives to whole pictures, each with its time, in the order of decoding. For one session.

A piece is what one RTP packet carried: NAL units, or a part of one that is too large for a packet. Which units are one picture
the codec's own rules say (:mod:`drivers.cameras.codec.slices`), and not that they have one time: servers send pictures with the
same time, and messages behind a picture under that picture's time. What stands between the slices of two pictures goes where its
time puts it, and where that is the same, where the codec does. No byte is added, left out, or put in another place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from av.packet import Packet

from drivers.cameras.codec.slices import Order, Role
from drivers.cameras.worker.bounds import LARGEST_UNIT, MOST_PIECES, PIECE_OVERHEAD
from drivers.cameras.worker.frames.timing import Arrival
from gateway.domain.errors import Malformed

START, LONG_START = STARTS = (b"\0\0\1", b"\0\0\0\1")
"""What a NAL unit begins with in a byte stream; within one it cannot stand (emulation prevention)."""

TOO_MUCH = (
    f"it sent a picture of more than {LARGEST_UNIT >> 20} MB or {MOST_PIECES} units, or as much before a picture: "
    "set a lower bit rate"
)

Dated = tuple[Any, int, Arrival]
"""A picture as a packet, its time in ticks of the stream, and when its first byte came."""


@dataclass(slots=True)
class _Unit:
    """A NAL unit that is still coming: its pieces, their time, and when the first one came."""

    pieces: list[bytes]
    pts: int
    came: Arrival
    behind: bool
    key: bool


@dataclass(slots=True)
class _Picture:
    """A picture that is still coming; ``pts`` is the time of its first slice, ``latest`` of its newest: they differ where each
    field of a frame has its own."""

    pts: int
    latest: int
    came: Arrival
    pieces: list[bytes] = field(default_factory=list)
    key: bool = False


class Assembly:
    """``take`` every piece; it answers with the pictures that are whole by now: a picture is when the next one begins.

    ``dropped`` counts pieces whose unit's beginning never came.
    """

    def __init__(self, order: Order) -> None:
        self.dropped = 0
        self._order = order
        self._picture: _Picture | None = None
        self._between: list[_Unit] = []  # units since the last slice, whose picture is not known yet
        self._open: list[bytes] | None = None  # the pieces of the unit that came last
        self._open_pts = 0
        self._size = self._units = 0  # of what is not given out yet

    def goes_on(self, piece: bytes, pts: int) -> bool:
        """Take a piece that is a further part of the unit before; ``False``, and nothing done, where it begins one.

        Most pieces are such parts, some fifteen a picture, so this is apart and short. Raises ``Malformed`` as :meth:`take`.
        """
        if piece.startswith(STARTS):
            return False
        if self._open is None or pts != self._open_pts:
            self.dropped += 1
            return True
        self._open.append(piece)
        self._size += len(piece) + PIECE_OVERHEAD
        if self._size > LARGEST_UNIT:
            raise Malformed(TOO_MUCH)
        return True

    def take(self, piece: bytes, pts: int, came: Arrival) -> list[Dated]:
        """The pictures that this piece completes. Raises ``Malformed`` for one without end."""
        if self.goes_on(piece, pts):
            return []
        self._size += len(piece)
        at = 4 if piece.startswith(LONG_START) else 3
        whole: list[Dated] = []
        begin = 0
        while True:
            after = piece.find(START, at)
            end = len(piece) if after < 0 else after - (piece[after - 1] == 0)
            if at < end and (picture := self._unit(piece[begin:end], piece[at:end], pts, came)) is not None:
                whole.append(picture)
            if after < 0:
                return whole
            begin, at = end, after + 3

    def _unit(self, piece: bytes, unit: bytes, pts: int, came: Arrival) -> Dated | None:
        """Put the beginning of a unit, start code included, where it belongs; the picture that ends with it."""
        self._units += 1
        self._size += PIECE_OVERHEAD
        if self._size > LARGEST_UNIT or self._units > MOST_PIECES:
            raise Malformed(TOO_MUCH)
        picture = self._picture
        judged = self._order.judge(unit, same_time=picture is not None and pts == picture.latest)
        self._open_pts = pts
        if judged.role in (Role.BEFORE, Role.BEHIND):
            self._open = [piece]
            self._between.append(_Unit(self._open, pts, came, judged.role is Role.BEHIND, judged.key))
            return None
        whole = None
        if picture is None or judged.role is Role.ANOTHER:
            whole = self._end(pts)
            picture = self._picture = _Picture(pts, pts, came)
            first = next((each for each in self._between if each.pts == pts), None)
            picture.came = first.came if first is not None else came
        for each in self._between:
            picture.pieces += each.pieces
            picture.key = picture.key or each.key
        self._between = []
        picture.latest = pts
        picture.key = picture.key or judged.key
        picture.pieces.append(piece)
        self._open = picture.pieces
        return whole

    def _end(self, next_pts: int) -> Dated | None:
        """End the picture, with those units behind it that are its own."""
        picture, self._picture = self._picture, None
        if picture is None:
            return None
        while self._between and (
            self._between[0].behind if picture.latest == next_pts else self._between[0].pts == picture.latest
        ):
            picture.pieces += self._between.pop(0).pieces
        data = b"".join(picture.pieces)
        self._units = len(self._between) + 1
        self._size = sum(len(part) + PIECE_OVERHEAD for each in self._between for part in each.pieces)
        packet: Any = Packet(len(data))
        packet.update(data)
        packet.is_keyframe = picture.key
        return packet, picture.pts, picture.came

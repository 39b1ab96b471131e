"""How long an MP4 file lasts by its own tables: what is claimed of a clip or a recording is held against this.

Reads the heads of boxes and the tables of the first video track, never a picture. ISO/IEC 14496-12: §8.4.2 (``mdhd``), §8.6.1.2
(``stts``), §8.8.3 (``trex``), §8.8.7 (``tfhd``), §8.8.8 (``trun``), §8.8.12 (``tfdt``).
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gateway.domain.errors import Malformed

LARGEST_TABLES = 16 << 20
"""Bytes of a ``moov`` or ``moof`` that are read: the tables of an hour at 60 pictures a second have some 2 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """``lasts_s`` is the sum of all pictures' durations."""

    lasts_s: float
    pictures: int


@dataclass(slots=True)
class _Track:
    number: int
    scale: int
    ticks: int = 0
    pictures: int = 0
    usual_ticks: int = 0  # of a fragment's picture, where nothing else is said


def film_of(path: Path) -> Film:
    """What a file holds. Raises ``Malformed`` where it is no MP4 with pictures, ``OSError`` from the disk."""
    with path.open("rb") as file:
        return _film(file, file.seek(0, os.SEEK_END))


class Reel:
    """The same of bytes that come in pieces, in their order; no more than the tables are kept."""

    def __init__(self) -> None:
        self._moov: bytes | None = None
        self._fragments: list[bytes] = []
        self._held = bytearray()
        self._skips = 0
        self._size = 0
        self._wrong = ""

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        at = 0
        while at < len(data) and not self._wrong:
            if self._skips:
                step = min(self._skips, len(data) - at)
                self._skips, at = self._skips - step, at + step
                continue
            wanted = 16 if len(self._held) < 16 else self._size
            piece = data[at : at + wanted - len(self._held)]
            self._held += piece
            at += len(piece)
            if len(self._held) == wanted:
                self._taken()

    def _taken(self) -> None:
        held = self._held
        kind, size, lead = bytes(held[4:8]), int.from_bytes(held[:4], "big"), 8
        if size == 1:
            size, lead = int.from_bytes(held[8:16], "big"), 16
        if (size < lead and size) or (kind in (b"moov", b"moof") and size > LARGEST_TABLES):
            self._wrong = f"a box of {size} bytes"
        elif len(held) == 16 and kind in (b"moov", b"moof") and size > 16:
            self._size = size
        elif 0 < size < 16:  # the next box has begun within what is held
            del held[:size]
        else:
            if kind == b"moov":
                self._moov = self._moov or bytes(held[lead:])
            elif kind == b"moof":
                self._fragments.append(bytes(held[lead:]))
                if sum(map(len, self._fragments)) > LARGEST_TABLES:
                    self._wrong = "more tables than any recording has"
            self._skips = size - len(held) if size else sys.maxsize
            held.clear()

    def film(self) -> Film:
        """What it was. Raises ``Malformed`` where it was no MP4 with pictures."""
        if self._wrong:
            raise Malformed(self._wrong)
        return _summed(_video(self._moov) if self._moov is not None else None, self._fragments)


def _film(file: BinaryIO, end: int) -> Film:
    track: _Track | None = None
    fragments: list[bytes] = []
    for kind, at, size in _heads(file, end):
        if kind not in (b"moov", b"moof"):
            continue
        if size > LARGEST_TABLES:
            raise Malformed(f"tables of {size} bytes")
        file.seek(at)
        body = file.read(size)
        if kind == b"moov":
            track = track or _video(body)
        else:
            fragments.append(body)
            if sum(map(len, fragments)) > LARGEST_TABLES:
                raise Malformed("more tables than any recording has")
    return _summed(track, fragments)


def _summed(track: _Track | None, fragments: list[bytes]) -> Film:
    if track is None:
        raise Malformed("no description of pictures (moov)")
    try:
        for body in fragments:
            _add_fragment(track, body)
    except struct.error as exc:
        raise Malformed(f"a fragment's tables end too early: {exc}") from exc
    if not track.pictures or not track.scale:
        raise Malformed("no picture in it")
    return Film(lasts_s=track.ticks / track.scale, pictures=track.pictures)


def _heads(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int, int]]:
    """``(kind, where its body begins, how long that is)`` of each box of the file; what is cut off at the end is left out."""
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, kind, lead = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1 and len(head) == 16:
            size, lead = int.from_bytes(head[8:16], "big"), 16
        elif size == 0:
            size = end - at
        if size < lead or at + size > end:
            return
        yield kind, at + lead, size - lead
        at += size


def _boxes(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        if size < 8 or at + size > len(body):
            return
        yield body[at + 4 : at + 8], body[at + 8 : at + size]
        at += size


def _inside(body: bytes, *path: bytes) -> bytes | None:
    for kind in path:
        found = next((inner for name, inner in _boxes(body) if name == kind), None)
        if found is None:
            return None
        body = found
    return body


def _video(moov: bytes) -> _Track | None:
    try:
        for kind, trak in _boxes(moov):
            handler = _inside(trak, b"mdia", b"hdlr") if kind == b"trak" else None
            head, about = _inside(trak, b"mdia", b"mdhd"), _inside(trak, b"tkhd")
            if handler is None or handler[8:12] != b"vide" or head is None or about is None:
                continue
            (number,) = struct.unpack_from(">I", about, 20 if about[0] else 12)
            (scale,) = struct.unpack_from(">I", head, 20 if head[0] else 12)
            track = _Track(number, scale)
            table = _inside(trak, b"mdia", b"minf", b"stbl", b"stts") or b""
            entries = struct.unpack_from(">I", table, 4)[0] if len(table) >= 8 else 0
            for n in range(min(entries, (len(table) - 8) // 8)):
                count, ticks = struct.unpack_from(">II", table, 8 + 8 * n)
                track.pictures += count
                track.ticks += count * ticks
            for name, extends in _boxes(_inside(moov, b"mvex") or b""):
                if name == b"trex" and struct.unpack_from(">I", extends, 4)[0] == number:
                    (track.usual_ticks,) = struct.unpack_from(">I", extends, 12)
            return track
    except struct.error as exc:
        raise Malformed(f"its tables end too early: {exc}") from exc
    return None


def _add_fragment(track: _Track, moof: bytes) -> None:
    for kind, traf in _boxes(moof):
        head = _inside(traf, b"tfhd") if kind == b"traf" else None
        if head is None or struct.unpack_from(">I", head, 4)[0] != track.number:
            continue
        flags, at, usual = int.from_bytes(head[1:4], "big"), 8, track.usual_ticks
        at += 8 * bool(flags & 1) + 4 * bool(flags & 2)
        if flags & 8:
            (usual,) = struct.unpack_from(">I", head, at)
        for name, run in _boxes(traf):
            if name == b"trun":
                _add_run(track, run, usual)


def _add_run(track: _Track, run: bytes, usual: int) -> None:
    flags = int.from_bytes(run[1:4], "big")
    (count,) = struct.unpack_from(">I", run, 4)
    track.pictures += count
    if not flags & 0x100:
        track.ticks += count * usual
        return
    at = 8 + 4 * bool(flags & 1) + 4 * bool(flags & 4)
    step = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
    for _ in range(count):
        track.ticks += struct.unpack_from(">I", run, at)[0]
        at += step

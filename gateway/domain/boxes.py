"""MP4 as a tree of boxes (ISO/IEC 14496-12): what lies in a file, and where each sample of it is.

Everything is found by walking from box to box, never by searching for bytes: a picture may contain any bytes. Works on anything
with ``len`` and slices; :class:`OpenFile` makes a file such.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from gateway.domain.errors import Malformed

#: Bytes of a ``VisualSampleEntry`` before the boxes in it (§12.1.3): the general entry's 8, and 70 of its own.
VISUAL_ENTRY = 78


class Bytes(Protocol):
    """What can be walked: ``bytes``, ``bytearray``, :class:`OpenFile`."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: slice, /) -> bytes | bytearray: ...


class OpenFile:
    """An open file as bytes to walk, each slice read when it is asked for. (Not mapped into memory: there a disk's error would
    end the process instead of raising ``OSError``.)"""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice, /) -> bytes:
        """Raises ``OSError`` from the disk."""
        begin, end, _ = place.indices(self._size)
        self._file.seek(begin)
        return self._file.read(max(0, end - begin))


@dataclass(frozen=True, slots=True)
class Box:
    """One box: where it begins, where its content does, and where both end."""

    kind: bytes
    begin: int
    content: int
    end: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a track: where its bytes begin, and how many there are."""

    place: int
    size: int


@dataclass(frozen=True, slots=True)
class Track:
    """One track: ``handler`` is ``vide`` or ``soun``, ``entry`` the kind of its sample entry (``avc1``, ``hvc1``, ``mp4a``),
    ``configuration`` what its ``avcC`` or ``hvcC`` holds (empty for others), ``samples`` are in the order of decoding."""

    number: int
    handler: bytes
    entry: bytes
    configuration: bytes
    samples: list[Sample]


def boxes(data: Bytes, begin: int = 0, end: int | None = None, *, partial: bool = False) -> Iterator[Box]:
    """The boxes between two places. Raises ``Malformed`` for one that does not fit. With ``partial``, of a file that was cut off,
    the walk ends there instead, after a last box whose ``end`` is behind ``end`` if its size makes sense at all."""
    end = len(data) if end is None else end
    while begin + 8 <= end:
        size, kind = struct.unpack(">I4s", data[begin : begin + 8])
        head = 8
        if size == 1:
            wide = data[begin + 8 : begin + 16]
            size, head = (int.from_bytes(wide, "big") if len(wide) == 8 else end + 1), 16
        elif size == 0:
            size = end - begin
        whole = size >= head and begin + size <= end
        if partial and not whole:
            if size >= head:
                yield Box(bytes(kind), begin, begin + head, begin + size)
            return
        if not whole:
            raise Malformed(f"MP4: a box at byte {begin} has {size} bytes, {end - begin} are there")
        yield Box(bytes(kind), begin, begin + head, begin + size)
        begin += size


def find(data: Bytes, box: Box | None, *path: bytes) -> Box | None:
    """The first box found by going down ``path``, from the top of the file where ``box`` is ``None``."""
    for kind in path:
        begin, end = (box.content, box.end) if box is not None else (0, len(data))
        box = next((each for each in boxes(data, begin, end) if each.kind == kind), None)
        if box is None:
            return None
    return box


def tracks(data: Bytes) -> list[Track]:
    """All tracks with all their samples, of a plain file and of a fragmented one. Raises ``Malformed``."""
    try:
        return _tracks(data)
    except (struct.error, IndexError) as exc:
        raise Malformed(f"MP4: a box ends in the middle of its fields: {exc}") from None


def _tracks(data: Bytes) -> list[Track]:
    moov = next((each for each in boxes(data, partial=True) if each.kind == b"moov"), None)
    if moov is None or moov.end > len(data):
        raise Malformed("MP4: there is no moov box")
    found: dict[int, Track] = {}
    for trak in boxes(data, moov.content, moov.end):
        if trak.kind == b"trak":
            track = _track(data, trak)
            found[track.number] = track
    for moof in boxes(data, partial=True):
        if moof.kind == b"moof" and moof.end <= len(data):
            for number, sample in _fragment(data, moov, moof):
                if number in found:
                    found[number].samples.append(sample)
    return list(found.values())


def fragment(data: Bytes, init: bytes) -> list[Track]:
    """The tracks of a live part whose head is in ``init``, with the samples of the part alone. Raises ``Malformed``."""
    whole = init + data[0 : len(data)]
    shifted = tracks(whole)
    return [
        Track(
            t.number,
            t.handler,
            t.entry,
            t.configuration,
            [Sample(s.place - len(init), s.size) for s in t.samples],
        )
        for t in shifted
    ]


def sample_entry(data: Bytes, trak: Box) -> Box | None:
    """The first sample entry of a track's description, ``None`` where there is none."""
    stsd = find(data, trak, b"mdia", b"minf", b"stbl", b"stsd")
    return next(boxes(data, stsd.content + 8, stsd.end), None) if stsd is not None else None


def _track(data: Bytes, trak: Box) -> Track:
    tkhd, hdlr = find(data, trak, b"tkhd"), find(data, trak, b"mdia", b"hdlr")
    entry = sample_entry(data, trak)
    if tkhd is None or hdlr is None or entry is None:
        raise Malformed("MP4: a track without tkhd, hdlr or sample entry")
    wide = data[tkhd.content : tkhd.content + 1] == b"\x01"
    at = tkhd.content + (20 if wide else 12)
    handler = bytes(data[hdlr.content + 8 : hdlr.content + 12])
    configuration = b""
    if handler == b"vide":
        for each in boxes(data, entry.content + VISUAL_ENTRY, entry.end, partial=True):
            if each.kind in (b"avcC", b"hvcC") and each.end <= entry.end:
                configuration = bytes(data[each.content : each.end])
    number = int.from_bytes(data[at : at + 4], "big")
    return Track(number, handler, entry.kind, configuration, list(_table(data, trak)))


def _table(data: Bytes, trak: Box) -> Iterator[Sample]:
    """The samples of a plain file's index; none where all of them are in fragments."""
    stbl = find(data, trak, b"mdia", b"minf", b"stbl")
    kinds = {each.kind: each for each in boxes(data, stbl.content, stbl.end)} if stbl is not None else {}

    def numbers(kind: bytes, head: int, form: str) -> list[tuple[int, ...]]:
        box = kinds.get(kind)
        if box is None:
            return []
        (count,) = struct.unpack(">I", data[box.content + head - 4 : box.content + head])
        width = struct.calcsize(form)
        if box.content + head + count * width > box.end:
            raise Malformed(f"MP4: {kind.decode()} has {count} entries and is too short for them")
        begin = box.content + head
        return list(struct.iter_unpack(form, bytes(data[begin : begin + count * width])))

    if b"stsz" not in kinds:
        return
    stsz = kinds[b"stsz"]
    fixed, count = struct.unpack(">II", data[stsz.content + 4 : stsz.content + 12])
    sizes = [fixed] * min(count, len(data)) if fixed else [size for (size,) in numbers(b"stsz", 12, ">I")]
    chunks = numbers(b"co64", 8, ">Q") or numbers(b"stco", 8, ">I")
    runs = numbers(b"stsc", 8, ">III")
    at = run = 0
    for number, (place,) in enumerate(chunks, start=1):
        while run + 1 < len(runs) and runs[run + 1][0] <= number:
            run += 1
        for _ in range(runs[run][1] if runs else 0):
            if at == len(sizes):
                return
            yield Sample(place, sizes[at])
            place += sizes[at]
            at += 1


def _fragment(data: Bytes, moov: Box, moof: Box) -> Iterator[tuple[int, Sample]]:
    """``(track, sample)`` of one fragment (§8.8.4 to §8.8.8)."""
    defaults = {}
    mvex = find(data, moov, b"mvex")
    if mvex is not None:
        for trex in boxes(data, mvex.content, mvex.end):
            if trex.kind == b"trex":
                number, _, _, size, _ = struct.unpack(">5I", data[trex.content + 4 : trex.content + 24])
                defaults[number] = size
    for traf in boxes(data, moof.content, moof.end):
        if traf.kind != b"traf":
            continue
        tfhd = find(data, traf, b"tfhd")
        if tfhd is None:
            raise Malformed("MP4: a fragment of a track without tfhd")
        flags, number = struct.unpack(">II", data[tfhd.content : tfhd.content + 8])
        at, base, size = tfhd.content + 8, moof.begin, defaults.get(number, 0)
        if flags & 0x1:
            base, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        at += 4 * bool(flags & 0x2) + 4 * bool(flags & 0x8)
        if flags & 0x10:
            size = int.from_bytes(data[at : at + 4], "big")
        place = base
        for trun in boxes(data, traf.content, traf.end):
            if trun.kind == b"trun":
                for sample in _run(data, trun, base, place, size):
                    yield number, sample
                    place = sample.place + sample.size


def _run(data: Bytes, trun: Box, base: int, place: int, usual: int) -> Iterator[Sample]:
    flags, count = struct.unpack(">II", data[trun.content : trun.content + 8])
    at = trun.content + 8
    if flags & 0x1:
        (offset,) = struct.unpack(">i", data[at : at + 4])
        place, at = base + offset, at + 4
    at += 4 * bool(flags & 0x4)
    before, width = 4 * bool(flags & 0x100), 4 * (flags >> 8 & 0xF).bit_count()
    if at + count * width > trun.end:
        raise Malformed(f"MP4: trun has {count} entries and is too short for them")
    for _ in range(count):
        size = int.from_bytes(data[at + before : at + before + 4], "big") if flags & 0x200 else usual
        at += width
        yield Sample(place, size)
        place += size

"""MP4 files without a picture in them: their tables alone say how long they last."""

from __future__ import annotations

import struct

SCALE = 90_000


def box(kind: bytes, *parts: bytes) -> bytes:
    """One box."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _track(number: int, handler: bytes, table: bytes, scale: int) -> bytes:
    about = box(b"tkhd", struct.pack(">I8xI", 0, number), bytes(68))
    head = box(b"mdhd", struct.pack(">I8xIII", 0, scale, 0, 0))
    kind = box(b"hdlr", bytes(8), handler, bytes(13))
    return box(b"trak", about, box(b"mdia", head, kind, box(b"minf", box(b"stbl", table))))


def film(lasts_s: float, *, pictures: int = 10, note: str = "") -> bytes:
    """A plain MP4 that lasts so long, a second of sound behind its pictures."""
    ticks = round(lasts_s * SCALE)
    each = ticks // pictures
    times = [(pictures - 1, each), (1, ticks - each * (pictures - 1))]
    table = box(b"stts", struct.pack(">II", 0, 2), *(struct.pack(">II", *time) for time in times))
    sound = box(b"stts", struct.pack(">IIII", 0, 1, 1000, 48))
    tracks = [_track(2, b"soun", sound, 48_000), _track(1, b"vide", table, SCALE)]
    return box(b"ftyp", b"isom") + box(b"mdat", note.encode()) + box(b"moov", *tracks)


def fragmented(lasts_s: float, *, fragments: int = 2, each: bool = True) -> bytes:
    """The same in fragments of one run; ``each`` picture has its own duration, or all have that of the run's head."""
    empty = box(b"stts", struct.pack(">II", 0, 0))
    usual = round(lasts_s * SCALE / fragments / 5)
    extends = box(b"mvex", box(b"trex", struct.pack(">IIIIII", 0, 1, 1, usual, 0, 0)))
    data = box(b"ftyp", b"iso5") + box(b"moov", _track(1, b"vide", empty, SCALE), extends)
    for _ in range(fragments):
        head = box(b"tfhd", struct.pack(">II", 0x020000, 1))
        if each:
            run = struct.pack(">II", 0x000301, 5) + bytes(4) + struct.pack(">II", usual, 9) * 5
        else:
            run = struct.pack(">II", 0x000001, 5) + bytes(4)
        data += box(b"moof", box(b"mfhd", bytes(8)), box(b"traf", head, box(b"trun", run))) + box(
            b"mdat", bytes(45)
        )
    return data

"""One file of a recording, and its life by its names.

It is fragmented MP4, its bytes never written twice, so that it is good up to its last whole fragment whenever power or process
goes, and its SHA-256 is known when it ends. While it is written it is called ``{start}.part`` (milliseconds since 1970) in the
camera's folder of the spool, or ``{start}.sub.part`` of its second stream, ``{start}.keys.part`` of key frames only; closed,
``.mp4``; and only the ``.json`` beside it, written last and at once, makes it a closed file. A file without one is of a process
that ended, and the next one recovers it (:mod:`drivers.cameras.worker.record.mending`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from drivers.cameras.worker.evidence.film import FilmWriter
from drivers.cameras.worker.frames.group import Frame, Group
from drivers.cameras.worker.frames.mp4 import TICKS, SoundFormat, named_hvc1

LONGEST_HEAD = 1 << 20
"""Bytes: a head is some 1 KiB; what is longer is none, and is written as it is."""

MUXER = {
    "movflags": "empty_moov+default_base_moof+negative_cts_offsets+skip_trailer",
    "frag_duration": "800000",  # µs
    "video_track_timescale": str(TICKS),
    "flush_packets": "1",
    "max_interleave_delta": "500000",
}

Facts = dict[str, Any]


class HashedFile:
    """A file that is only ever appended to. ``size`` and :meth:`sha256` are of what was written so far.

    Of H.265 (``hevc``) the head is held back until it is whole and its sample entry named as players want it
    (:func:`drivers.cameras.worker.frames.mp4.named_hvc1`); nothing that is written is altered otherwise.
    """

    def __init__(self, path: Path, *, hevc: bool = False) -> None:
        self.size = 0
        self._head: bytearray | None = bytearray() if hevc else None
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._digest = hashlib.sha256()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append. Raises ``OSError`` from the disk, with as much written as could be."""
        if self._head is None:
            self._append(data)
            return len(data)
        self._head += data
        named = named_hvc1(self._head)
        if named is not None or len(self._head) > LONGEST_HEAD:
            named, self._head = named or bytes(self._head), None
            self._append(named)
        return len(data)

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            written = self._file.write(view) or 0
            self._digest.update(view[:written])
            self.size += written
            view = view[written:]

    def flush(self) -> None:
        """Nothing but an unfinished head is held back here."""

    def sync(self) -> None:
        """Have the disk keep what was written. Raises ``OSError``, also where the file is no longer where it was made: what is
        written into a file that was removed is nowhere."""
        os.fdatasync(self._file.fileno())
        mine = os.fstat(self._file.fileno())
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            there = None
        # Closed meanwhile, it bears another name by now.
        if (there is None or not os.path.samestat(mine, there)) and not self._file.closed:
            raise FileNotFoundError(errno.ENOENT, "the file being written was removed or its folder replaced")

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()


class SegmentFile:
    """One file on its way. ``film`` knows when its first and its last frame so far were, ``frames`` how many it has."""

    def __init__(
        self, part: Path, group: Group, first: Frame, *, sound: SoundFormat | None, lag: int
    ) -> None:
        """``lag`` is how long the stream's frames are held back, in ticks. Raises ``OSError`` where no file can be made."""
        part.parent.mkdir(parents=True, exist_ok=True)
        self._file = HashedFile(part, hevc=group.stream.codec == "hevc")
        self.film = FilmWriter(self._file, group, first, muxer=MUXER, sound=sound, lag=lag)
        self.frames = 0

    @property
    def bytes(self) -> int:
        return self._file.size

    def sha256(self) -> str:
        return self._file.sha256()

    def add(self, group: Group, frames: list[Frame]) -> None:
        """Write frames of one group, with the sound up to the last of them: sound sent ahead of its picture belongs to the file
        of that picture."""
        self.frames += len(frames)
        self.film.add(group, frames, group.at(max(frame.pts for frame in frames)))

    def sync(self) -> None:
        """As :meth:`HashedFile.sync`."""
        self._file.sync()

    def close(self) -> float:
        """End the file and sync it; returns when its last frame ends. Raises ``OSError``."""
        end_s = self.film.end()
        self._file.sync()
        self._file.close()
        return end_s

    def abandon(self) -> None:
        """Abandon the file; recovery keeps its complete fragments."""
        self.film.let_go()


def seal(folder: Path, stem: str, facts: Facts) -> Facts:
    """Name a finished file and put its facts beside it, each step whole or not at all. Raises ``OSError``."""
    facts = {**facts, "file": f"{stem}.mp4"}
    (folder / f"{stem}.part").rename(folder / f"{stem}.mp4")
    fresh = folder / f"{stem}.json.new"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(folder / f"{stem}.json")
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
    return facts

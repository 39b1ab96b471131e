"""One file of a clip, from its first frame to its SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from drivers.cameras.worker.evidence.film import FilmWriter, Progress
from drivers.cameras.worker.frames.group import Frame, Group
from drivers.cameras.worker.frames.mp4 import TICKS, SoundFormat, name_hvc1

MUXER = {
    "movflags": "hybrid_fragmented+frag_keyframe+default_base_moof+negative_cts_offsets",
    "video_track_timescale": str(TICKS),
    "flush_packets": "1",
    "max_interleave_delta": "1000000",  # µs: pictures do not wait longer for a sound that stays away
}


class ClipFile:
    """One file on its way. ``film`` takes its frames."""

    def __init__(
        self,
        target: Path,
        group: Group,
        first: Frame,
        *,
        sound: SoundFormat | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        """``progress`` is called for each fragment as it is written. Raises ``OSError`` where no file can be made."""
        target.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._file = target.open("w+b")
        self.film = FilmWriter(self._file, group, first, muxer=MUXER, sound=sound, progress=progress)

    def finish(self) -> tuple[float, int, str]:
        """Close the file, sync it and hash it: ``(end_s, bytes, sha256)``. Raises ``OSError`` from the disk."""
        end_s = self.film.end()
        if self.film.video.codec == "hevc":
            name_hvc1(self._file)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha256").hexdigest()
        size = self._file.seek(0, os.SEEK_END)
        self._file.close()
        return end_s, size, digest

    def discard(self) -> None:
        """Remove what was written."""
        self.film.let_go()
        self._target.unlink(missing_ok=True)

"""What a camera process that ended was recording: cut to its last whole fragment, measured, and closed like any other.

What cannot be read at all is set aside under another name and told, never removed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import av

from drivers.cameras.worker.record.recorders import NICE
from drivers.cameras.worker.record.recording import AFTER_TROUBLE_S
from drivers.cameras.worker.record.segment_file import Facts, seal
from drivers.cameras.worker.threads import THREADS
from gateway.domain.boxes import OpenFile, boxes
from gateway.domain.errors import Malformed

log = logging.getLogger(__name__)

SET_ASIDE = ".broken"


class Mending:
    """Which folder is mended by whom: a recorded camera's by its recorder, before its turns; those of all others once, by a
    thread that stands back. A camera that was taken out of the plan, or that gives way, has no recorder that would do it."""

    def __init__(self, closed: Callable[[Facts], None]) -> None:
        """``closed`` hears the facts of every file that the thread closes."""
        self._closed = closed
        self._recorded: set[str] = set()
        self._at_work: dict[str, threading.Lock] = {}
        self._begun = False
        self._told = ""
        self._never = threading.Event()

    def recorded(self, camera: str) -> None:
        """From now on the camera's folder is its recorder's: said before it is recorded, for the thread cannot tell a file that
        is being written from one that was left."""
        self._recorded.add(camera)

    def mend(self, folder: Path) -> list[Facts]:
        """As :func:`mend`, of a recorded camera's folder; after the one file of it that the thread may be closing."""
        with self._lock(folder.name):
            return mend(folder)

    def begin(self, recordings: Path) -> None:
        """Have the thread mend the folders below ``recordings`` that are no recorded camera's. Harmless when repeated."""
        if not self._begun:
            self._begun = True
            THREADS.begin("mending", lambda: self._work(recordings))

    def _lock(self, camera: str) -> threading.Lock:
        return self._at_work.setdefault(camera, threading.Lock())

    def _work(self, recordings: Path) -> None:
        if sys.platform == "linux":  # evidence of an alarm goes first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while not self._all_mended(recordings):
            self._never.wait(AFTER_TROUBLE_S)

    def _all_mended(self, recordings: Path) -> bool:
        """Close what lies open there, oldest first; false where the disk refused some of it."""
        trouble = ""
        found: list[Path] = []
        try:
            for folder in recordings.iterdir():
                with suppress(NotADirectoryError, PermissionError):  # lost+found: no recorder wrote there
                    found += folder.iterdir()
        except (FileNotFoundError, NotADirectoryError):
            pass  # nothing was ever recorded
        except OSError as exc:
            trouble = f"{recordings}: {exc.strerror or exc}"
        for path in sorted(found, key=lambda path: path.name):
            try:
                with self._lock(path.parent.name):
                    facts = None if path.parent.name in self._recorded else _mended(path)
            except OSError as exc:
                trouble = f"{path}: {exc.strerror or exc}"
            else:
                if facts is not None:
                    self._closed(facts)
        if trouble and trouble != self._told:
            log.error("what was being recorded cannot be closed yet: %s", trouble)
        self._told = trouble
        return not trouble


def mend(folder: Path) -> list[Facts]:
    """Close what lies open in one camera's folder, oldest first; the facts of each. Makes the folder if there is none.

    Raises ``OSError`` where the disk refuses: then nothing was lost, and it is to be tried again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for path in sorted(folder.iterdir()):
        facts = _mended(path)
        if facts is not None:
            found.append(facts)
    return found


def _mended(path: Path) -> Facts | None:
    """Close one file if it lies open; ``None`` where it does not, and where nothing of it can be kept."""
    try:
        if path.name.endswith(".json.new"):
            path.unlink()
        elif path.suffix in (".part", ".mp4") and not path.with_suffix(".json").exists():
            return _closed(path)
    except FileNotFoundError:  # it was closed, and the gateway has taken it since it was listed
        pass
    return None


def _closed(path: Path) -> Facts | None:
    try:
        size = whole_bytes(path)
        if not size:  # its head, and no picture yet
            path.unlink()
            return None
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        measured = _measured(path)
        began, _, kept = path.stem.partition(".")
        start = int(began) / 1000
    except (Malformed, ValueError) as exc:
        log.error("what was recorded into %s cannot be read and is set aside: %s", path, exc)
        path.rename(path.with_suffix(SET_ASIDE))
        return None
    facts = {
        "camera": path.parent.name,
        "start": start,
        "end": start + measured.pop("lasts_s"),
        "bytes": size,
        "sha256": digest,
        "clock": "arrival",
        "keys_only": kept == "keys",
        "substream": kept == "sub",
        "pauses": [],
        **measured,
    }
    if path.suffix == ".mp4":  # it was named, and its facts were not there yet
        path = path.rename(path.with_suffix(".part"))
    return seal(path.parent, path.stem, facts)


def whole_bytes(path: Path) -> int:
    """Up to where a fragmented MP4 is whole: its head, and each fragment with its data; 0 where not even one had begun.

    Raises ``Malformed`` where there is more than a head and no whole fragment.
    """
    whole = 0
    headed, fragment, begun = False, False, False
    with path.open("rb") as file:
        data = OpenFile(file)
        end = len(data)
        for box in boxes(data, partial=True):
            begun = begun or box.kind not in (b"ftyp", b"moov", b"free")
            if box.end > end:
                break
            if box.kind == b"moov":
                headed = True
            elif box.kind == b"moof":
                fragment = True
            elif box.kind == b"mdat" and headed and fragment:
                whole, fragment = box.end, False
    if not whole and begun:
        raise Malformed(f"{end} bytes without one whole fragment")
    return whole


def _measured(path: Path) -> dict[str, Any]:
    """What the file itself tells. Raises ``Malformed``."""
    frames, first, last = 0, None, 0.0
    try:
        with av.open(str(path), "r") as source:
            video = source.streams.video[0]
            context = video.codec_context
            for packet in source.demux(video):
                if packet.size and packet.pts is not None:
                    at = float(packet.pts * packet.time_base)
                    frames += 1
                    first = at if first is None else min(first, at)
                    last = max(last, at + float((packet.duration or 0) * packet.time_base))
            facts = {"codec": context.name, "width": context.width, "height": context.height}
    except (av.FFmpegError, IndexError) as exc:
        raise Malformed(str(exc)) from exc
    if first is None:
        raise Malformed("no picture in it")
    return {**facts, "frames": frames, "lasts_s": last - first}

"""The finished files of recordings, as the gateway's process finds and takes them. Imports no media library."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.domain.errors import Unavailable
from gateway.domain.recording import ClosedFile, Quality

log = logging.getLogger(__name__)


class SpooledRecordings:
    """:class:`gateway.ports.recordings.RecordedFiles` in the folder that ``recording.py`` writes: a folder for each camera, facts
    in ``{start}.json`` beside ``{start}.mp4``."""

    def __init__(self, folder: Path, *, set_aside: bool = True) -> None:
        """Without ``set_aside`` nothing is changed: facts that cannot be read are passed over."""
        self._folder, self._set_aside = folder, set_aside

    async def closed(self) -> list[ClosedFile]:
        return await asyncio.to_thread(self._closed)

    async def forget(self, file: ClosedFile) -> None:
        await asyncio.to_thread(self._forget, file)

    def _closed(self) -> list[ClosedFile]:
        try:
            facts = [path for path in self._folder.glob("*/*.json") if path.is_file()]
            found = [each for path in facts if (each := _read(path, self._set_aside)) is not None]
        except OSError as exc:
            raise Unavailable(f"the spool of recordings cannot be read: {exc.strerror or exc}") from exc
        return sorted(found, key=lambda file: file.start)

    @staticmethod
    def _forget(file: ClosedFile) -> None:
        try:
            # The facts last: a file without them would be taken for one that a crash left open.
            file.path.unlink(missing_ok=True)
            file.path.with_suffix(".json").unlink(missing_ok=True)
        except OSError as exc:
            raise Unavailable(f"{file.path} cannot be removed: {exc.strerror or exc}") from exc


def _read(path: Path, set_aside: bool) -> ClosedFile | None:
    try:
        facts = json.loads(path.read_text("utf-8"))
        return ClosedFile(
            camera=facts["camera"],
            start=_wall(facts["start"]),
            end=_wall(facts["end"]),
            frames=int(facts["frames"]),
            bytes=int(facts["bytes"]),
            sha256=str(facts["sha256"]),
            path=path.with_suffix(".mp4"),
            quality=_quality(facts),
            pauses=tuple((_wall(a), _wall(b)) for a, b in facts["pauses"]),
        )
    except (ValueError, KeyError, TypeError) as exc:
        if set_aside:
            log.error("%s is not what a recorder writes and is set aside: %s", path, exc)
            path.rename(path.with_suffix(".broken"))
        return None


def _quality(facts: dict[str, Any]) -> Quality:
    if facts.get("substream"):
        return Quality.SUBSTREAM
    return Quality.KEYFRAMES if facts.get("keys_only") else Quality.FULL


def _wall(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)

"""A camera bank that does as it is told: for tests of the stages, where what a camera does is the given."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from gateway.domain.errors import Unavailable
from gateway.domain.evidence import ClipTaken, StillTaken
from gateway.ports import CameraHealth, Clock, LivePlaylist


class ScriptedCameras:
    """:class:`gateway.ports.CameraBank`. ``down`` cameras answer with their reason; ``hang`` cameras never answer.

    ``calls`` keeps ``(what, camera, start)`` in order; ``fail_first`` refuses that many calls for a camera before it works.
    """

    def __init__(self, clock: Clock, cameras: tuple[str, ...] = ("cam-a", "cam-b")) -> None:
        self._clock = clock
        self._cameras = cameras
        self.down: dict[str, str] = {}
        self.hang: set[str] = set()
        self.raises: dict[str, Exception] = {}
        self.fail_first: dict[str, int] = {}
        self.snapshots: set[str] = set()
        self.calls: list[tuple[str, str, datetime]] = []
        self.shortfall: str | None = None

    async def _gate(self, what: str, camera: str, at: datetime) -> None:
        self.calls.append((what, camera, at))
        if camera in self.hang:
            await asyncio.Event().wait()
        if camera in self.raises:
            raise self.raises[camera]
        if camera in self.down:
            raise Unavailable(self.down[camera])
        if self.fail_first.get(camera, 0) > 0:
            self.fail_first[camera] -= 1
            raise Unavailable("frame on its way")

    async def take_still(self, camera: str, at: datetime) -> StillTaken:
        await self._gate("still", camera, at)
        return StillTaken(
            jpeg=f"jpeg {camera} {at.isoformat()}".encode(),
            taken_at=at,
            offset_ms=12,
            clock="rtcp",
            source="ring",
        )

    async def fetch_snapshot(self, camera: str) -> StillTaken:
        now = self._clock.now()
        await self._gate("snapshot", camera, now)
        return StillTaken(jpeg=b"snapshot", taken_at=now, offset_ms=0, clock="arrival", source="onvif")

    async def cut_clip(self, camera: str, start: datetime, end: datetime, target: Path) -> ClipTaken:
        await self._gate("clip", camera, start)
        await self._clock.sleep((end - self._clock.now()).total_seconds())
        data = f"mp4 {camera} {start.isoformat()} {end.isoformat()}".encode()
        try:
            target.write_bytes(data)  # noqa: ASYNC240 - a few bytes
        except OSError as exc:  # as the real one says it
            raise Unavailable(f"writing {target.name}: {exc.strerror}") from exc
        return ClipTaken(
            start=start,
            end=end,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            clock="rtcp",
            shortfall=self.shortfall,
        )

    async def live_playlist(self, camera: str) -> LivePlaylist:
        raise Unavailable("no live picture in this test")

    async def live_part(self, camera: str, name: str) -> bytes:
        raise Unavailable("no live picture in this test")

    def health(self) -> Mapping[str, CameraHealth]:
        return {
            c: CameraHealth(
                camera=c,
                healthy=c not in self.down,
                cause=self.down.get(c, ""),
                since=self._clock.now(),
                offers_snapshot=c in self.snapshots,
            )
            for c in self._cameras
        }

"""A camera bank that does as it is told: for tests of the stages, where what a camera does is the given."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from gateway.domain.camera import CameraHealth, LivePlaylist
from gateway.domain.errors import Unavailable
from gateway.domain.evidence import ClipTaken, StillTaken
from gateway.ports.clock import Clock
from tests.support.films import film


class ScriptedCameras:
    """:class:`gateway.ports.cameras.CameraBank`. ``down`` cameras answer with their reason; ``hang`` cameras never answer.

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
        self.holds_s: float | None = None  # what clips really hold, where that is not what they claim
        self.asked_s: list[
            tuple[str, datetime, float | None]
        ] = []  # (what, from when, on the monotonic clock)

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

    async def take_still(self, camera: str, at: datetime, *, at_s: float | None = None) -> StillTaken:
        self.asked_s.append(("still", at, at_s))
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

    async def cut_clip(
        self,
        camera: str,
        start: datetime,
        end: datetime,
        target: Path,
        *,
        span_s: tuple[float, float] | tuple[None, None] = (None, None),
    ) -> ClipTaken:
        self.asked_s.append(("clip", start, span_s[0]))
        await self._gate("clip", camera, start)
        over_s = (end - self._clock.now()).total_seconds()
        await self._clock.sleep(over_s if span_s[1] is None else span_s[1] - self._clock.monotonic())
        lasts_s = self.holds_s if self.holds_s is not None else (end - start).total_seconds()
        data = film(lasts_s, note=f"{camera} {start.isoformat()} {end.isoformat()}")
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

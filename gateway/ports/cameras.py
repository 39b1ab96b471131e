"""The cameras of the site."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from gateway.domain.camera import CameraHealth, LivePlaylist
from gateway.domain.evidence import ClipTaken, StillTaken


class CameraBank(Protocol):
    """All cameras of the site, in a process of their own.

    Every method may be called for several cameras at once and is cancellation-safe. Where a camera cannot deliver, it
    raises :class:`~gateway.domain.errors.Unavailable` with a reason fit for the manifest; a camera that hangs never
    holds up another one. If the camera process dies, every pending call raises ``Unavailable`` at once and the
    process is started again (armed within 3 s).
    """

    async def take_still(self, camera: str, at: datetime, *, at_s: float | None = None) -> StillTaken:
        """The decoded frame nearest to ``at``, waiting a moment where the frame is still on its way; one up to half a second off
        where very many are asked for at once. ``offset_ms`` tells. ``at_s`` is the same instant on the monotonic clock, where
        the caller knows it: the wall clock may have been set since ``at`` was read from it. ``taken_at`` is by the clock of
        ``at``."""

    async def fetch_snapshot(self, camera: str) -> StillTaken:
        """The camera's own snapshot, fetched now; ``Unavailable`` if it offers none or is too slow."""

    async def cut_clip(
        self,
        camera: str,
        start: datetime,
        end: datetime,
        target: Path,
        *,
        span_s: tuple[float, float] | tuple[None, None] = (None, None),
    ) -> ClipTaken:
        """Write the span to ``target`` as MP4, stream copy from the key frame before ``start``. ``span_s`` is the same on the
        monotonic clock, as with :meth:`take_still`; what is returned is by the clock of ``start``.

        Begins at once with what the ring holds and goes on until ``end``, which may lie in the future, so the ring
        need not be as long as the clip. Returns a shorter clip with its ``shortfall`` rather than raising, unless
        there is nothing at all. The file is complete and synced to disk when this returns.
        """

    async def live_playlist(self, camera: str) -> LivePlaylist:
        """The live picture's newest segments; ``Unavailable`` while the camera is, ``NotPlayable`` (a kind of it) where it
        has no stream that browsers play. Opens the camera's second stream where its main one is H.265."""

    async def live_part(self, camera: str, name: str) -> bytes:
        """The bytes of one segment or initialisation part; ``Unavailable`` once it has left the ring."""

    def health(self) -> Mapping[str, CameraHealth]:
        """The last known health of every camera of the plan; never blocks."""

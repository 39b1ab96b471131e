"""Sharing: what many alarms ask of one camera at once is taken once.

A hundred contacts of one building may close in one second with the same cameras mapped to each. Cutting the same minute of 16
cameras a hundred times would write 48 GB; here the cuts that wait for a camera share one, as commits that wait share one in the
store. Nothing waits for it: an alarm that is alone is served as if this were not here.

Stills are shared further down, where it is known which frame they show.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from gateway.domain.camera import CameraHealth, LivePlaylist
from gateway.domain.errors import Unavailable
from gateway.domain.evidence import ClipTaken, StillTaken
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock

T = TypeVar("T")

#: Spans that begin and end within this of each other share one cut: nobody is given more of others' time than this.
NEAR = timedelta(seconds=2)
#: A clip whose end is still to come may wait so long for others that want the same; the ring's margin is far longer.
GATHER_S = 0.25


Span = tuple[float, float] | tuple[None, None]


@dataclass(slots=True)
class _Cut:
    """One cut and who wants it; ``begun`` closes it to others."""

    start: datetime
    end: datetime
    span_s: Span
    targets: list[Path]
    done: asyncio.Future[ClipTaken]
    begun: bool = False

    def near(self, start: datetime, end: datetime, span_s: Span) -> bool:
        """Whether that span may share it: near by the wall clock, and by the one that never jumps where that is known."""
        for mine, theirs in zip(self.span_s, span_s, strict=True):
            if (mine is None) is not (theirs is None):
                return False
            if mine is not None and theirs is not None and abs(theirs - mine) > NEAR.total_seconds():
                return False
        return not self.begun and abs(start - self.start) <= NEAR and abs(end - self.end) <= NEAR

    def widen(self, start: datetime, end: datetime, span_s: Span) -> None:
        """Take that span in as well."""
        self.start, self.end = min(self.start, start), max(self.end, end)
        if self.span_s[0] is not None and span_s[0] is not None:
            self.span_s = (min(self.span_s[0], span_s[0]), max(self.span_s[1], span_s[1]))


@dataclass(slots=True)
class _Camera:
    """What is asked of one camera now. ``turn`` lets one cut of what has been filmed go at a time."""

    waiting: list[_Cut] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    snapshot: asyncio.Future[StillTaken] | None = None
    snapshots: asyncio.Lock = field(default_factory=asyncio.Lock)


class SharedCameras:
    """:class:`gateway.ports.cameras.CameraBank` in front of another one."""

    def __init__(self, inner: CameraBank, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self._cameras: dict[str, _Camera] = {}

    async def cut_clip(
        self, camera: str, start: datetime, end: datetime, target: Path, *, span_s: Span = (None, None)
    ) -> ClipTaken:
        """As the contract says; what is shared covers the spans of all who share it, so its ``shortfall`` may name up to
        two seconds that this one did not ask for."""
        known = self._cameras.setdefault(camera, _Camera())
        for cut in known.waiting:
            if cut.near(start, end, span_s):
                cut.widen(start, end, span_s)
                cut.targets.append(target)
                return await _shared(cut.done)
        cut = _Cut(start, end, span_s, [target], asyncio.get_running_loop().create_future())
        known.waiting.append(cut)
        try:
            ahead_s = (end - self._clock.now()).total_seconds()
            if (ahead_s if span_s[1] is None else span_s[1] - self._clock.monotonic()) > 0:
                await self._clock.sleep(GATHER_S)
                taken = await self._cut(camera, cut)
            else:
                async with known.turn:
                    taken = await self._cut(camera, cut)
            cut.done.set_result(taken)
        except BaseException as exc:
            told = (
                exc
                if isinstance(exc, Unavailable)
                else Unavailable("the cut shared with another alarm broke off")
            )
            cut.done.set_exception(told)
            cut.done.exception()  # looked at: where nobody shares it, nobody else will
            raise
        finally:
            known.waiting.remove(cut)
        return taken

    async def _cut(self, camera: str, cut: _Cut) -> ClipTaken:
        """Cut into the first one's file and give the others names of their own for it: files are written once, so that is as
        good as a copy."""
        cut.begun = True
        first, *others = cut.targets
        taken = await self._inner.cut_clip(camera, cut.start, cut.end, first, span_s=cut.span_s)
        for other in others:
            other.unlink(missing_ok=True)
            os.link(first, other)
        return taken

    async def fetch_snapshot(self, camera: str) -> StillTaken:
        """One at a time, and those who wait share the next one: a camera asked for a hundred pictures at once gives none."""
        known = self._cameras.setdefault(camera, _Camera())
        if known.snapshot is not None:
            return await _shared(known.snapshot)
        if not known.snapshots.locked():
            async with known.snapshots:
                return await self._inner.fetch_snapshot(camera)
        coming: asyncio.Future[StillTaken] = asyncio.get_running_loop().create_future()
        known.snapshot = coming
        try:
            async with known.snapshots:
                known.snapshot = None
                coming.set_result(await self._inner.fetch_snapshot(camera))
        except BaseException as exc:
            coming.set_exception(
                exc if isinstance(exc, Unavailable) else Unavailable("the shared fetch broke off")
            )
            coming.exception()
            raise
        finally:
            if known.snapshot is coming:
                known.snapshot = None
        return coming.result()

    async def take_still(self, camera: str, at: datetime, *, at_s: float | None = None) -> StillTaken:
        return await self._inner.take_still(camera, at, at_s=at_s)

    async def live_playlist(self, camera: str) -> LivePlaylist:
        return await self._inner.live_playlist(camera)

    async def live_part(self, camera: str, name: str) -> bytes:
        return await self._inner.live_part(camera, name)

    def health(self) -> Mapping[str, CameraHealth]:
        return self._inner.health()


async def _shared(future: asyncio.Future[T]) -> T:
    """Wait with others: who leaves does not take it from them."""
    return await asyncio.shield(future)

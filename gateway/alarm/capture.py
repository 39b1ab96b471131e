"""Capture: what is asked of a camera, tried until the camera gives it or it can no longer come. Nothing here is written to the
database or to the object store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from gateway.box.instants import Instants
from gateway.domain.errors import Malformed, Unavailable
from gateway.domain.evidence import ClipTaken, Evidence, Kind, Moment
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.ports.objects import Spool

log = structlog.get_logger(__name__)

MEDIA_TYPES = {Kind.STILL: "image/jpeg", Kind.CLIP: "video/mp4"}
STILL_GIVEN_UP_S = 8.0  # after the instant asked for: a frame that is not there by then has left the chain
#: … but where frames do come and the box is only busy (a hundred alarms at once), as long as the ring surely holds the
#: instant: it keeps 15 s beyond the earliest one asked for.
BUSY_GIVEN_UP_S = 14.0
CLIP_GIVEN_UP_S = 10.0  # after the span's end
RETRY_S = 0.5
LASTS_WITHIN_S = (
    0.5  # what a clip's file and its claim may differ by: the last picture's duration, at two a second
)


@dataclass(frozen=True, slots=True)
class Obtained:
    """What a camera gave: a still's bytes, or (``None``) a clip that it wrote into the spool itself."""

    item: Evidence
    jpeg: bytes | None


class Capture:
    """Asks the cameras. ``need_room`` raises ``Unavailable`` where there is none for a clip; ``instants`` are those of the items,
    under ``("from", id)`` and ``("to", id)``."""

    def __init__(
        self,
        *,
        clock: Clock,
        cameras: CameraBank,
        spool: Spool,
        instants: Instants,
        need_room: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._cameras = cameras
        self._spool = spool
        self._instants = instants
        self._need_room = need_room

    def from_s(self, item: Evidence) -> float:
        """When it begins, on the clock that never jumps."""
        return self._instants.at_s(("from", item.id), item.start)

    def _to_s(self, item: Evidence) -> float:
        return self._instants.at_s(("to", item.id), item.end)

    async def obtain(self, item: Evidence, key: str, *, tried: Callable[[], None]) -> Obtained:
        """Try until the camera has given it. Raises ``Unavailable`` or ``Refused`` once it can no longer come.

        ``tried`` is called after each try at a still out of the ring.
        """
        asked_s = max(self._to_s(item), self._clock.monotonic())
        while True:
            try:
                return await (
                    self._still(item, key, tried) if item.kind is Kind.STILL else self._clip(item, key)
                )
            except Unavailable:
                # The camera's own snapshot is not tried again: one of later shows something else.
                if item.source == "onvif" or self._clock.monotonic() - asked_s >= self._patience(item):
                    raise
                await self._clock.sleep(RETRY_S)

    def _patience(self, item: Evidence) -> float:
        """How many seconds after it was due an item may still come."""
        if item.kind is not Kind.STILL:
            return CLIP_GIVEN_UP_S
        known = self._cameras.health().get(item.camera)
        busy = known is not None and known.healthy
        return BUSY_GIVEN_UP_S if busy else STILL_GIVEN_UP_S

    async def _still(self, item: Evidence, key: str, tried: Callable[[], None]) -> Obtained:
        if item.source == "onvif":
            late_s = self._clock.monotonic() - self.from_s(item)
            taken = await self._cameras.fetch_snapshot(item.camera)
            offset_ms = round(late_s * 1000) + taken.offset_ms
            taken = replace(
                taken, offset_ms=offset_ms, taken_at=item.start + timedelta(milliseconds=offset_ms)
            )
        else:
            try:
                taken = await self._cameras.take_still(item.camera, item.start, at_s=self._named_s(item)[0])
            finally:
                tried()
        item = replace(
            item,
            taken_at=taken.taken_at,
            offset_ms=taken.offset_ms,
            clock=taken.clock,
            source=taken.source,
            media_type=MEDIA_TYPES[item.kind],
            bytes=len(taken.jpeg),
            sha256=hashlib.sha256(taken.jpeg).hexdigest(),
            key=key,
        )
        return Obtained(item, taken.jpeg)

    async def _clip(self, item: Evidence, key: str) -> Obtained:
        self._need_room()
        target = self._spool.path(item.file_name)
        taken = await self._cameras.cut_clip(
            item.camera, item.start, item.end, target, span_s=self._named_s(item)
        )
        taken = await self._checked(taken, item.file_name)
        item = replace(
            item,
            start=taken.start,
            end=taken.end,
            wanted_start=item.start,
            wanted_end=item.end,
            taken_at=taken.start,
            offset_ms=round((taken.start - item.start).total_seconds() * 1000),
            clock=taken.clock,
            source="ring",
            media_type=MEDIA_TYPES[item.kind],
            bytes=taken.bytes,
            sha256=taken.sha256,
            key=key,
            reason=taken.shortfall,
        )
        await self._spool.seal(item.file_name)
        return Obtained(item, None)

    async def _checked(self, taken: ClipTaken, name: str) -> ClipTaken:
        """The clip with no claim its file does not bear out."""
        claimed_s = (taken.end - taken.start).total_seconds()
        try:
            lasts_s = await self._spool.lasts_s(name)
        except (Malformed, Unavailable) as exc:
            wrong = f"how long it lasts could not be read from the file ({exc})"
        else:
            if abs(lasts_s - claimed_s) <= LASTS_WITHIN_S:
                return taken
            taken = replace(taken, end=taken.start + timedelta(seconds=lasts_s))
            wrong = (
                f"the file holds {lasts_s:.1f} s, and not the {claimed_s:.1f} s that the camera process named"
            )
        log.error("evidence.claim", file=name, cause=wrong)
        return replace(taken, shortfall="; ".join(text for text in (taken.shortfall, wrong) if text))

    def _named_s(self, item: Evidence) -> tuple[float, float] | tuple[None, None]:
        """Its span on the clock that never jumps; of what the centre names by its own times only the cameras' history knows."""
        if item.moment is Moment.REQUESTED:
            return (None, None)
        return (self.from_s(item), self._to_s(item))

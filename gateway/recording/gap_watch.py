"""The watch for gaps: within seconds of a camera's last frame a gap is on record, with its cause as it is then, and a fault.

It ends with the first frame of what is recorded next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import structlog

from gateway.domain.camera import CameraHealth
from gateway.domain.errors import Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.plan import Site
from gateway.domain.recording import GapCause, Quality
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.recording.gap_causes import Why, why_not_recorded
from gateway.recording.ledger import GAP_AFTER, Ledger
from gateway.recording.spool_room import SpoolRoom

log = structlog.get_logger(__name__)

TICK_EVERY_S = 1.0


class GapWatch:
    """The stage. ``run`` works until cancelled, once the ledger is resumed."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        cameras: CameraBank,
        site: Site,
        spool: SpoolRoom,
        allowed: Callable[[str], Quality | None],
        give_way: Callable[[Collection[str], Collection[str], Collection[str]], None],
    ) -> None:
        """``allowed`` is what may be recorded of a camera while room is short. ``give_way`` is called with the cameras that
        are not recorded, recorded by their key frames only, and recorded by their second stream."""
        self._ledger, self._clock, self._cameras, self._site = ledger, clock, cameras, site
        self._spool, self._allowed, self._give_way = spool, allowed, give_way
        self._seen: dict[str, datetime] = {}  # up to when each was recorded at the last tick
        # Up to when each was recorded as the clock was set, by the clock before.
        self._stale: dict[str, datetime] = {}
        self._why_now: dict[str, Why] = {}
        self._gave_way: frozenset[str] = frozenset()

    @property
    def causes(self) -> Mapping[tuple[FaultKind, str], str]:
        """What is wrong now; supervising makes faults of it."""
        causes: dict[tuple[FaultKind, str], str] = {}
        for camera, gap in self._ledger.open_gaps.items():
            if camera in self._gave_way:  # whoever measures the room has a fault for it
                continue
            why = self._why_now.get(camera)  # as it is now: a gap keeps the cause it began with
            cause, detail = (gap.cause, gap.detail) if why is None else (why.cause, why.detail)
            causes[FaultKind.CAMERA, f"{camera} recording"] = (
                f"{self._where(camera)} has not been recorded since {gap.start:%H:%M:%S}Z ({cause}): {detail}"
            )
        if self._spool.unmeasured:
            causes[FaultKind.DISK, "recordings unmeasured"] = self._spool.unmeasured
        for camera, health in self._cameras.health().items():
            if health.substream_missing:
                causes[FaultKind.CAMERA, f"{camera} substream"] = (
                    f"room is short and the second stream of {self._where(camera)} cannot be recorded in place of its main one "
                    f"({health.substream_missing}): it is recorded in full until its next step of storage.when_full"
                )
        if self._spool.full and self._ledger.recorded:
            causes[FaultKind.DISK, "recordings"] = (
                "the disk that recordings wait on for the store is nearly full, and nothing is recorded until there is room "
                "again; what waits is kept"
            )
        return causes

    async def run(self) -> None:
        while True:
            try:
                await self._tick()
            except Unavailable as exc:
                log.error("recording.cannot_note", cause=exc.reason)
            await self._clock.sleep(TICK_EVERY_S)

    async def _tick(self) -> None:
        now, health = self._clock.now(), self._cameras.health()
        full = await self._spool.measure()
        allowed = {camera: None if full else self._allowed(camera) for camera in self._ledger.recorded}
        self._gave_way = frozenset(camera for camera, quality in allowed.items() if quality is None)
        keys_only, substream = (
            [camera for camera, quality in allowed.items() if quality is asked]
            for asked in (Quality.KEYFRAMES, Quality.SUBSTREAM)
        )
        self._give_way(self._gave_way, keys_only, substream)
        await self._follow_clock(now)
        for camera in self._ledger.recorded:
            await self._watch(camera, health.get(camera), now)

    async def _follow_clock(self, now: datetime) -> None:
        step = self._ledger.clock_step()
        if step is not None:
            self._seen = {camera: seen + step.by for camera, seen in self._seen.items()}
            reported = {camera: health.recorded_until for camera, health in self._cameras.health().items()}
            self._stale = {camera: until for camera, until in reported.items() if until is not None}
        for camera in await self._ledger.follow_clock(step, now):
            self._seen.pop(camera, None)

    async def _watch(self, camera: str, health: CameraHealth | None, now: datetime) -> None:
        until = health.recorded_until if health is not None else None
        since = health.recorded_since if health is not None else None
        if until is not None and (until - now >= GAP_AFTER or until == self._stale.get(camera)):
            until = None  # of before the clock was set back
        covered = self._ledger.covered_until[camera]
        seen = self._seen[camera] = max(until or self._seen.get(camera, covered), covered)
        why = why_not_recorded(health, gave_way=camera in self._gave_way)
        self._why_now.pop(camera, None)
        if why is not None:
            self._why_now[camera] = why
            self._ledger.remember(camera, why)
        gap = self._ledger.open_gaps.get(camera)
        if gap is not None:
            recorded_again = since is not None and since > gap.start
            if recorded_again and since is not None and until is not None and now - until < GAP_AFTER:
                await self._ledger.close_gap(camera, since)
        elif now - seen >= GAP_AFTER and now - self._ledger.started_at >= GAP_AFTER:
            await self._ledger.open_gap(camera, seen, why or Why(GapCause.CAMERA, "no frames come"))

    def _where(self, camera: str) -> str:
        """The camera by name and place, for a person who has to go there."""
        planned = self._site.cameras.get(camera)
        zone = self._site.zones.get(planned.zone) if planned is not None else None
        if planned is None or zone is None:
            return camera
        place = " ".join(str(part) for part in (zone.building, zone.name) if part)
        return f"{planned.name} ({camera}, {place})"

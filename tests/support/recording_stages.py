"""The stages of a recorded minute, put together as the gateway does: the one place in the tests that knows their constructors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.fault import FaultKind
from gateway.domain.plan import Site
from gateway.domain.recording import Quality
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore
from gateway.ports.recordings import RecordedFiles
from gateway.ports.store import Store
from gateway.recording.gap_watch import GapWatch
from gateway.recording.ledger import Ledger
from gateway.recording.spool_room import SpoolRoom
from gateway.recording.taking import Taking


@dataclass
class RecordingStages:
    """``run`` works until cancelled."""

    ledger: Ledger
    taking: Taking
    gap_watch: GapWatch

    @property
    def causes(self) -> Mapping[tuple[FaultKind, str], str]:
        return {**self.gap_watch.causes, **self.taking.causes}

    @property
    def waiting(self) -> int:
        return self.taking.waiting

    def wake(self) -> None:
        self.taking.wake.set()

    async def run(self) -> None:
        await self.ledger.resume()
        async with asyncio.TaskGroup() as stages:
            stages.create_task(self.taking.run(), name="taking")
            stages.create_task(self.gap_watch.run(), name="gap watch")


def build_recording(
    *,
    store: Store,
    clock: Clock,
    objects: ObjectStore,
    files: RecordedFiles,
    cameras: CameraBank,
    site: Site,
    allowed: Callable[[str], Quality | None] = lambda _camera: Quality.FULL,
    give_way: Callable[[Collection[str], Collection[str], Collection[str]], None] = lambda *_: None,
    free_bytes: Callable[[], int] = lambda: 10**12,
    locked_until: Callable[[datetime], datetime | None] = lambda _end: None,
    passed: Callable[[str], None] = lambda _point: None,
) -> RecordingStages:
    """All of it with the clock's own time as the reckoned one."""
    ledger = Ledger(store=store, clock=clock, site=site)
    return RecordingStages(
        ledger=ledger,
        taking=Taking(
            ledger=ledger,
            clock=clock,
            objects=objects,
            files=files,
            reckoned=clock.now,
            locked_until=locked_until,
            passed=passed,
        ),
        gap_watch=GapWatch(
            ledger=ledger,
            clock=clock,
            cameras=cameras,
            site=site,
            spool=SpoolRoom(clock, free_bytes),
            allowed=allowed,
            give_way=give_way,
        ),
    )

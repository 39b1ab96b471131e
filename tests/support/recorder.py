"""Recording at work on one camera: the camera process, the stage, and what is behind them.

Run as a program it does the same and ends itself by SIGKILL at a named point, the stage's or its file store's:
``python -m tests.support.recorder FOLDER RTSP_URL USERNAME PASSWORD POINT NTH``.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drivers.cameras.parent.bank import SubprocessCameraBank
from drivers.cameras.parent.recorded import SpooledRecordings
from drivers.cameras.spec import CameraSpec, OnvifAddress, StreamAddress
from gateway.box.clock import SystemClock
from gateway.domain.errors import Unavailable
from gateway.domain.plan import Camera, Zone
from gateway.domain.recording import SEAM, Gap, Quality, Segment, holes
from gateway.domain.stored import Kept
from gateway.ports.objects import ObjectStore
from simulators.camera.simulated import SimulatedCamera
from storage.objects.local import LocalObjects
from tests.support.builders import site
from tests.support.recording_stages import RecordingStages, build_recording
from tests.support.stores import WatchedStore, opened

FPS = 10
SEGMENT_S = 3.0
START = datetime(2020, 1, 1, tzinfo=UTC)


class MovableObjects(LocalObjects):
    """Objects in a folder that can be away."""

    away = ""

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        if self.away:
            raise Unavailable(self.away)
        return await super().put(key, source, sha256=sha256, locked_until=locked_until)


@dataclass
class School:
    """One recorded camera; ``recording`` is the stage at work."""

    folder: Path
    store: WatchedStore
    objects: MovableObjects
    kept_in: ObjectStore
    bank: SubprocessCameraBank
    stage: RecordingStages
    allowed: dict[str, Quality | None] = field(default_factory=dict)
    free: list[int] = field(default_factory=lambda: [10**12])

    async def ledger(self) -> tuple[list[Segment], list[Gap]]:
        now = datetime.now(UTC)
        return await self.store.inner.read(
            lambda tx: (tx.recordings.segments("cam", START, now), tx.recordings.gaps("cam", START, now))
        )

    async def until(
        self, holds: Callable[[list[Segment], list[Gap]], bool], within_s: float, what: str
    ) -> None:
        """Wait until the ledger is so."""
        deadline_s = time.monotonic() + within_s
        while not holds(*await self.ledger()):
            assert time.monotonic() < deadline_s, (
                f"not within {within_s:.0f} s: {what} ({await self.ledger()})"
            )
            await asyncio.sleep(0.05)

    async def check(self, *, twice: timedelta = SEAM / 4) -> tuple[list[Segment], list[Gap]]:
        """Every instant up to the newest segment is told of, no more than ``twice`` at each seam is shown by two segments, and
        every object is what the ledger says."""
        segments, gaps = await self.ledger()
        since = (await self.store.inner.read(lambda tx: tx.recordings.bounds()))["cam"][0]
        spans = [(s.start, s.end) for s in segments] + [(g.start, g.end or segments[-1].end) for g in gaps]
        assert list(holes(spans, since, segments[-1].end)) == []
        for one, following in itertools.pairwise(segments):
            both = min(one.end, following.end) - following.start
            assert both <= twice, f"two segments show one moment: {both}"
        for one in segments:
            data = b""
            async with self.kept_in.read(one.key, version=one.version) as piece:
                while more := await piece(1 << 20):
                    data += more
            assert (len(data), hashlib.sha256(data).hexdigest()) == (one.bytes, one.sha256)
            assert one.frames == pytest.approx((one.end - one.start).total_seconds() * FPS, rel=0.2, abs=3)
        return segments, gaps


@asynccontextmanager
async def recording(
    folder: Path,
    reached: StreamAddress | OnvifAddress,
    *,
    passed: Callable[[str], None] = lambda _: None,
    away: str = "",
    kept_in: ObjectStore | None = None,
    planned: str = "recorded",
    segment_s: float = SEGMENT_S,
    locked_until: Callable[[datetime], datetime | None] = lambda _end: None,
) -> AsyncIterator[School]:
    """The camera process, the stage and what is behind it, on the data in ``folder``; entering again is a restart. Objects go
    into the folder, or into ``kept_in``. The camera is ``planned`` as "recorded", "alarms-only" or, any other word, not at
    all."""
    clock = SystemClock()
    gate = Zone(id="gate", name="南门", kind="gate", building="门卫室")
    filmed = Camera(id="cam", name="南门枪机", zone="gate", continuous=planned == "recorded")
    in_plan = planned in ("recorded", "alarms-only")
    plan = site(zones={"gate": gate}, cameras=())
    plan = replace(plan, cameras={"cam": filmed} if in_plan else {})
    objects = MovableObjects(folder / "objects", passed=passed)
    objects.away = away
    await objects.start()
    allowed: dict[str, Quality | None] = {}
    free = [10**12]
    async with opened(folder) as store:
        stage: RecordingStages | None = None
        bank = SubprocessCameraBank(
            [replace(spec_of(reached), record=filmed.continuous)] if in_plan else [],
            ring_s=10,
            ring_bytes_total=64 << 20,
            spool=folder / "spool",
            clock=clock,
            recordings=folder / "recording",
            segment_s=segment_s,
            segment_closed=lambda: stage.wake() if stage is not None else None,
        )
        stage = build_recording(
            store=store,
            clock=clock,
            objects=kept_in or objects,
            files=SpooledRecordings(folder / "recording"),
            cameras=bank,
            give_way=bank.give_way,
            site=plan,
            allowed=lambda camera: allowed.get(camera, Quality.FULL),
            locked_until=locked_until,
            free_bytes=lambda: free[0],
            passed=passed,
        )
        await bank.start()
        tasks = [asyncio.create_task(bank.run()), asyncio.create_task(stage.run())]
        try:
            yield School(folder, store, objects, kept_in or objects, bank, stage, allowed, free)
        finally:
            tasks[1].cancel()
            await bank.stop()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for error in done:
                if isinstance(error, Exception) and not isinstance(error, BaseExceptionGroup):
                    raise error


def simulated(*, gop: int = FPS) -> SimulatedCamera:
    return SimulatedCamera(name="cam", width=320, height=180, fps=FPS, gop=gop)


def spec_of(reached: StreamAddress | OnvifAddress) -> CameraSpec:
    if isinstance(reached, OnvifAddress):
        return CameraSpec(id="cam", onvif=reached, record=True)
    return CameraSpec(id="cam", stream=reached, record=True)


def stream_of(camera: SimulatedCamera) -> StreamAddress:
    """Where the camera is and how it is logged in to."""
    return StreamAddress(url=camera.rtsp_url, username=camera.username, password=camera.password)


async def _until_killed(folder: Path, stream: StreamAddress, point: str, nth: int) -> None:
    left = [nth]

    def passed(now_at: str) -> None:
        left[0] -= now_at == point
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async with recording(folder, stream, passed=passed):
        await asyncio.Event().wait()


if __name__ == "__main__":
    where, url, username, password, at_point, which = sys.argv[1:]
    address = StreamAddress(url=url, username=username, password=password)
    asyncio.run(_until_killed(Path(where), address, at_point, int(which)))

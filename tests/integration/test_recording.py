"""Recording on a real camera, camera process, database and store: every instant is in a segment or in a gap with its cause."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drivers.cameras.bank import SubprocessCameraBank
from drivers.cameras.recorded import SpooledRecordings
from gateway.clock import SystemClock
from gateway.domain.errors import Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.plan import Camera, Zone
from gateway.domain.recording import SEAM, Gap, GapCause, Quality, Segment, holes
from gateway.recording import POINTS, Recording
from simulators.camera.faults import CameraFaults
from simulators.camera.simulated import SimulatedCamera
from storage.objects.local import LocalObjects
from tests.support.builders import site
from tests.support.camera_bank import by_stream
from tests.support.signals import wait_until
from tests.support.stores import WatchedStore, opened

FPS = 10
SEGMENT_S = 3.0
START = datetime(2020, 1, 1, tzinfo=UTC)


class Died(BaseException):
    """The process ended here."""


class MovableObjects(LocalObjects):
    """Objects in a folder that can be away."""

    away = ""

    async def put(self, key: str, source: Path, *, sha256: str) -> None:
        if self.away:
            raise Unavailable(self.away)
        await super().put(key, source, sha256=sha256)


@dataclass
class School:
    """One recorded camera; ``recording`` is the stage at work."""

    folder: Path
    camera: SimulatedCamera
    store: WatchedStore
    objects: MovableObjects
    bank: SubprocessCameraBank
    stage: Recording
    allowed: dict[str, Quality | None] = field(default_factory=dict)

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

    async def check(self) -> tuple[list[Segment], list[Gap]]:
        """Every instant up to the newest segment is told of, and every object is what the ledger says."""
        segments, gaps = await self.ledger()
        since = (await self.store.inner.read(lambda tx: tx.recordings.bounds()))["cam"][0]
        spans = [(s.start, s.end) for s in segments] + [(g.start, g.end or segments[-1].end) for g in gaps]
        assert list(holes(spans, since, segments[-1].end)) == []
        for one, following in itertools.pairwise(segments):
            assert one.end <= following.start + SEAM / 4, "two segments show one moment"
        for one in segments:
            data = (self.folder / "objects" / one.key).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (one.bytes, one.sha256)
            assert one.frames == pytest.approx((one.end - one.start).total_seconds() * FPS, rel=0.2, abs=3)
        return segments, gaps


@asynccontextmanager
async def recording(
    folder: Path,
    camera: SimulatedCamera,
    *,
    passed: Callable[[str], None] = lambda _: None,
    away: str = "",
) -> AsyncIterator[School]:
    """The camera process, the stage and what is behind it, on the data in ``folder``; entering again is a restart."""
    clock = SystemClock()
    gate = Zone(id="gate", name="南门", kind="gate", building="门卫室")
    filmed = Camera(id="cam", name="南门枪机", zone="gate", continuous=True)
    plan = site(zones={"gate": gate}, cameras=())
    plan = replace(plan, cameras={"cam": filmed})
    objects = MovableObjects(folder / "objects")
    objects.away = away
    await objects.start()
    allowed: dict[str, Quality | None] = {}
    async with opened(folder) as store:
        stage: Recording | None = None
        bank = SubprocessCameraBank(
            [by_stream(camera, record=True)],
            ring_s=10,
            ring_bytes_total=64 << 20,
            spool=folder / "spool",
            clock=clock,
            recordings=folder / "recording",
            segment_s=SEGMENT_S,
            segment_closed=lambda: stage.wake() if stage is not None else None,
        )
        stage = Recording(
            store=store,
            clock=clock,
            objects=objects,
            files=SpooledRecordings(folder / "recording"),
            cameras=bank,
            give_way=bank.give_way,
            site=plan,
            reckoned=clock.now,
            allowed=lambda camera: allowed.get(camera, Quality.FULL),
            passed=passed,
        )
        await bank.start()
        tasks = [asyncio.create_task(bank.run()), asyncio.create_task(stage.run())]
        try:
            yield School(folder, camera, store, objects, bank, stage, allowed)
        finally:
            tasks[1].cancel()
            await bank.stop()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for error in done:
                if isinstance(error, Exception) and not isinstance(error, BaseExceptionGroup):
                    raise error


def simulated() -> SimulatedCamera:
    return SimulatedCamera(name="cam", width=320, height=180, fps=FPS, gop=FPS)


def test_what_is_recorded_is_in_the_store_and_in_the_ledger(tmp_path: Path) -> None:
    """Segments follow one another without a gap, each object is what its row says, and the spool is empty after them."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, camera) as school:
            await school.until(lambda segments, _: len(segments) >= 3, 30, "three segments")
            segments, gaps = await school.check()
            assert {gap.cause for gap in gaps} <= {GapCause.GATEWAY}, (
                "before the first frame, if that took a while"
            )
            assert len(segments) >= 3
            assert school.stage.causes == {}
            left = [
                path.name for path in (tmp_path / "recording" / "cam").iterdir() if path.suffix == ".json"
            ]
            assert len(left) <= 1
            assert all(one.reckoned_end is not None for one in segments)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        (CameraFaults(freeze=True), GapCause.CAMERA),
        (CameraFaults(refuse_connections=True), GapCause.NETWORK),
        (CameraFaults(reject_login=True, drop_connections=False), GapCause.CAMERA),
    ],
    ids=["frozen", "unreachable", "wrong password"],
)
def test_a_gap_is_told_within_ten_seconds_with_its_cause_and_ends_with_the_first_frame(
    tmp_path: Path, faults: CameraFaults, cause: GapCause
) -> None:
    """Noted from the last frame on, a fault that names the camera and its place; when it is over, row and fault are closed."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, camera) as school:
            await school.until(lambda segments, _: len(segments) >= 1, 20, "a segment")
            await camera.set_faults(faults)
            if faults.reject_login:  # only a session that is opened anew logs in
                await camera.set_faults(CameraFaults(drop_connections=True))
                await asyncio.sleep(0.3)
                await camera.set_faults(faults)
            stopped_at = datetime.now(UTC)
            await wait_until(lambda: bool(school.stage.causes), 10, "the gap is a fault")
            (((kind, subject), text),) = school.stage.causes.items()
            assert (kind, subject) == (FaultKind.CAMERA, "cam recording")
            assert "南门枪机 (cam, 门卫室 南门)" in text
            lasting = [gap for gap in (await school.ledger())[1] if gap.end is None]
            assert [gap.cause for gap in lasting] == [cause], lasting
            assert abs(lasting[0].start - stopped_at) < timedelta(seconds=2)
            if faults.reject_login:
                return  # the driver leaves such a camera alone for ten minutes
            await camera.set_faults(CameraFaults())
            await wait_until(lambda: not school.stage.causes, 30, "it is recorded again")
            count = len((await school.ledger())[0])
            await school.until(lambda segments, _: len(segments) > count + 1, 20, "a segment after it")
            _, gaps = await school.check()
            assert [gap.end is None for gap in gaps] == [False] * len(gaps)

    asyncio.run(story())


def test_while_the_store_is_away_files_wait_in_their_order_and_none_is_lost(tmp_path: Path) -> None:
    """A fault says how many wait; when it is back they come in order, and the ledger is as if nothing had been."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, camera, away="no route to it") as school:
            await wait_until(lambda: school.stage.waiting >= 3, 30, "three files wait")
            text = school.stage.causes[FaultKind.STORE, "recordings"]
            assert "no route to it" in text
            assert (await school.ledger())[0] == []
            school.objects.away = ""
            await school.until(lambda segments, _: len(segments) >= 4, 20, "all of them")
            segments, _ = await school.check()
            assert [one.stored_at for one in segments] == sorted(one.stored_at for one in segments)
            await wait_until(lambda: not school.stage.causes, 10, "the fault is gone")

    asyncio.run(story())


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_ends_at_any_point_of_a_files_way_loses_nothing(tmp_path: Path, point: str) -> None:
    """Closed, stored, registered: the next one goes on from there, each segment is there once, and the time between is a gap."""

    async def story() -> None:
        died = asyncio.Event()

        def dies(passed: str) -> None:
            if passed == point:
                died.set()
                raise Died

        async with simulated() as camera:
            async with recording(tmp_path, camera, passed=dies):
                await asyncio.wait_for(died.wait(), 20)
            files = {path.stem for path in (tmp_path / "recording" / "cam").glob("*.json")}
            assert files, "its facts are still there"
            async with recording(tmp_path, camera) as school:
                await school.until(lambda segments, _: len(segments) >= 4, 30, "further segments")
                segments, gaps = await school.check()
                stems = [str(round(one.start.timestamp() * 1000)) for one in segments]
                assert files <= set(stems)
                assert len(stems) == len(set(stems))
                assert {gap.cause for gap in gaps} <= {GapCause.GATEWAY}

    asyncio.run(story())


def test_a_camera_that_gives_way_is_a_gap_of_the_store_and_comes_back(tmp_path: Path) -> None:
    """While the room is short nothing new of it is recorded; what is kept stays, and its fault is the room's."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, camera) as school:
            await school.until(lambda segments, _: len(segments) >= 1, 20, "a segment")
            school.allowed["cam"] = None
            await school.until(
                lambda _, gaps: any(g.end is None and g.cause is GapCause.STORE for g in gaps), 15, "a gap"
            )
            assert school.stage.causes == {}
            school.allowed.clear()
            count = len((await school.ledger())[0])
            await school.until(lambda segments, _: len(segments) > count + 1, 25, "it is recorded again")
            await school.check()

    asyncio.run(story())


def test_while_room_is_short_only_key_frames_are_kept_and_said_to_be(tmp_path: Path) -> None:
    """A file of its own with a picture a second, which is no gap; and everything again when there is room."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, camera) as school:
            await school.until(lambda segments, _: len(segments) >= 1, 20, "a segment")
            school.allowed["cam"] = Quality.KEYFRAMES
            await school.until(
                lambda segments, _: sum(s.quality is Quality.KEYFRAMES for s in segments) >= 2,
                30,
                "key frames",
            )
            school.allowed.clear()
            count = len((await school.ledger())[0])
            await school.until(
                lambda segments, _: len(segments) > count + 1 and segments[-1].quality is Quality.FULL,
                25,
                "all",
            )
            segments, gaps = await school.ledger()
            sparse = [one for one in segments if one.quality is Quality.KEYFRAMES]
            for one in sparse:
                assert one.frames <= (one.end - one.start).total_seconds() + 2
            assert {gap.cause for gap in gaps} <= {GapCause.GATEWAY}

    asyncio.run(story())

"""The ledger while things come late and clocks are set: the stage on a real database, spool and store, with time in the hand.

One file, though long: its tests share one ledger with all that can be set about it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from drivers.cameras.parent.recorded import SpooledRecordings
from gateway.domain.camera import CameraHealth
from gateway.domain.errors import Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.finding import Finding
from gateway.domain.plan import Camera, Site
from gateway.domain.recording import Gap, GapCause, Segment
from gateway.domain.stored import Kept
from gateway.fsck.ledger_audit import MISDATED, TWICE, clocks, unexplained
from gateway.fsck.object_audit import NOT_AS_LONG, hashes
from tests.support import builders
from tests.support.clock import MORNING, ManualClock, run
from tests.support.films import film
from tests.support.recorder import MovableObjects
from tests.support.recording_stages import RecordingStages, build_recording
from tests.support.stores import WatchedStore, opened

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ALWAYS = (MORNING - 4000 * DAY, MORNING + 4000 * DAY)
PLAN = replace(
    builders.site(),
    cameras={c: Camera(id=c, name=c, zone="b1-301", continuous=True) for c in ("cam", "cam-b")},
)


class BadPlaces(MovableObjects):
    """A real store that cannot take some files, since they cannot be read."""

    refused: Mapping[str, str] = MappingProxyType({})

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        if cause := self.refused.get(source.name):
            raise Unavailable(cause)
        return await super().put(key, source, sha256=sha256, locked_until=locked_until)


class ToldCameras:
    """What the camera process would say of its cameras: those in ``since`` are recorded since then and up to now."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.since: dict[str, datetime] = {}
        self.silent: dict[str, datetime] = {}

    def health(self) -> dict[str, CameraHealth]:
        return {
            camera: CameraHealth(
                camera=camera,
                healthy=camera not in self.silent,
                cause="no frames come" if camera in self.silent else "",
                since=MORNING,
                recording="",
                recorded_since=since,
                recorded_until=self.silent.get(camera, self._clock.now()),
            )
            for camera, since in self.since.items()
        }


class CountedThreads(ThreadPoolExecutor):
    """The loop's threads, counting what is under way there: a hand-driven clock waits for it."""

    under_way = 0

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        self.under_way += 1
        future = super().submit(*args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Future[Any]) -> None:
        self.under_way -= 1


@dataclass
class Ledger:
    """The stage at work on the data in ``folder``."""

    folder: Path
    clock: ManualClock
    store: WatchedStore
    objects: BadPlaces
    cameras: ToldCameras
    stage: RecordingStages

    def recorded(self, camera: str = "cam") -> None:
        """The camera is recorded, from now on."""
        self.cameras.silent.pop(camera, None)
        self.cameras.since[camera] = self.clock.now()

    def silent(self, camera: str = "cam") -> datetime:
        """Nothing comes from it any more, from now on."""
        self.cameras.silent[camera] = self.clock.now()
        return self.clock.now()

    def file(
        self,
        start: datetime,
        length: timedelta = timedelta(minutes=1),
        camera: str = "cam",
        holds: timedelta | None = None,
    ) -> Path:
        """A finished file in the spool, told to be so long; of bytes without form, or one that ``holds`` that much."""
        stem = round(start.timestamp() * 1000)
        path = self.folder / "recording" / camera / f"{stem}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        note = f"{camera} {stem}"
        path.write_bytes(note.encode() if holds is None else film(holds.total_seconds(), note=note))
        facts = {
            "camera": camera,
            "start": start.timestamp(),
            "end": (start + length).timestamp(),
            "frames": 600,
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "pauses": [],
        }
        path.with_suffix(".json").write_text(json.dumps(facts))
        self.stage.wake()
        return path

    async def ledger(self, camera: str = "cam") -> tuple[list[Segment], list[Gap]]:
        return await self.store.read(
            lambda tx: (tx.recordings.segments(camera, *ALWAYS), tx.recordings.gaps(camera, *ALWAYS))
        )

    async def until_of(self, camera: str = "cam") -> datetime | None:
        """Until when the camera is to be recorded, by the ledger."""
        return (await self.store.read(lambda tx: tx.recordings.bounds()))[camera][1]

    async def unexplained(self, camera: str = "cam") -> list[Finding]:
        """What a check finds days later, whether a gateway runs or not."""
        found = [
            finding
            for running in (True, False)
            async for finding in unexplained(self.store, self.clock.now() + 3 * DAY, 30, running=running)
        ]
        return [finding for finding in found if finding.about == camera]

    async def until(self, holds: Callable[[list[Segment], list[Gap]], bool], camera: str = "cam") -> None:
        """Let time go by, second by second, until the ledger of a camera is so: within a minute of it."""
        for _ in range(60):
            await self.clock.advance(1)
            if holds(*await self.ledger(camera)):
                return
        raise AssertionError(f"not within a minute: {await self.ledger(camera)} {self.stage.causes}")


@asynccontextmanager
async def ledger(
    folder: Path, clock: ManualClock, away: str = "", plan: Site = PLAN
) -> AsyncIterator[Ledger]:
    """The stage; entering again on the same folder is a restart."""
    objects = BadPlaces(folder / "objects")
    objects.away = away
    await objects.start()
    cameras = ToldCameras(clock)
    threads = CountedThreads()
    asyncio.get_running_loop().set_default_executor(threads)
    async with opened(folder) as store:
        clock.busy = lambda: store.busy() or threads.under_way > 0
        stage = build_recording(
            store=store,
            clock=clock,
            objects=objects,
            files=SpooledRecordings(folder / "recording"),
            cameras=cameras,  # type: ignore[arg-type]
            site=plan,
        )
        at_work = Ledger(folder, clock, store, objects, cameras, stage)
        for camera in plan.cameras:
            at_work.recorded(camera)
        running = asyncio.create_task(stage.run())
        try:
            await clock.settle()
            yield at_work
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def lasting(gaps: list[Gap]) -> list[Gap]:
    return [gap for gap in gaps if gap.end is None]


def test_a_file_that_comes_late_leaves_a_gap_that_lasts_as_it_is(tmp_path: Path) -> None:
    """The store was away, meanwhile the camera failed: what waited is registered, and the camera has still not been recorded."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock, away="no route to it") as at:
            begun = clock.now()
            await clock.advance(180)
            for n in range(3):
                at.file(begun + n * MINUTE)
            failed_at = at.silent()
            await at.until(lambda _, gaps: bool(lasting(gaps)))
            assert (FaultKind.CAMERA, "cam recording") in at.stage.causes
            at.objects.away = ""
            await at.until(lambda segments, _: len(segments) == 3)
            _, gaps = await at.ledger()
            assert [(gap.start, gap.end, gap.cause) for gap in gaps] == [(failed_at, None, GapCause.CAMERA)]
            assert (FaultKind.CAMERA, "cam recording") in at.stage.causes

    run(story())


def test_the_recording_that_began_last_need_not_end_last(tmp_path: Path) -> None:
    """The second stream fell a second after its file had begun: the main stream's began at the key frame before that, and what
    follows it follows it without a gap, after a restart too."""

    async def story() -> None:
        clock, second = ManualClock(), timedelta(seconds=1)
        async with ledger(tmp_path, clock) as at:
            begun = clock.now()
            await clock.advance(61)
            at.file(begun)
            at.file(begun + MINUTE, second)
            await clock.advance(60)
            at.file(begun + 57 * second, 63 * second)
            await clock.advance(5)
        async with ledger(tmp_path, clock) as at:
            await clock.advance(56)
            at.file(begun + 2 * MINUTE)
            await at.until(lambda segments, _: len(segments) == 4)
            assert (await at.ledger())[1] == []

    run(story())


def test_after_the_clock_was_set_back_a_gap_is_still_told_within_ten_seconds(tmp_path: Path) -> None:
    """It stood a day ahead and was put right: what the ledger then reaches lies in the future, and hides no gap."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock) as at:
            clock.step_wall(DAY.total_seconds())
            at.recorded()
            at.file(clock.now() - MINUTE)
            await at.until(lambda segments, _: len(segments) == 1)
            clock.step_wall(-DAY.total_seconds())
            await clock.advance(2)
            stopped_at = at.silent()
            await clock.advance(9)
            (gap,) = lasting((await at.ledger())[1])
            assert gap.cause is GapCause.CAMERA
            assert abs(gap.start - stopped_at) <= timedelta(seconds=2)
            assert (FaultKind.CAMERA, "cam recording") in at.stage.causes

    run(story())


def test_a_gap_noted_by_a_clock_that_was_ahead_ends_when_it_is_over(tmp_path: Path) -> None:
    """It was set back while the gap lasted: the fault goes with the first frame, not when the old date comes round."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock) as at:
            clock.step_wall(DAY.total_seconds())
            at.recorded()
            await clock.advance(2)
            at.silent()
            await at.until(lambda _, gaps: bool(lasting(gaps)))
            clock.step_wall(-DAY.total_seconds())
            await clock.advance(10)
            back_at = clock.now()
            at.recorded()
            await at.until(lambda _, gaps: not lasting(gaps))
            assert clock.now() - back_at < timedelta(seconds=5)
            assert at.stage.causes == {}
            assert all(gap.end is not None and gap.start <= gap.end for gap in (await at.ledger())[1])

    run(story())


def test_a_short_hole_among_files_that_waited_is_a_gap(tmp_path: Path) -> None:
    """Though the ledger had gone on by then, since a gap after them was noted as it lasted and has ended."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock, away="no route to it") as at:
            begun = clock.now()
            at.file(begun)
            hole = begun + MINUTE
            at.file(hole + timedelta(seconds=3))
            await clock.advance(123)
            failed_at = at.silent()
            await at.until(lambda _, gaps: bool(lasting(gaps)))
            back_at = clock.now()
            at.recorded()
            await at.until(lambda _, gaps: not lasting(gaps))
            at.objects.away = ""
            await at.until(lambda segments, _: len(segments) == 2)
            _, gaps = await at.ledger()
            told = [(gap.start, gap.end) for gap in gaps]
            assert told == [(hole, hole + timedelta(seconds=3)), (failed_at, back_at)]

    run(story())


def test_a_file_that_cannot_be_taken_holds_up_no_other_camera(tmp_path: Path) -> None:
    """One bad place on the disk: the others' recordings go their way, its own wait behind it in order, and a fault names it."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock) as at:
            begun = clock.now()
            await clock.advance(180)
            bad = at.file(begun)
            at.objects.refused = {bad.name: "Input/output error"}
            at.file(begun + MINUTE)
            at.file(begun + MINUTE, camera="cam-b")
            await at.until(lambda segments, _: len(segments) == 1, "cam-b")
            assert (await at.ledger())[0] == []
            assert "Input/output error" in at.stage.causes[FaultKind.STORE, "recordings"]
            at.objects.refused = {}
            await at.until(lambda segments, _: len(segments) == 2)
            await at.until(lambda _segments, _gaps: at.stage.causes == {})

    run(story())


def test_a_file_that_waited_while_the_clock_was_set_is_as_old_as_it_is(tmp_path: Path) -> None:
    """Its dates are of forty days ago; it was finished two minutes ago, and its period begins there."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock, away="no route to it") as at:
            at.file(clock.now() - MINUTE)
            await clock.advance(120)
            clock.step_wall(40 * DAY.total_seconds())
            at.objects.away = ""
            await at.until(lambda segments, _: len(segments) == 1)
            ((one,), _) = await at.ledger()
            assert one.reckoned_end is not None
            assert abs(one.reckoned_end - (clock.now() - 2 * MINUTE)) < MINUTE

    run(story())


WITHOUT = replace(PLAN, cameras={"cam-b": PLAN.cameras["cam-b"]})


def test_a_camera_that_left_the_plan_is_told_of_as_far_as_it_was_recorded(tmp_path: Path) -> None:
    """Not to the start without it, days later; what lay in the spool then moves the end, and what is missing before is a gap,
    also if the bytes are lost."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock) as at:
            begun = clock.now()
            await clock.advance(61)
            at.file(begun)
            await at.until(lambda segments, _: len(segments) == 1)
        await clock.advance(3 * DAY.total_seconds())
        async with ledger(tmp_path, clock, plan=WITHOUT) as at:
            assert (await at.until_of(), await at.unexplained()) == (begun + MINUTE, [])
            at.file(begun + MINUTE + timedelta(seconds=3))
            await at.until(lambda segments, _: len(segments) == 2)
            assert await at.until_of() == begun + 2 * MINUTE + timedelta(seconds=3)
            at.file(begun + 3 * MINUTE).unlink()
            await at.until(lambda _, gaps: len(gaps) == 3)
            assert (await at.until_of(), (await at.ledger())[1][-1].cause) == (
                begun + 4 * MINUTE,
                GapCause.STORE,
            )
            assert await at.unexplained() == []

    run(story())


def test_a_camera_that_left_the_plan_in_its_first_minute_is_told_of_from_its_beginning(
    tmp_path: Path,
) -> None:
    """Nothing of it is in the ledger but when it began; how long it took to its first frame is a gap."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock) as at:
            begun = clock.now()
            await clock.advance(4)
        async with ledger(tmp_path, clock, plan=WITHOUT) as at:
            assert (await at.until_of(), await at.unexplained()) == (begun, [])
        async with ledger(tmp_path, clock, plan=WITHOUT) as at:
            at.file(begun + timedelta(seconds=3), timedelta(seconds=1))
            await at.until(lambda segments, _: len(segments) == 1)
            _, gaps = await at.ledger()
            assert [(gap.start, gap.end) for gap in gaps] == [(begun, begun + timedelta(seconds=3))]
            assert (await at.until_of(), await at.unexplained()) == (begun + timedelta(seconds=4), [])

    run(story())


def test_a_gap_that_lasts_as_a_camera_leaves_the_plan_ends_with_its_ledger(tmp_path: Path) -> None:
    """Its cause stood when it was last looked at, and is told up to the start without the camera."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock) as at:
            at.silent()
            await at.until(lambda _, gaps: bool(lasting(gaps)))
        await clock.advance(60)
        async with ledger(tmp_path, clock, plan=WITHOUT) as at:
            (gap,) = (await at.ledger())[1]
            assert (gap.end, await at.until_of(), await at.unexplained()) == (clock.now(), clock.now(), [])

    run(story())


BYS = [sign * s for s in (40.0, 90.0, 3600.0, 86_400.0) for sign in (1, -1)]


@pytest.mark.parametrize("by_s", BYS)
def test_a_step_of_the_clock_is_in_the_ledger_and_no_fault_of_a_camera(by_s: float, tmp_path: Path) -> None:
    """Set while a file is being written, which keeps its own time; the next one has the new. Both directions are noted, what was
    jumped over is a gap that says so, nobody is accused, and a check days later names what does not agree."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock) as at:
            begun = clock.now()
            await clock.advance(61)
            at.file(begun)
            await at.until(lambda segments, _: len(segments) == 1)
            await clock.advance(20)
            before = clock.now()
            clock.step_wall(by_s)
            after = clock.now()
            # Until the next file begins, the camera process tells of the beginning of the one before.
            for _ in range(41):
                await clock.advance(1)
                assert at.stage.causes == {}
            at.file(begun + MINUTE)
            second = begun + 2 * MINUTE + timedelta(seconds=by_s)
            at.recorded()
            await clock.advance(60)
            at.file(second)
            await at.until(lambda segments, _: len(segments) == 3)
            segments, gaps = await at.ledger()
            assert at.stage.causes == {}
            said = f"set {'ahead' if by_s > 0 else 'back'} by {abs(by_s):.0f} s, from {before:%Y-%m-%d %H:%M}"
            (note,) = [gap for gap in gaps if gap.start == gap.end]
            assert abs(note.start - after) <= timedelta(seconds=1.5)
            assert said in note.detail
            spans = [gap for gap in gaps if gap.end != gap.start]
            if by_s > 0:
                (jumped,) = spans
                assert (jumped.start, jumped.end) == (begun + 2 * MINUTE, second)
                assert jumped.cause is GapCause.GATEWAY
                assert said in jumped.detail
                assert "missing all the same" not in jumped.detail
            else:
                assert spans == []
            assert [f async for f in unexplained(at.store, clock.now(), 30) if f.about == "cam"] == []
            found = [finding async for finding in clocks(at.store)]
            expected = {MISDATED} if abs(by_s) > 120 else {TWICE} if by_s < 0 else set()
            assert {f.what for f in found} == expected
            assert {f.about for f in found} <= {"cam"}
            assert len(segments) == 3

    run(story())


@pytest.mark.parametrize("by_s", BYS)
def test_a_gap_that_lasts_over_a_step_is_as_long_as_it_was(by_s: float, tmp_path: Path) -> None:
    """A camera is away for two minutes, within which the clock is set: the rows of it span no more than that."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock) as at:
            await clock.advance(10)
            at.silent()
            await at.until(lambda _, gaps: bool(lasting(gaps)))
            await clock.advance(50)
            clock.step_wall(by_s)
            await clock.advance(60)
            assert (FaultKind.CAMERA, "cam recording") in at.stage.causes
            at.recorded()
            await at.until(lambda _, gaps: not lasting(gaps))
            _, gaps = await at.ledger()
            spans = [gap.end - gap.start for gap in gaps if gap.end is not None and gap.end > gap.start]
            assert len(spans) == 2
            assert timedelta(seconds=105) < sum(spans, timedelta()) < timedelta(seconds=130)
            assert {gap.cause for gap in gaps if gap.end != gap.start} == {GapCause.CAMERA}
            await clock.advance(2)
            assert at.stage.causes == {}

    run(story())


def test_recordings_dated_by_a_wrong_clock_are_named(tmp_path: Path) -> None:
    """Two hours ahead of what is reckoned, from the third minute to the fifth: one finding for the three, none for the others."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock) as at:
            begun = clock.now()
            for n in range(6):
                ahead = timedelta(hours=2) if 2 <= n < 5 else timedelta()
                start = begun + n * MINUTE
                one = Segment(
                    id=f"seg_{n}",
                    camera="cam",
                    start=start + ahead,
                    end=start + ahead + MINUTE,
                    frames=600,
                    bytes=1,
                    key=f"k{n}",
                    sha256="0",
                    stored_at=start,
                    reckoned_end=start + MINUTE + timedelta(seconds=20),
                )
                await at.store.write(lambda tx, one=one: tx.recordings.add(one))
            found = [finding async for finding in clocks(at.store)]
            assert [(f.what, f.about) for f in found] == [(MISDATED, "cam")]
            assert "3 recording(s): the clock stood some 7180 s ahead" in found[0].detail

    run(story())


@pytest.mark.parametrize(
    ("told_s", "holds_s", "wrong"),
    [
        (60, 60, False),
        (60, 61, False),
        (86_460, 60, True),
        (60, 20, True),
        (3, 60, True),
        (1.5, 86_400, True),
    ],
)
def test_a_recording_that_is_not_as_long_as_is_told_of_it_is_named(
    told_s: float, holds_s: float, wrong: bool, tmp_path: Path
) -> None:
    """By the file's own tables, when all bytes are read."""

    async def story() -> None:
        clock = ManualClock()
        async with ledger(tmp_path, clock) as at:
            begun = clock.now()
            await clock.advance(61)
            at.file(begun, timedelta(seconds=told_s), holds=timedelta(seconds=holds_s))
            await at.until(lambda segments, _: len(segments) == 1)
            found = [finding async for finding in hashes(at.store, at.objects, lambda _done, _whole: None)]
            assert [f.what for f in found] == ([NOT_AS_LONG] if wrong else [])
            if wrong:
                assert f"are {told_s:.1f} s, and the file holds {holds_s:.1f} s" in found[0].detail

    run(story())

"""Recording on a real camera, camera process, database and store: every instant is in a segment or in a gap with its cause."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.domain.fault import FaultKind
from gateway.domain.recording import GapCause, Quality
from simulators.camera.faults import CameraFaults
from tests.support.recorder import recording, simulated, stream_of
from tests.support.signals import wait_until

FPS = 10
SEGMENT_S = 3.0
START = datetime(2020, 1, 1, tzinfo=UTC)


def test_what_is_recorded_is_in_the_store_and_in_the_ledger(tmp_path: Path) -> None:
    """Segments follow one another without a gap, each object is what its row says, and the spool is empty after them."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, stream_of(camera)) as school:
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
        async with simulated() as camera, recording(tmp_path, stream_of(camera)) as school:
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
        async with (
            simulated() as camera,
            recording(tmp_path, stream_of(camera), away="no route to it") as school,
        ):
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


def test_a_camera_that_gives_way_is_a_gap_of_the_store_and_comes_back(tmp_path: Path) -> None:
    """While the room is short nothing new of it is recorded; what is kept stays, and its fault is the room's."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, stream_of(camera)) as school:
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
        async with simulated() as camera, recording(tmp_path, stream_of(camera)) as school:
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


def test_key_frames_two_seconds_apart_follow_one_another_without_a_gap(tmp_path: Path) -> None:
    """A key frame stands for its group also where the next one is in the next file, or of everything again."""

    async def story() -> None:
        async with simulated(gop=2 * FPS) as camera, recording(tmp_path, stream_of(camera)) as school:
            school.allowed["cam"] = Quality.KEYFRAMES
            await school.until(
                lambda segments, _: sum(s.quality is Quality.KEYFRAMES for s in segments) >= 3,
                40,
                "key frames",
            )
            school.allowed.clear()
            await school.until(lambda segments, _: segments[-1].quality is Quality.FULL, 20, "all")
            segments, gaps = await school.ledger()
            assert not [gap for gap in gaps if gap.start > segments[0].start]
            assert max(b.start - a.end for a, b in itertools.pairwise(segments)) < timedelta(seconds=0.1)

    asyncio.run(story())


def test_while_the_spool_has_no_room_nothing_is_recorded_and_what_waits_is_kept(tmp_path: Path) -> None:
    """The store is away and the disk fills: a gap of the store and a fault of the disk; both are over when there is room and the
    store is back, and everything that waited is there."""

    async def story() -> None:
        async with simulated() as camera, recording(tmp_path, stream_of(camera), away="no route") as school:
            await wait_until(lambda: school.stage.waiting >= 2, 30, "files wait")
            school.free[0] = 400_000_000
            await school.until(
                lambda _, gaps: any(g.end is None and g.cause is GapCause.STORE for g in gaps), 15, "a gap"
            )
            assert (FaultKind.DISK, "recordings") in school.stage.causes
            school.free[0] = 1_200_000_000  # more than the limit, and not enough to begin again
            await asyncio.sleep(2.5)
            assert (FaultKind.DISK, "recordings") in school.stage.causes
            school.free[0], school.objects.away = 10**12, ""
            await wait_until(lambda: not school.stage.causes, 30, "all is well")
            count = len((await school.ledger())[0])
            assert count >= 2
            await school.until(lambda segments, _: len(segments) > count, 20, "it is recorded again")
            await school.check()

    asyncio.run(story())

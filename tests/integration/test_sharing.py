"""What many alarms ask of one camera at once is taken once, and each gets all it asked for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.alarm.shared_cameras import SharedCameras
from gateway.domain.errors import Unavailable
from tests.support.cameras import ScriptedCameras
from tests.support.clock import MORNING, ManualClock, run


def seconds(n: float) -> timedelta:
    return timedelta(seconds=n)


class SlowCameras(ScriptedCameras):
    """Takes a second for each thing it is asked, and counts how much it does at once."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.at_once = self.most_at_once = 0

    async def _gate(self, what: str, camera: str, at: object) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._clock.sleep(1)
            await super()._gate(what, camera, at)  # type: ignore[arg-type]
        finally:
            self.at_once -= 1


def clips(cameras: ScriptedCameras) -> int:
    return len([what for what, _, _ in cameras.calls if what == "clip"])


def test_a_hundred_cuts_of_the_same_seconds_are_two(tmp_path: Path) -> None:
    """The first goes at once; all that wait meanwhile share the next one, which covers what every one of them asked for."""

    async def story() -> None:
        clock = ManualClock()
        cameras = SlowCameras(clock)
        shared = SharedCameras(cameras, clock)
        asked = [MORNING - seconds(30 - n * 0.01) for n in range(100)]
        cuts = [
            asyncio.create_task(shared.cut_clip("cam-a", at, at + seconds(20), tmp_path / f"{n}.mp4"))
            for n, at in enumerate(asked)
        ]
        await clock.advance(3)
        taken = await asyncio.gather(*cuts)
        assert clips(cameras) == 2
        assert cameras.most_at_once == 1
        for n, (at, clip) in enumerate(zip(asked, taken, strict=True)):
            assert clip.start <= at
            assert clip.end >= at + seconds(20)
            assert len((tmp_path / f"{n}.mp4").read_bytes()) == clip.bytes
        assert len({(tmp_path / f"{n}.mp4").stat().st_ino for n in range(100)}) == 2

    run(story())


def test_what_is_still_to_be_filmed_is_cut_once_for_all(tmp_path: Path) -> None:
    """Clips that end later and are asked for within a moment share one cut, to the last one's end."""

    async def story() -> None:
        clock = ManualClock()
        cameras = ScriptedCameras(clock)
        shared = SharedCameras(cameras, clock)
        cuts = []
        for n in range(10):
            at = clock.now()
            cuts.append(
                asyncio.create_task(
                    shared.cut_clip("cam-a", at - seconds(5), at + seconds(5), tmp_path / f"{n}.mp4")
                )
            )
            await clock.advance(0.02)
        last = clock.now() - seconds(0.02)
        await clock.advance(6)
        taken = await asyncio.gather(*cuts)
        assert clips(cameras) == 1
        assert {clip.end for clip in taken} == {last + seconds(5)}

    run(story())


def test_other_spans_and_other_cameras_are_cut_alone(tmp_path: Path) -> None:
    """Nobody is given more than two seconds of others' time."""

    async def story() -> None:
        clock = ManualClock()
        cameras = ScriptedCameras(clock)
        shared = SharedCameras(cameras, clock)
        begin = MORNING - seconds(60)
        spans = [("cam-a", 0.0, 10.0), ("cam-a", 2.1, 12.1), ("cam-a", 0.0, 13.0), ("cam-b", 0.0, 10.0)]
        cuts = [
            asyncio.create_task(
                shared.cut_clip(camera, begin + seconds(a), begin + seconds(b), tmp_path / f"{n}.mp4")
            )
            for n, (camera, a, b) in enumerate(spans)
        ]
        await clock.advance(1)
        taken = await asyncio.gather(*cuts)
        assert clips(cameras) == 4
        assert [(c.start - begin, c.end - begin) for c in taken] == [
            (seconds(a), seconds(b)) for _, a, b in spans
        ]

    run(story())


def test_a_cut_that_fails_fails_for_all_who_share_it_and_no_longer(tmp_path: Path) -> None:
    """Each is told why and may ask again; the camera is not blocked."""

    async def story() -> None:
        clock = ManualClock()
        cameras = SlowCameras(clock)
        cameras.down["cam-a"] = "it answers 401"
        shared = SharedCameras(cameras, clock)
        span = (MORNING - seconds(10), MORNING - seconds(5))
        cuts = [asyncio.create_task(shared.cut_clip("cam-a", *span, tmp_path / f"{n}.mp4")) for n in range(5)]
        await clock.advance(3)
        for cut in cuts:
            with pytest.raises(Unavailable, match="401"):
                await cut
        cameras.down.clear()
        again = asyncio.create_task(shared.cut_clip("cam-a", *span, tmp_path / "again.mp4"))
        await clock.advance(2)
        assert (await again).start == span[0]

    run(story())


def test_one_who_leaves_takes_nothing_from_the_others(tmp_path: Path) -> None:
    """The first one's task is cancelled in the middle: the others are told at once, and can ask again."""

    async def story() -> None:
        clock = ManualClock()
        shared = SharedCameras(SlowCameras(clock), clock)
        span = (MORNING - seconds(10), MORNING + seconds(5))
        first, *others = [
            asyncio.create_task(shared.cut_clip("cam-a", *span, tmp_path / f"{n}.mp4")) for n in range(3)
        ]
        await clock.advance(0.1)
        others[1].cancel()
        await clock.advance(0.5)
        first.cancel()
        await clock.settle()
        with pytest.raises(Unavailable, match="broke off"):
            await others[0]
        again = asyncio.create_task(shared.cut_clip("cam-a", *span, tmp_path / "again.mp4"))
        await clock.advance(8)
        assert (await again).end == span[1]

    run(story())


def test_a_camera_is_asked_for_its_own_picture_once_at_a_time(tmp_path: Path) -> None:
    """A hundred alarms at once cost a camera three snapshots, and nobody gets one that was begun before they asked."""

    async def story() -> None:
        clock = ManualClock()
        cameras = SlowCameras(clock)
        shared = SharedCameras(cameras, clock)
        early = [asyncio.create_task(shared.fetch_snapshot("cam-a")) for _ in range(50)]
        await clock.advance(0.5)
        late = []
        for _ in range(2):  # while the first one is under way, and while the second one is
            late += [(clock.now(), asyncio.create_task(shared.fetch_snapshot("cam-a"))) for _ in range(25)]
            await clock.advance(1)
        await clock.advance(5)
        await asyncio.gather(*early)
        for asked_at, coming in late:
            assert (await coming).taken_at >= asked_at
        assert len(cameras.calls) == 3
        assert cameras.most_at_once == 1

    run(story())

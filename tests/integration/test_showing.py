"""Showing on the real database: the live picture of open alarms is put at the centre, newest first, and ends when they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.alarm.live_push import MOST_SHOWN, Showing
from gateway.domain.alarm import State
from gateway.domain.camera import LivePlaylist, LiveSegment
from gateway.domain.errors import Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.message import Answer
from tests.support.builders import alarm, envelopes
from tests.support.cameras import ScriptedCameras
from tests.support.clock import MORNING, ManualClock, run
from tests.support.scripted_media import ScriptedMedia
from tests.support.stores import WatchedStore, opened

SEGMENT_S = 1.0


class LiveCameras(ScriptedCameras):
    """Cameras whose picture has a segment a second since the clock began; ``epoch`` is set when a stream is reopened."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.epoch: dict[str, int] = {}

    async def live_playlist(self, camera: str) -> LivePlaylist:
        if camera in self.down:
            raise Unavailable(self.down[camera])
        epoch = self.epoch.get(camera, 1)
        newest = 100 + int((self._clock.now() - MORNING).total_seconds() / SEGMENT_S)
        numbers = range(newest - 5, newest + 1)
        return LivePlaylist(
            codec="avc1",
            init=f"init-{epoch}.mp4",
            epoch=epoch,
            segments=[
                LiveSegment(name=f"{epoch}-{n}.m4s", sequence=n, duration_s=SEGMENT_S, begins_at=MORNING)
                for n in numbers
            ],
        )

    async def live_part(self, camera: str, name: str) -> bytes:
        return f"{camera} {name}".encode()


@dataclass(slots=True)
class Yard:
    """Showing at work on one database."""

    store: WatchedStore
    clock: ManualClock
    cameras: LiveCameras
    media: ScriptedMedia
    showing: Showing
    heard: list[Answer] = field(default_factory=list)

    async def press(self, id_: str = "alm_1", **changes: Any) -> None:
        one = alarm(id_, at=self.clock.now(), **{"point": f"p-{id_}", "cameras": ("cam-a",), **changes})
        await self.store.inner.write(lambda tx: tx.alarms.add(one))
        self.showing.wake.set()
        await self.clock.settle()

    async def close(self, id_: str = "alm_1") -> None:
        def work(tx: Any) -> None:
            one = replace(tx.alarms.get(id_), state=State.ACCEPTED).replied(State.CLOSED, self.clock.now())
            tx.alarms.save(one)

        await self.store.inner.write(work)
        self.showing.wake.set()
        await self.clock.settle()

    def put(self, id_: str = "alm_1", camera: str = "cam-a") -> list[str]:
        """Names that were put for one picture, in order."""
        prefix = f"{id_}/live/{camera}/"
        return [place.removeprefix(prefix) for place, _ in self.media.parts if place.startswith(prefix)]

    def playlist(self, id_: str = "alm_1", camera: str = "cam-a") -> str:
        """The last playlist that was put."""
        place = f"{id_}/live/{camera}/index.m3u8"
        return [data for at, data in self.media.parts if at == place][-1].decode()


@asynccontextmanager
async def yard(folder: Path) -> AsyncIterator[Yard]:
    clock = ManualClock()
    cameras, media = LiveCameras(clock), ScriptedMedia(clock)
    heard: list[Answer] = []

    async def gives_way() -> None:
        return

    async with opened(folder) as store:
        clock.busy = store.busy
        showing = Showing(
            store=store,
            clock=clock,
            cameras=cameras,
            uplink=media,
            envelopes=envelopes(),
            heard=heard.append,
            give_way=gives_way,
        )
        task = asyncio.create_task(showing.run())
        try:
            await clock.settle()
            yield Yard(store, clock, cameras, media, showing, heard)
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error


def test_no_playlist_names_what_the_centre_has_not(tmp_path: Path) -> None:
    """Initialisation first, then segments from three back, each followed by the playlist; then each new segment once."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press()
            assert y.put() == [
                "init-1.mp4",
                *("1-98.m4s", "index.m3u8", "1-99.m4s", "index.m3u8", "1-100.m4s", "index.m3u8"),
            ]
            await y.clock.advance(20)
            segments = [name for name in y.put() if name.endswith("m4s")]
            assert segments == [f"1-{n}.m4s" for n in range(98, 121)]
            have: set[str] = set()
            for place, data in y.media.parts:
                if place.endswith("m3u8"):
                    listed = {line for line in data.decode().splitlines() if line and line[0] != "#"}
                    assert listed <= have
                have.add(place.rpartition("/")[2])
            assert "DISCONTINUITY\n" not in y.playlist()
            assert len(y.heard) == len(y.media.parts)

    run(story())


def test_nothing_is_shown_without_an_open_alarm(tmp_path: Path) -> None:
    """Before a press nothing of any camera leaves the school."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.clock.advance(30)
            assert y.media.parts == []

    run(story())


def test_closing_ends_the_picture_at_once(tmp_path: Path) -> None:
    """The last thing put is a playlist with its end, within 2 s though a PUT is on its way; then nothing more."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press()
            await y.press("alm_2", cameras=("cam-b",))
            await y.clock.advance(5)
            y.media.part_takes_s = 1.5
            await y.clock.advance(1)  # something is on its way
            await y.close()
            await y.clock.advance(2)
            assert y.playlist().endswith("#EXT-X-ENDLIST\n")
            count = len(y.put())
            await y.clock.advance(30)
            assert len(y.put()) == count
            assert len(y.put("alm_2", "cam-b")) > 20
            assert "ENDLIST" not in y.playlist("alm_2", "cam-b")

    run(story())


def test_a_line_slower_than_the_picture_is_given_the_newest(tmp_path: Path) -> None:
    """Each PUT takes two seconds of a picture of one: what comes is never older than a few seconds, and gaps are told."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press()
            y.media.part_takes_s = 2.0
            await y.clock.advance(60)
            names = [name for name in y.put() if name.endswith("m4s")]
            newest = int(names[-1].removeprefix("1-").removesuffix(".m4s"))
            assert 160 - newest <= 8, "what is seen is of now"
            numbers = [int(n.removeprefix("1-").removesuffix(".m4s")) for n in names]
            assert numbers == sorted(set(numbers))
            assert len(numbers) < 30
            assert "#EXT-X-DISCONTINUITY\n" in y.playlist()

    run(story())


def test_a_reopened_stream_comes_with_its_own_initialisation(tmp_path: Path) -> None:
    """The new initialisation is put before its first segment, and the playlist says where it begins."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press()
            await y.clock.advance(3)
            y.cameras.epoch["cam-a"] = 2
            await y.clock.advance(3)
            put = y.put()
            assert put.index("init-2.mp4") < put.index(next(n for n in put if n.startswith("2-")))
            text = y.playlist()
            assert '#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI="init-2.mp4"' in text

    run(story())


def test_a_camera_without_picture_is_shown_when_it_is_back(tmp_path: Path) -> None:
    """It holds up no other camera; when it gives a picture that is put from then on."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.cameras.down["cam-a"] = "no frames"
            await y.press(cameras=("cam-a", "cam-b"))
            await y.clock.advance(5)
            assert (y.put(), bool(y.put(camera="cam-b"))) == ([], True)
            del y.cameras.down["cam-a"]
            await y.clock.advance(2)
            assert "index.m3u8" in y.put()

    run(story())


def test_a_centre_that_takes_no_live_picture_is_a_fault_and_asked_ever_less(tmp_path: Path) -> None:
    """404 to every part: told after 5 s with the answer, tried at most every 8 s, gone when it is taken."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            tried: list[str] = []

            def refuse(place: str) -> Answer:
                tried.append(place)
                return Answer(status=404, detail="Not Found")

            y.media.part_answer = refuse
            await y.press()
            await y.clock.advance(6)
            assert "404 Not Found" in y.showing.causes[FaultKind.PATH, "media-live"]
            assert y.heard == []
            await y.clock.advance(60)
            assert len(tried) < 15
            y.media.part_answer = lambda _: Answer(status=201)
            await y.clock.advance(9)
            assert y.showing.causes == {}
            assert "index.m3u8" in y.put()

    run(story())


def test_pictures_are_bounded_and_the_newest_press_is_seen(tmp_path: Path) -> None:
    """Twenty alarms of one camera each: sixteen pictures at once, the newest press among them, and the rest is said."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            for n in range(20):
                await y.press(f"alm_{n}")
                await y.clock.advance(0.1)
            await y.clock.advance(5)
            before = {n: len(y.put(f"alm_{n}")) for n in range(20)}
            await y.clock.advance(5)
            going = [n for n in range(20) if len(y.put(f"alm_{n}")) > before[n]]
            assert going == list(range(20 - MOST_SHOWN, 20))
            assert "4 live pictures" in y.showing.causes[FaultKind.PATH, "media-live-most"]
            assert "ENDLIST" not in y.playlist("alm_0"), "it may go on when another is closed"
            await y.close("alm_19")
            await y.clock.advance(3)
            assert len(y.put("alm_3")) > before[3]

    run(story())


def test_numbers_never_go_back_over_a_restart(tmp_path: Path) -> None:
    """A gateway started again goes on with a higher number, so that a player that kept watching is not thrown back."""

    async def story() -> None:
        first: list[int] = []
        async with yard(tmp_path) as y:
            await y.press()
            await y.clock.advance(30)
            first.append(_first_number(y.playlist()))
            task = asyncio.create_task(
                Showing(
                    store=y.store,
                    clock=y.clock,
                    cameras=y.cameras,
                    uplink=y.media,
                    envelopes=envelopes(),
                    heard=y.heard.append,
                    give_way=_at_once,
                ).run()
            )
            await y.clock.settle()
            task.cancel()
            await asyncio.wait([task])
            first.append(_first_number(y.playlist()))
        assert first[1] >= first[0]

    run(story())


async def _at_once() -> None:
    return


def _first_number(text: str) -> int:
    (line,) = [line for line in text.splitlines() if line.startswith("#EXT-X-MEDIA-SEQUENCE:")]
    return int(line.partition(":")[2])

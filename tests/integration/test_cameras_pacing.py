"""Cameras whose threads rest between pictures: fewer turns, and the same evidence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise

import pytest

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.evidence.stills import Still, Stills
from drivers.cameras.worker.frames import pacing
from drivers.cameras.worker.frames.timing import HouseClock
from drivers.cameras.worker.stream.opening import Address
from drivers.cameras.worker.stream.ring import Ring
from drivers.cameras.worker.stream.rtsp import Session
from gateway.domain.errors import Unavailable
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import started, told
from tests.support.signals import wait_until

pytestmark = pytest.mark.alone  # times of pictures or alerts, on a machine that nobody else uses


FRAME_MS = 40
TOGETHER_S = 0.01
WATCHED = 100


def together(times: list[float]) -> int:
    """How many pictures came at once with the one before."""
    return sum(later - earlier < TOGETHER_S for earlier, later in pairwise(times))


@asynccontextmanager
async def received(
    camera: SimulatedCamera, clock: HouseClock, on_frame: Callable[[Session], None] = lambda _: None
) -> AsyncIterator[tuple[Session, list[float]]]:
    """A session with the camera, and when each of its pictures was taken in."""
    came: list[float] = []

    def note(session: Session) -> None:
        came.append(time.monotonic())
        on_frame(session)

    ring = Ring(RingLimits(seconds=60, bytes=64 << 20))
    session = Session("cam", ring, clock, on_frame=note, on_change=lambda: None)
    session.point_at(Address(url=camera.rtsp_url, username=camera.username, password=camera.password))
    session.start()
    try:
        yield session, came
    finally:
        session.end()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HouseClock:
    """The wall clock; and sessions rest as soon as they are a second old."""
    monkeypatch.setattr(pacing, "SETTLED_S", 1.0)
    return HouseClock(time.monotonic(), time.time())


def test_pictures_are_taken_together_and_as_they_come_for_who_hurries(clock: HouseClock) -> None:
    """Of a hundred pictures most come at once with the one before; as soon as somebody waits, hardly any."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), received(camera, clock) as (session, came):
            await wait_until(lambda: together(came[-WATCHED:]) > WATCHED / 2, 30, "no rests")
            hurried = len(came)
            session.hurry(time.monotonic() + 60)
            await wait_until(lambda: len(came) > hurried + WATCHED + 10, 30, "no pictures")
            assert together(came[hurried + 10 :][:WATCHED]) < WATCHED / 4

    asyncio.run(run())


def test_stills_are_of_their_instants_and_at_once_while_a_thread_rests(clock: HouseClock) -> None:
    """Ten presses, each once the camera's thread is seen to rest: every still shows its instant, and comes as soon as without
    rests."""
    camera, stills = SimulatedCamera(name="cam"), Stills()

    async def still(session: Session, at_s: float) -> Still:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Still | Unavailable] = loop.create_future()
        stills.take(session, at_s, partial(loop.call_soon_threadsafe, answer.set_result))
        taken = await asyncio.wait_for(answer, 10)
        assert isinstance(taken, Still), taken
        return taken

    async def run() -> None:
        async with started(camera), received(camera, clock, stills.frame_arrived) as (session, came):
            took_s = []
            for _ in range(10):
                # Those of the press before were asked for until its pictures had come: only what is new tells of rests.
                since = len(came)
                await wait_until(lambda since=since: together(came[since:]) > 10, 30, "no rests")
                now_s = time.monotonic()
                for at_s in (now_s, now_s - 1.5):
                    taken = await still(session, at_s)
                    shown_ms = told(taken.jpeg).unix_ms
                    assert abs(shown_ms - clock.to_wall(at_s) * 1000) <= FRAME_MS
                    assert abs(shown_ms - clock.to_wall(taken.time_s) * 1000) <= FRAME_MS / 2
                took_s.append(time.monotonic() - now_s)
            assert sorted(took_s)[len(took_s) // 2] < 1.0

    asyncio.run(run())

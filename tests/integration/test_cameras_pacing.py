"""Cameras whose threads rest between pictures: fewer turns, and the same evidence."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from drivers.cameras import pacing
from drivers.cameras.opening import Address
from drivers.cameras.pacing import SETTLED_S
from drivers.cameras.ring import Ring
from drivers.cameras.rtsp import Session
from drivers.cameras.spec import RingLimits
from drivers.cameras.timing import HouseClock
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, covering, healthy, started, told
from tests.support.signals import wait_until

FRAME_MS = 40
TOGETHER_S = 0.01
WATCHED = 100


def test_pictures_are_taken_together_and_as_they_come_for_who_hurries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a hundred pictures most come at once with the one before; as soon as somebody waits, hardly any."""
    monkeypatch.setattr(pacing, "SETTLED_S", 1.0)
    camera = SimulatedCamera(name="cam")
    came: list[float] = []

    def together(times: list[float]) -> int:
        return sum(later - earlier < TOGETHER_S for earlier, later in pairwise(times))

    async def run() -> None:
        async with started(camera):
            session = Session(
                "cam",
                Ring(RingLimits(seconds=60, bytes=64 << 20)),
                HouseClock(time.monotonic(), time.time()),
                on_frame=lambda _: came.append(time.monotonic()),
                on_change=lambda: None,
            )
            session.point_at(Address(url=camera.rtsp_url, username=camera.username, password=camera.password))
            session.start()
            try:
                await wait_until(lambda: together(came[-WATCHED:]) > WATCHED / 2, 30, "no rests")
                hurried, since_s = len(came), time.monotonic()
                session.hurry(since_s + 60)
                await wait_until(lambda: len(came) > hurried + WATCHED + 10, 30, "no pictures")
                assert together(came[hurried + 10 :][:WATCHED]) < WATCHED / 4
            finally:
                session.end()

    asyncio.run(run())


def test_stills_are_of_their_instants_and_at_once_while_threads_rest(tmp_path: Path) -> None:
    """Ten presses while the threads of two cameras rest: every still shows its instant, and comes as soon as without rests."""
    cameras = [SimulatedCamera(name=f"cam-{i}") for i in range(2)]

    async def run() -> None:
        async with started(*cameras), banked([by_stream(c) for c in cameras], tmp_path, ring_s=30) as bank:
            await healthy(bank)
            await covering(bank, SETTLED_S + 2, 40)
            took_s = []
            for _ in range(10):
                now, began_s = datetime.now(UTC), time.monotonic()
                for instant in (now, now - timedelta(seconds=1.5)):
                    stills = await asyncio.gather(*(bank.take_still(c.name, instant) for c in cameras))
                    for still in stills:
                        shown_ms = told(still.jpeg).unix_ms
                        assert abs(shown_ms - instant.timestamp() * 1000) <= FRAME_MS
                        assert abs(shown_ms - still.taken_at.timestamp() * 1000) <= FRAME_MS / 2
                took_s.append(time.monotonic() - began_s)
                # What a thread that rests does not show, it would show here: each press finds it at another moment of its rest.
                await asyncio.sleep(0.37)
            assert sorted(took_s)[len(took_s) // 2] < 1.0

    asyncio.run(run())

"""Cameras that refuse, lie, hang or freeze: each costs itself only, and says why."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivers.cameras.spec import CameraSpec, StreamAddress
from gateway.domain.errors import Unavailable
from simulators.camera.faults import CameraFaults
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, healthy, started
from tests.support.signals import wait_until


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def test_wrong_password_is_told_and_not_tried_again(tmp_path: Path) -> None:
    """A 401 is one attempt, whatever happens: cameras lock accounts; new credentials come with a new process."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera, password="wrong")], tmp_path) as bank:
            await wait_until(lambda: "401" in bank.health()["cam"].cause)
            assert "not tried again for 10 min" in bank.health()["cam"].cause
            assert "wrong" not in bank.health()["cam"].cause
            tried = camera.refused_logins
            assert tried <= 2
            await asyncio.sleep(4)  # an ordinary failure would have been tried again three times by now
            assert camera.refused_logins == tried
            with pytest.raises(Unavailable, match="401"):
                await bank.take_still("cam", now())

    asyncio.run(run())


def test_jpeg_where_h264_was_promised_is_named(tmp_path: Path) -> None:
    """The cause says what was found, what was expected and what to do; a camera beside it is not touched."""
    lying = SimulatedCamera(name="lying", faults=CameraFaults(wrong_codec=True))
    good = SimulatedCamera(name="good")

    async def run() -> None:
        async with started(lying, good), banked([by_stream(lying), by_stream(good)], tmp_path) as bank:
            await wait_until(
                lambda: "MJPEG where H.264 or H.265 was expected" in bank.health()["lying"].cause, 20
            )
            await healthy(bank, "good")
            with pytest.raises(Unavailable, match="MJPEG"):
                await bank.take_still("lying", now())

    asyncio.run(run())


def test_silent_server_holds_up_nobody(tmp_path: Path) -> None:
    """A server that takes connections and says nothing is named; the others deliver, and stopping is prompt."""
    good = SimulatedCamera(name="good")
    taken: list[asyncio.StreamWriter] = []

    async def run() -> None:
        server = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        silent = CameraSpec(id="silent", stream=StreamAddress(url=f"rtsp://127.0.0.1:{port}/s"))
        async with server, started(good), banked([silent, by_stream(good)], tmp_path) as bank:
            await healthy(bank, "good")
            await wait_until(lambda: len(taken) > 0)
            began = time.monotonic()
            await bank.take_still("good", now())
            assert time.monotonic() - began < 1
            await wait_until(lambda: f"127.0.0.1:{port}" in bank.health()["silent"].cause, 15)
            began = time.monotonic()
            await bank.stop()
            assert time.monotonic() - began < 1
            for writer in taken:
                writer.close()

    asyncio.run(run())


def test_frozen_camera_is_found_out_and_opened_again(tmp_path: Path) -> None:
    """A session without frames is given up after 5 s; when the camera thaws it delivers again, in a new session."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await camera.set_faults(CameraFaults(freeze=True))
            frozen = time.monotonic()
            await wait_until(lambda: not bank.health()["cam"].healthy, 10)
            assert 4 < time.monotonic() - frozen < 8
            await wait_until(lambda: "stands still" in bank.health()["cam"].cause)
            await camera.set_faults(CameraFaults())
            await healthy(bank, timeout_s=25)
            assert bank.health()["cam"].sessions >= 2
            assert camera.playing == 1

    asyncio.run(run())


def test_camera_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """A port nobody listens at is named and tried again; one session is open at any time."""
    camera = SimulatedCamera(name="cam", faults=CameraFaults(refuse_connections=True))

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await wait_until(lambda: "nothing listens at" in bank.health()["cam"].cause)
            await camera.set_faults(CameraFaults())
            await healthy(bank)
            assert (camera.playing, bank.health()["cam"].sessions) == (1, 1)

    asyncio.run(run())


def test_session_cut_in_the_middle_of_a_frame_is_survived(tmp_path: Path) -> None:
    """A camera that breaks off every second is opened again each time, and its stills are whole pictures."""
    camera = SimulatedCamera(name="cam", faults=CameraFaults(cut_after_frames=40))

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await wait_until(lambda: bank.health()["cam"].sessions >= 3, 20)
            await camera.set_faults(CameraFaults())
            await healthy(bank)
            assert bank.restarts == 0
            await bank.take_still("cam", now())

    asyncio.run(run())

"""Cameras reached by ONVIF: behind NAT, with a wrong clock, with and without the right password; and their snapshots."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivers.cameras.spec import CameraSpec, OnvifAddress
from gateway.domain.errors import Unavailable
from simulators.camera.faults import CameraFaults
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, healthy, started, told
from tests.support.signals import wait_until


def by_onvif(camera: SimulatedCamera, *, password: str | None = None) -> CameraSpec:
    """The camera reached by its ONVIF device service; only valid once it is started."""
    return CameraSpec(
        id=camera.name,
        onvif=OnvifAddress(
            host="127.0.0.1",
            port=camera.onvif_port,
            username=camera.username,
            password=password or camera.password,
        ),
    )


def test_camera_behind_nat_with_a_wrong_clock_is_read(tmp_path: Path) -> None:
    """Answers that name an inner host, and a clock an hour ahead, neither hinder the log-in nor move the pictures."""
    camera = SimulatedCamera(name="cam", faults=CameraFaults(wrong_host="192.0.2.7", clock_skew_s=3600))

    async def run() -> None:
        async with started(camera):
            # The port named for HTTP is wrong too: all answers name the RTSP port, which is kept for the stream only.
            await camera.set_faults(
                CameraFaults(wrong_host="192.0.2.7", wrong_port=camera.rtsp_port, clock_skew_s=3600)
            )
            async with banked([by_onvif(camera)], tmp_path) as bank:
                await healthy(bank)
                await wait_until(lambda: bank.health()["cam"].clock_offset_s is not None)
                offset_s = bank.health()["cam"].clock_offset_s
                assert offset_s == pytest.approx(3600, abs=1.5)
                asked = datetime.now(UTC)
                still = await bank.take_still("cam", asked)
                assert abs(told(still.jpeg).unix_ms - asked.timestamp() * 1000) <= 40
                assert bank.health()["cam"].offers_snapshot
                snapshot = await bank.fetch_snapshot("cam")
                assert (snapshot.source, snapshot.clock) == ("onvif", "arrival")
                assert told(snapshot.jpeg).unix_ms == pytest.approx(
                    snapshot.taken_at.timestamp() * 1000, abs=100
                )

    asyncio.run(run())


def test_wrong_password_is_asked_once(tmp_path: Path) -> None:
    """Refused credentials stop all log-ins, by ONVIF and by RTSP, and the technician reads why."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_onvif(camera, password="wrong")], tmp_path) as bank:
            await wait_until(lambda: "refuses user name or password" in bank.health()["cam"].cause, 15)
            assert "not tried again for 10 min" in bank.health()["cam"].cause
            assert camera.refused_logins == 0
            assert camera.connections == 0
            with pytest.raises(Unavailable, match="snapshot address is not known: ONVIF"):
                await bank.fetch_snapshot("cam")

    asyncio.run(run())


def test_camera_that_comes_late_is_found(tmp_path: Path) -> None:
    """An ONVIF port nobody listens at is knocked at until somebody does, without starting the costly questions."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        await camera.start()
        spec = by_onvif(camera)
        ports = (camera.rtsp_port, camera.http_port)
        await camera.stop()
        async with banked([spec], tmp_path) as bank:
            await wait_until(lambda: "cannot be reached" in bank.health()["cam"].cause)
            back = SimulatedCamera(name="cam", rtsp_port=ports[0], http_port=ports[1])
            async with started(back):
                await healthy(bank, timeout_s=20)

    asyncio.run(run())


def test_snapshot_that_never_ends_costs_three_seconds_and_itself(tmp_path: Path) -> None:
    """A hanging snapshot is given up at its deadline while another camera's is fetched and stills go on."""
    hanging = SimulatedCamera(name="hanging", faults=CameraFaults(snapshot_hangs=True))
    good = SimulatedCamera(name="good")

    async def run() -> None:
        async with started(hanging, good), banked([by_onvif(hanging), by_onvif(good)], tmp_path) as bank:
            await healthy(bank)
            began = time.monotonic()
            stuck = asyncio.create_task(bank.fetch_snapshot("hanging"))
            await bank.fetch_snapshot("good")
            await bank.take_still("hanging", datetime.now(UTC))
            assert time.monotonic() - began < 2
            with pytest.raises(Unavailable, match="not there within 3 s"):
                await stuck
            assert time.monotonic() - began < 4

    asyncio.run(run())


def test_camera_without_onvif_offers_no_snapshot(tmp_path: Path) -> None:
    """A bare stream has none, and the reason says so."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            assert not bank.health()["cam"].offers_snapshot
            with pytest.raises(Unavailable, match="by its stream alone"):
                await bank.fetch_snapshot("cam")

    asyncio.run(run())

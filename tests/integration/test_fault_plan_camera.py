"""Each fault of a plan at a real camera: what a player sees of it, and that it is over when the plan is."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
import urllib.request
from collections.abc import Callable

import pytest

from simulators.camera.faults import CameraFaults
from simulators.camera.simulated import SimulatedCamera
from tests.support.fault_plan import played
from tests.support.rtsp_player import RawClient

PACKETS = 45
_NTP_OF_1970 = 2_208_988_800

Look = Callable[[SimulatedCamera], None]


def packets(camera: SimulatedCamera, count: int = PACKETS) -> list[tuple[int, int, float]]:
    """Sequence number, RTP time and lateness in seconds of the next video packets."""
    found = []
    with RawClient(camera.rtsp_port) as client:
        client.start()
        while len(found) < count:
            channel, packet = client.packet()
            if channel == 0:
                rtp_time = int.from_bytes(packet[4:8], "big")
                late = (int(time.time() * 1000) * 90 - rtp_time) & 0xFFFFFFFF
                found.append((int.from_bytes(packet[2:4], "big"), rtp_time, late / 90_000))
    return found


def steps(camera: SimulatedCamera) -> set[int]:
    """By how much sequence numbers go on from packet to packet."""
    numbers = [number for number, _, _ in packets(camera)]
    return {(after - before) & 0xFFFF for before, after in itertools.pairwise(numbers)}


def drop(camera: SimulatedCamera) -> None:
    assert steps(camera) == {1, 2}


def duplicate(camera: SimulatedCamera) -> None:
    assert steps(camera) == {0, 1}


def reorder(camera: SimulatedCamera) -> None:
    assert 0xFFFF in steps(camera)


def delay(camera: SimulatedCamera) -> None:
    assert 0.5 <= packets(camera, 10)[-1][2] < 3


def refuse(camera: SimulatedCamera) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", camera.rtsp_port), 5)


def freeze(camera: SimulatedCamera) -> None:
    with RawClient(camera.rtsp_port) as client:
        client.start()
        client.socket.settimeout(0.7)
        with pytest.raises(TimeoutError):
            packets_for_ever(client)


def packets_for_ever(client: RawClient) -> None:
    while True:
        client.packet()


def skew(camera: SimulatedCamera) -> None:
    with RawClient(camera.rtsp_port) as client:
        client.start()
        channel, report = client.packet()
    assert channel == 1
    assert int.from_bytes(report[8:12], "big") - _NTP_OF_1970 - 90 == pytest.approx(time.time(), abs=5)


def wrong_password(camera: SimulatedCamera) -> None:
    with RawClient(camera.rtsp_port) as client:
        assert client.ask("DESCRIBE")[0] == 401


def slow(camera: SimulatedCamera) -> None:
    began_s = time.monotonic()
    with urllib.request.urlopen(camera.snapshot_url, timeout=10) as still:
        assert still.status == 200
    assert time.monotonic() - began_s >= 1.5


def cut(camera: SimulatedCamera) -> None:
    markers = 0
    with RawClient(camera.rtsp_port) as client:
        client.start()
        try:
            while markers <= 7:
                channel, packet = client.packet()
                markers += channel == 0 and packet[1] >> 7
        except (EOFError, ConnectionResetError):
            pass
    assert markers == 7


LOOKS: list[tuple[str, float | None, Look]] = [
    ("drop", 10, drop),
    ("delay", 0.5, delay),
    ("duplicate", 10, duplicate),
    ("reorder", 5, reorder),
    ("refuse", None, refuse),
    ("freeze", None, freeze),
    ("skew", 90, skew),
    ("wrong-password", None, wrong_password),
    ("slow", 1.5, slow),
    ("cut", 7, cut),
]


@pytest.mark.parametrize(("fault", "value", "look"), LOOKS, ids=[fault for fault, _, _ in LOOKS])
def test_a_camera_with_a_planned_fault(fault: str, value: float | None, look: Look) -> None:
    """A player sees the fault from its beginning and a camera in good order from its end."""

    async def run() -> None:
        async with SimulatedCamera(password="", gop=5) as camera:
            url = f"http://127.0.0.1:{camera.http_port}"
            async with played(url, "camera-1", fault, value):
                await asyncio.to_thread(look, camera)
            assert camera.faults == CameraFaults()
            assert await asyncio.to_thread(steps, camera) == {1}

    asyncio.run(asyncio.wait_for(run(), 40))

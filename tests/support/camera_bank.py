"""A real camera bank on simulated cameras, and what is needed to look at what it makes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from drivers.cameras.parent.bank import SubprocessCameraBank
from drivers.cameras.spec import CameraSpec, StreamAddress
from gateway.box.clock import SystemClock
from simulators.camera.picture import Reading, read
from simulators.camera.simulated import SimulatedCamera
from tests.support.signals import wait_until


def by_stream(
    camera: SimulatedCamera,
    *,
    password: str | None = None,
    live_url: str | None = None,
    audio: bool = False,
    record: bool = False,
) -> CameraSpec:
    """The camera reached by its bare RTSP address."""
    return CameraSpec(
        id=camera.name,
        stream=StreamAddress(
            url=camera.rtsp_url,
            live_url=live_url,
            username=camera.username,
            password=password or camera.password,
        ),
        audio=audio,
        record=record,
    )


@asynccontextmanager
async def banked(
    specs: Sequence[CameraSpec],
    spool: Path,
    *,
    ring_s: float = 20,
    ring_bytes_total: int = 256 << 20,
    recordings: Path | None = None,
    segment_s: float = 60.0,
) -> AsyncIterator[SubprocessCameraBank]:
    """A running bank for these cameras; its process is gone afterwards."""
    bank = SubprocessCameraBank(
        specs,
        ring_s=ring_s,
        ring_bytes_total=ring_bytes_total,
        spool=spool,
        clock=SystemClock(),
        recordings=recordings,
        segment_s=segment_s,
    )
    await bank.start()
    running = asyncio.create_task(bank.run())
    try:
        yield bank
    finally:
        await bank.stop()
        await running


@asynccontextmanager
async def started(*cameras: SimulatedCamera) -> AsyncIterator[None]:
    """Simulated cameras that run for a while."""
    async with AsyncExitStack() as stack:
        for camera in cameras:
            await stack.enter_async_context(camera)
        yield


async def healthy(bank: SubprocessCameraBank, *cameras: str, timeout_s: float = 15) -> None:
    """Wait until these cameras (default: all) deliver frames."""
    names = cameras or tuple(bank.health())
    await wait_until(
        lambda: all(bank.health()[name].healthy for name in names),
        timeout_s,
        "; ".join(f"{name}: {bank.health()[name].cause}" for name in names),
    )


async def covering(bank: SubprocessCameraBank, seconds: float, timeout_s: float = 20) -> None:
    """Wait until every ring holds so many seconds."""
    await wait_until(lambda: all(h.ring_s >= seconds for h in bank.health().values()), timeout_s, "rings")


def told(jpeg: bytes) -> Reading:
    """What a picture of a simulated camera says of its own time."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return read(picture)


def nal_units_of(clip: Path) -> list[list[bytes]]:
    """Every sample's NAL units, as they lie in an MP4."""
    samples = []
    with av.open(str(clip)) as container:
        for packet in container.demux(video=0):
            data, at, units = bytes(packet), 0, []
            while at < len(data):
                size = int.from_bytes(data[at : at + 4], "big")
                units.append(data[at + 4 : at + 4 + size])
                at += 4 + size
            if units:
                samples.append(units)
    return samples


def needed(program: str) -> str:
    """The path of a foreign program; the test is skipped without it, or fails where all of them must be there."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is not installed")
    assert path is not None
    return path


def missing(reason: str) -> None:
    """Skip the test, or fail it where every component must be there."""
    if os.environ.get("CAMPUS_TEST_STRICT") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def ffprobe(path: Path | str, *entries: str) -> dict[str, Any]:
    """What ffprobe says; fails on anything it complains of."""
    done = subprocess.run(
        [needed("ffprobe"), "-v", "error", "-of", "json", *entries, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found

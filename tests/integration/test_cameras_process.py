"""The camera process: killed, hung, orphaned."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.domain.errors import Unavailable
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, covering, ffprobe, healthy, started
from tests.support.signals import wait_until

BACK_S = 3.0
"""The promise: a camera process that was killed is back, its cameras reopening, within this."""

LOST_S = 2.0
"""The promise: what a kill costs at most of a clip, namely the second being received and the one just being written."""

BUSY_S = 0.5
"""What a busy machine is given beyond a promise."""


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@pytest.mark.alone
def test_killed_process_fails_its_callers_at_once_keeps_the_clip_and_is_back(tmp_path: Path) -> None:
    """A still on its way fails at once, a clip keeps what was written, and the cameras deliver again within 3 s."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 3)
            start = now() - timedelta(seconds=2)
            cutting = asyncio.create_task(
                bank.cut_clip("cam", start, now() + timedelta(seconds=30), tmp_path / "clip.mp4")
            )
            waiting = asyncio.create_task(bank.take_still("cam", now() + timedelta(seconds=30)))
            await asyncio.sleep(2.5)
            assert bank.process_id is not None
            os.kill(bank.process_id, signal.SIGKILL)
            killed, killed_at = time.monotonic(), now()
            with pytest.raises(Unavailable, match="signal 9"):
                await waiting
            clip = await cutting
            assert time.monotonic() - killed < 0.5
            assert clip.shortfall is not None
            assert "early: the camera process ended (signal 9" in clip.shortfall
            assert clip.start <= start
            assert clip.end >= killed_at - timedelta(seconds=LOST_S + BUSY_S)
            assert (tmp_path / "clip.mp4").stat().st_size == clip.bytes
            assert not bank.health()["cam"].healthy
            await healthy(bank)
            assert time.monotonic() - killed < BACK_S
            assert bank.restarts == 1
            await bank.take_still("cam", now())

            frames = ffprobe(tmp_path / "clip.mp4", "-count_frames", "-show_entries", "stream=nb_read_frames")
            length_s = (clip.end - clip.start).total_seconds()
            assert int(frames["streams"][0]["nb_read_frames"]) == round(length_s * 25)

    asyncio.run(run())


def test_hung_process_is_killed_and_started_again(tmp_path: Path) -> None:
    """A camera process that stands still (here: stopped by a signal) is found out by its silence."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            first = bank.process_id
            assert first is not None
            os.kill(first, signal.SIGSTOP)
            await wait_until(lambda: bank.process_id not in (first, None), 10, "another process")
            assert "answered nothing" in bank.health()["cam"].cause or bank.health()["cam"].healthy
            await healthy(bank)

    asyncio.run(run())


def test_process_ends_with_its_gateway(tmp_path: Path) -> None:
    """Kill -9 of the gateway leaves no camera process behind."""
    script = f"""
import asyncio
from pathlib import Path
from drivers.cameras.parent.bank import SubprocessCameraBank
from drivers.cameras.spec import CameraSpec, StreamAddress
from gateway.box.clock import SystemClock

async def main():
    spec = CameraSpec(id="cam", stream=StreamAddress(url="rtsp://127.0.0.1:9/none"))
    bank = SubprocessCameraBank([spec], ring_s=5, ring_bytes_total=1 << 20, spool=Path({str(tmp_path)!r}),
                                clock=SystemClock())
    running = asyncio.create_task(bank.run())
    while "9" not in bank.health()["cam"].cause:
        await asyncio.sleep(0.02)
    print(bank.process_id, flush=True)
    await running

asyncio.run(main())
"""
    gateway = subprocess.Popen(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    try:
        assert gateway.stdout is not None
        worker = int(gateway.stdout.readline())
        assert "drivers.cameras.worker" in Path(f"/proc/{worker}/cmdline").read_text()
    finally:
        gateway.kill()
        gateway.communicate()
    deadline = time.monotonic() + 3
    while Path(f"/proc/{worker}/cmdline").exists() and Path(f"/proc/{worker}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "the camera process outlived its gateway"
        time.sleep(0.01)


def test_credentials_are_in_no_argument_and_no_environment(tmp_path: Path) -> None:
    """Neither the process list nor the environment shows a camera's password, or any other secret of the gateway."""
    camera = SimulatedCamera(name="cam", password="geheim-4711")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            proc = Path(f"/proc/{bank.process_id}")
            for name in ("cmdline", "environ"):
                assert b"geheim" not in proc.joinpath(name).read_bytes()
            assert b"CENTRE_SECRET" not in proc.joinpath("environ").read_bytes()

    os.environ["CENTRE_SECRET"] = "whsec_x"
    try:
        asyncio.run(run())
    finally:
        del os.environ["CENTRE_SECRET"]


def test_stop_is_prompt_and_harmless_when_repeated(tmp_path: Path) -> None:
    """A bank stops in well under a second, also before it ever ran, and again."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            began = time.monotonic()
            await bank.stop()
            assert time.monotonic() - began < 1
            await bank.stop()
            assert bank.process_id is None
            with pytest.raises(Unavailable):
                await bank.take_still("cam", now())

    asyncio.run(run())

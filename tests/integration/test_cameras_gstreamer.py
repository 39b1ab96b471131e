"""Streams of GStreamer's RTSP server: another author's RTSP, digest, RTP and timestamps."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras.spec import CameraSpec, StreamAddress
from tests.support.camera_bank import banked, covering, ffprobe, healthy, missing, nal_units_of
from tests.support.signals import wait_until

PASSWORD = "g-str: e@m/er"


@pytest.fixture
def port() -> Iterator[int]:
    """GStreamer's server on a port of its own."""
    python = Path("/usr/bin/python3")
    script = Path(__file__).parents[1] / "support" / "gst_rtsp.py"
    if not python.exists():
        missing("no system Python to run GStreamer's RTSP server with")
    server = subprocess.Popen(
        [str(python), str(script), PASSWORD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            server.wait(10)
            assert server.stderr is not None
            missing(f"GStreamer's RTSP server does not start: {server.stderr.read()[-300:]}")
        yield int(line)
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize(("mount", "sets"), [("bare", 0), ("plain", 1), ("talking", 3)])
def test_gstreamer_stream_gives_stills_and_clips(port: int, mount: str, sets: int, tmp_path: Path) -> None:
    """Digest, parameter sets anywhere and any number of times, several slices a frame and sound beside it are taken."""
    url = f"rtsp://127.0.0.1:{port}/{mount}"
    spec = CameraSpec(id="cam", stream=StreamAddress(url=url, username="viewer", password=PASSWORD))

    async def run() -> None:
        async with banked([spec], tmp_path) as bank:
            await healthy(bank, timeout_s=20)
            await covering(bank, 4)
            await wait_until(lambda: bank.health()["cam"].clock_offset_s is not None)
            assert bank.health()["cam"].clock_offset_s == pytest.approx(0, abs=0.5)
            asked = datetime.now(UTC)
            for tenths in range(12):  # frames from everywhere in a group of pictures
                still = await bank.take_still("cam", asked - timedelta(seconds=tenths / 10))
                assert abs(still.offset_ms) <= 25
                picture = cv2.imdecode(np.frombuffer(still.jpeg, np.uint8), cv2.IMREAD_COLOR)
                assert picture is not None
                assert picture.shape == (360, 640, 3)
                assert picture.max() > 200  # the white ball on black is there, and not its outline alone
            clip = await bank.cut_clip(
                "cam", asked - timedelta(seconds=2), asked + timedelta(seconds=1), tmp_path / "clip.mp4"
            )
            assert clip.shortfall is None
            health = bank.health()["cam"]
            assert (health.width, health.height, health.sessions) == (640, 360, 1)

    asyncio.run(run())
    probed = ffprobe(
        tmp_path / "clip.mp4", "-count_frames", "-show_entries", "stream=codec_type,nb_read_frames"
    )
    assert [stream["codec_type"] for stream in probed["streams"]] == ["video"]
    samples = nal_units_of(tmp_path / "clip.mp4")
    assert int(probed["streams"][0]["nb_read_frames"]) == len(samples)
    assert max(sum(unit[0] & 31 in (1, 5) for unit in units) for units in samples) > 1
    assert [sum(unit[0] & 31 == 7 for unit in units) for units in samples[:2]] == [sets, 0]


def test_wrong_path_and_wrong_password_are_told_apart(port: int, tmp_path: Path) -> None:
    """404 names the path, 401 the credentials; neither shows the password."""
    url = f"rtsp://127.0.0.1:{port}"
    specs = [
        CameraSpec(id="path", stream=StreamAddress(url=f"{url}/no", username="viewer", password=PASSWORD)),
        CameraSpec(
            id="login", stream=StreamAddress(url=f"{url}/plain", username="viewer", password="geheim")
        ),
    ]

    async def run() -> None:
        async with banked(specs, tmp_path) as bank:
            await wait_until(lambda: "(404): check the path" in bank.health()["path"].cause)
            await wait_until(lambda: "refuses user name or password" in bank.health()["login"].cause)
            for health in bank.health().values():
                assert "geheim" not in health.cause
                assert "g-str" not in health.cause

    asyncio.run(run())

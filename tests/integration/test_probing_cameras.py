"""What the probe says of cameras: their second streams, a clock that cannot be read, and the words of the running gateway."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from config.loading import load_site
from config.settings import resolve
from gateway.app.commands.probe.cameras import camera_warnings, probe_cameras
from gateway.app.commands.probe.table import Line
from gateway.domain.camera import CameraHealth
from simulators.camera.settings import StreamSettings
from simulators.camera.simulated import SimulatedCamera
from tests.support.answer_proxy import answer_proxy, edited
from tests.support.camera_bank import banked, by_stream, started
from tests.support.processes import SECRETS, free_port, site_yaml
from tests.support.signals import wait_until

SUB = StreamSettings(codec="h264", width=352, height=288, fps=10, gop=10, b_frames=0)


async def probed(tmp_path: Path, *cameras: str) -> dict[str, tuple[str, str]]:
    """What each line says of a site with these cameras: name to (result, detail)."""
    text = site_yaml(broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1/campus")
    site = tmp_path / "site.yaml"
    listed = "".join(
        f"  - {{id: {name}, name: 走廊, zone: b1-301, record: alarms-only, {how}}}\n"
        for name, how in (each.split("=", 1) for each in cameras)
    )
    site.write_text(text.replace("cameras: []\n", f"cameras:\n{listed}", 1), "utf-8")
    told: list[Line] = []
    await probe_cameras(resolve(load_site(site, SECRETS), None), told.append, {})
    return {line.what: (str(line.result), line.detail) for line in told}


def test_second_streams_are_looked_at(tmp_path: Path) -> None:
    """One that works, one that is wrong, one that is no smaller, one that browsers do not play; none costs an alarm."""
    good = SimulatedCamera(name="good", width=640, height=480, sub=SUB, password="")
    other = SimulatedCamera(name="other", codec="h265", password="")

    async def run() -> None:
        async with started(good, other):
            port = good.rtsp_port
            table = await probed(
                tmp_path,
                f"cam-1=stream: {{url: '{good.rtsp_url}', sub_url: '{good.sub_url}', live_url: '{good.sub_url}'}}",
                f"cam-2=stream: {{url: '{good.rtsp_url}', sub_url: 'rtsp://127.0.0.1:{port}/nowhere'}}",
                f"cam-3=stream: {{url: '{good.rtsp_url}', sub_url: '{good.rtsp_url}?again'}}",
                f"cam-4=stream: {{url: '{good.rtsp_url}', sub_url: 'rtsp://127.0.0.1:{free_port()}/sub'}}",
                f"cam-5=stream: {{url: '{good.rtsp_url}', live_url: '{other.rtsp_url}'}}",
            )
        seconds = {
            name.removeprefix("camera 摄像机 "): line for name, line in table.items() if "_url" in name
        }
        assert {name: result for name, (result, _) in seconds.items()} == {
            "cam-1 sub_url": "OK",
            "cam-2 sub_url": "FAIL",
            "cam-3 sub_url": "WARN",
            "cam-4 sub_url": "FAIL",
            "cam-5 live_url": "WARN",
        }
        assert seconds["cam-1 sub_url"][1].endswith("352×288")
        assert "(404): check the path" in seconds["cam-2 sub_url"][1]
        assert "no smaller than the main stream (640×480)" in seconds["cam-3 sub_url"][1]
        assert "nothing listens at" in seconds["cam-4 sub_url"][1]
        assert "browsers do not play it" in seconds["cam-5 live_url"][1]
        assert {table[f"camera 摄像机 cam-{n}"][0] for n in range(1, 6)} == {"OK"}

    asyncio.run(run())


def test_a_clock_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    """It is said with the picture, not in its place; and only where neither ONVIF nor the stream tells the time."""
    camera = SimulatedCamera(name="cam", password="")
    month_0 = {"GetSystemDateAndTime": edited((r"<tt:Month>\d+</tt:Month>", "<tt:Month>0</tt:Month>"))}

    async def run() -> None:
        async with started(camera), answer_proxy(camera, month_0) as proxy:
            table = await probed(tmp_path, f"cam-1=onvif: {{host: 127.0.0.1, port: {proxy.port}}}")
        result, detail = table["camera 摄像机 cam-1"]
        assert result != "FAIL"
        assert "snapshot of" in detail

    asyncio.run(run())
    known = CameraHealth(camera="cam", healthy=True, cause="", since=datetime.now(UTC), clock_offset_s=0.5)
    unknown = replace(known, clock_offset_s=None)
    words = "its clock cannot be read: set its date and time, and an NTP server"
    assert camera_warnings(unknown, 1.0, by_onvif=True) == [words]
    assert camera_warnings(known, 1.0, by_onvif=True) == []
    assert camera_warnings(unknown, 1.0, by_onvif=False) == []


def test_the_running_fault_says_what_the_probe_says(tmp_path: Path) -> None:
    """Word for word: who reads one of them at 110 and the other on the spot speak of the same thing."""
    camera = SimulatedCamera(name="cam-1")

    async def run() -> None:
        async with started(camera):
            spec = by_stream(camera, password="wrong")
            assert spec.stream is not None
            table = await probed(
                tmp_path,
                f"cam-1=stream: {{url: '{camera.rtsp_url}', username: {camera.username}, password: wrong}}",
            )
            async with banked([spec], tmp_path) as bank:
                await wait_until(lambda: "refuses" in bank.health()["cam-1"].cause, 20)
                assert table["camera 摄像机 cam-1"] == ("FAIL", bank.health()["cam-1"].cause)

    asyncio.run(run())

"""What a client of the simulated camera sees of each fault on the stream."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request

import av
import pytest

from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import read_frame_stamp
from simulators.camera.picture import read
from simulators.camera.simulated import SimulatedCamera
from tests.support.rtsp_player import RawClient, play, wait_until


def test_a_frozen_camera_answers_and_sends_nothing() -> None:
    """Frames stop, the connection and its keep-alives live on, and frames come back at a key frame."""
    camera = SimulatedCamera(password="", gop=5)

    async def run() -> None:
        async with camera:
            with await asyncio.to_thread(RawClient, camera.rtsp_port) as client:
                await asyncio.to_thread(client.start)
                await asyncio.to_thread(client.packet)
                await camera.set_faults(CameraFaults(freeze=True))
                client.socket.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    await asyncio.to_thread(packets_until_silence, client)
            with await asyncio.to_thread(RawClient, camera.rtsp_port) as client:
                await asyncio.to_thread(client.start)
                assert (await asyncio.to_thread(client.ask, "GET_PARAMETER"))[0] == 200
                assert camera.connections == 1
                await camera.set_faults(CameraFaults())
                assert (await asyncio.to_thread(client.packet))[1][1] == 200

    asyncio.run(run())


def packets_until_silence(client: RawClient) -> None:
    while True:
        client.packet()


def test_a_camera_that_drops_connections() -> None:
    """The port opens, and everybody is thrown out, those who were playing too."""
    camera = SimulatedCamera()

    async def run() -> None:
        async with camera:
            playing = asyncio.create_task(asyncio.to_thread(play, camera.rtsp_url_with_login, packets=10_000))
            await asyncio.to_thread(
                wait_until, lambda: camera.playing == 1, within_s=10, what="the player plays"
            )
            await camera.set_faults(CameraFaults(drop_connections=True))
            assert len(await asyncio.wait_for(playing, 10)) < 10_000
            with pytest.raises(av.error.FFmpegError):
                await asyncio.to_thread(play, camera.rtsp_url_with_login, packets=1)
            assert camera.connections == 0

    asyncio.run(run())


def test_a_session_is_cut_in_the_middle_of_a_frame() -> None:
    """After so many whole frames comes half a frame and the end; the next session begins anew."""
    camera = SimulatedCamera(password="", faults=CameraFaults(cut_after_frames=7))

    async def run() -> None:
        async with camera:
            for _ in range(2):
                with await asyncio.to_thread(RawClient, camera.rtsp_port) as client:
                    await asyncio.to_thread(client.start)
                    assert await asyncio.to_thread(markers_until_end, client) == 7

    asyncio.run(run())


def markers_until_end(client: RawClient) -> int:
    """Count the ends of frames until the camera hangs up."""
    markers = 0
    try:
        while True:
            channel, packet = client.packet()
            markers += channel == 0 and packet[1] >> 7
    except (EOFError, ConnectionResetError):
        return markers


def test_a_camera_that_serves_jpeg() -> None:
    """Open sessions are cut, the description says JPEG, and FFmpeg shows readable JPEG pictures."""
    camera = SimulatedCamera()

    def jpegs() -> list[int]:
        options = {"rtsp_transport": "tcp", "analyzeduration": "100000", "probesize": "50000"}
        with av.open(camera.rtsp_url_with_login, options=options, timeout=10.0) as container:
            assert container.streams.video[0].codec_context.name == "mjpeg"
            found = []
            for frame in container.decode(video=0):
                reading = read(frame.to_ndarray(format="bgr24"))
                assert abs(time.time() * 1000 - reading.unix_ms) < 3000
                found.append(reading.frame)
                if len(found) == 3:
                    return found
        return []

    async def run() -> None:
        async with camera:
            playing = asyncio.create_task(asyncio.to_thread(play, camera.rtsp_url_with_login, packets=10_000))
            await asyncio.to_thread(
                wait_until, lambda: camera.playing == 1, within_s=10, what="the player plays"
            )
            await camera.set_faults(CameraFaults(wrong_codec=True))
            assert len(await asyncio.wait_for(playing, 10)) < 10_000
            assert len(await asyncio.to_thread(jpegs)) == 3

    asyncio.run(run())


def test_sender_reports_follow_the_cameras_clock() -> None:
    """The report tells the wall-clock time of the first frame by the camera's clock, which a fault skews."""
    skew_s = 1000.0
    camera = SimulatedCamera(password="", faults=CameraFaults(clock_skew_s=skew_s))

    async def run() -> None:
        async with camera:
            with await asyncio.to_thread(RawClient, camera.rtsp_port) as client:
                await asyncio.to_thread(client.start)
                channel, report = await asyncio.to_thread(client.packet)
                _, packet = await asyncio.to_thread(client.packet)
        assert channel == 1
        seconds = (
            int.from_bytes(report[8:12], "big") - 2_208_988_800 + int.from_bytes(report[12:16], "big") / 2**32
        )
        assert seconds - skew_s == pytest.approx(time.time(), abs=5)
        assert report[16:20] == packet[4:8], "report and frame have the same time stamp"

    asyncio.run(run())


def test_the_command_line_runs_cameras_until_sigterm() -> None:
    """One JSON line per camera, streams that play, a fault from the start, and exit 0 at SIGTERM."""
    command = [
        sys.executable,
        "-m",
        "simulators",
        "camera",
        "--count",
        "2",
        "--rtsp-port",
        "0",
        "--http-port",
        "0",
    ]
    with subprocess.Popen(
        [*command, "--width", "320", "--height", "180", "--cut-after-frames", "30"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = [json.loads(process.stdout.readline()) for _ in range(2)]
            assert [line["name"] for line in lines] == ["camera-1", "camera-2"]
            for line in lines:
                url = line["rtsp_url"].replace("//", "//admin:camera-password@")
                received = play(url, packets=1000)
                assert 29 <= len(received) <= 31
                assert read_frame_stamp(received[0].data) is not None
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_the_command_line_sets_codec_sound_and_sub_stream() -> None:
    """The main stream is in H.265 with sound, the sub stream in H.264, and the status tells both."""
    command = [sys.executable, "-m", "simulators", "camera", "--rtsp-port", "0", "--http-port", "0"]
    options = ["--codec", "h265", "--b-frames", "1", "--audio", "pcmu", "--sub", "h264:320x180@10"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = json.loads(process.stdout.readline())
            streams = []
            for url in (line["rtsp_url"], line["sub_url"]):
                with av.open(
                    url.replace("//", "//admin:camera-password@"),
                    options={"rtsp_transport": "tcp"},
                    timeout=10.0,
                ) as container:
                    streams.append([each.codec_context.name for each in container.streams])
            assert streams == [["hevc", "pcm_mulaw"], ["h264", "pcm_mulaw"]]
            with urllib.request.urlopen(
                f"http://127.0.0.1:{line['http_port']}/_status", timeout=10
            ) as answer:
                main, sub = json.load(answer)["streams"]
            assert (main["path"], main["codec"], main["b_frames"], main["audio"]) == (
                "/live",
                "h265",
                1,
                "pcmu",
            )
            assert (sub["path"], sub["codec"], sub["width"], sub["fps"]) == ("/sub", "h264", 320, 10)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--width", "11"], "11x360"),
        (["--wrong-port", "-1"], "wrong_port"),
        (["--count", "0"], "--count"),
        (["--sub", "h264:640x360"], "CODEC:WIDTHxHEIGHT@FPS"),
        (["--sub", "h266:640x360@15"], "h266"),
        (["--b-frames", "7"], "7 B-frames"),
        (["--change-gop-s", "0"], "groups of 0"),
        (["--source", "encoded", "--change-fps", "5"], "cannot change"),
    ],
)
def test_the_command_line_names_what_it_cannot_do(options: list[str], named: str) -> None:
    """Impossible values end with exit 2 and their name."""
    finished = subprocess.run(
        [sys.executable, "-m", "simulators", "camera", *options], capture_output=True, text=True, timeout=30
    )
    assert (finished.returncode, finished.stdout) == (2, "")
    assert named in finished.stderr

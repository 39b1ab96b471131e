"""The simulated camera against players that are not ours."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import av
import pytest
import uvloop

from simulators.camera.encoded import EncodedStream
from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import join_annex_b, read_frame_stamp
from simulators.camera.picture import read
from simulators.camera.rtp import PreparedFrame
from simulators.camera.simulated import SimulatedCamera
from tests.support.rtsp_player import RawClient, play, wait_until


def with_camera(camera: SimulatedCamera, check: Callable[[], None]) -> None:
    """Run a blocking check in a thread while the camera runs."""

    async def run() -> None:
        async with camera:
            await asyncio.to_thread(check)

    asyncio.run(run())


def small_stream() -> EncodedStream:
    return EncodedStream.make(width=320, height=180, gop=10, seconds=2, bits_per_s=300_000)


def test_the_clock_in_the_picture_is_the_frames_own() -> None:
    """Time between pictures equals time between packets to the millisecond, and a picture is seen soon after it was drawn."""
    camera = SimulatedCamera()

    def check() -> None:
        received = play(camera.rtsp_url_with_login, packets=40)
        shown = [(each, each.reading) for each in received if each.reading is not None]
        assert len(shown) == 40
        assert received[0].key
        _, first_reading = shown[0]
        # The offset between both clocks is one and the same for all frames.
        offsets = {each.pts - reading.unix_ms * 90 for each, reading in shown if each.pts is not None}
        assert len(offsets) == 1
        assert [read_frame_stamp(each.data) for each in received] == [reading.frame for _, reading in shown]
        assert [reading.frame for _, reading in shown] == list(
            range(first_reading.frame, first_reading.frame + 40)
        )
        # The first pictures wait for the player's probing; a later one is at most a few frames old.
        late_ms = min(each.arrived_s * 1000 - reading.unix_ms for each, reading in shown)
        assert 0 <= late_ms < 250

    with_camera(camera, check)
    assert camera.sessions_total == 1
    assert camera.connections == 0


def test_the_stream_has_its_rate_and_its_groups() -> None:
    """The frame rate and the distance of key frames are those asked for."""
    camera = SimulatedCamera(fps=10, gop=5, width=320, height=240)

    def check() -> None:
        received = play(camera.rtsp_url_with_login, packets=16)
        assert [index for index, each in enumerate(received) if each.key] == [0, 5, 10, 15]
        start, end = received[1].pts, received[-1].pts
        assert start is not None
        assert end is not None
        assert (end - start) / 90_000 == pytest.approx(1.4, abs=0.1)

    with_camera(camera, check)


def test_ffprobe_and_ffmpeg_play_it(tmp_path: Path) -> None:
    """FFmpeg's own programs log in, name the stream, and record a clip whose pictures are readable."""
    for program in ("ffprobe", "ffmpeg"):
        if shutil.which(program) is None:
            if os.environ.get("CAMPUS_TEST_STRICT") == "1":
                pytest.fail(f"{program} is not installed and CAMPUS_TEST_STRICT=1")
            pytest.skip(f"{program} is not installed")
    camera = SimulatedCamera(name="gate", password="p@ss:w/rd")
    clip = tmp_path / "clip.mp4"

    def check() -> None:
        url = f"rtsp://admin:p%40ss%3Aw%2Frd@127.0.0.1:{camera.rtsp_port}/live"
        common = ["-v", "error", "-rtsp_transport", "tcp"]
        probe = subprocess.run(
            ["ffprobe", *common, "-show_streams", "-of", "json", url],
            capture_output=True,
            timeout=30,
            check=True,
        )
        (stream,) = json.loads(probe.stdout)["streams"]
        assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", 640, 360)
        assert stream["has_b_frames"] == 0
        record = ["ffmpeg", *common, "-i", url, "-t", "1.5", "-c", "copy", str(clip)]
        finished = subprocess.run(record, capture_output=True, text=True, timeout=30, check=True)
        assert finished.stderr == ""

    with_camera(camera, check)
    with av.open(str(clip)) as container:
        numbers = [read(frame.to_ndarray(format="bgr24")).frame for frame in container.decode(video=0)]
    assert len(numbers) >= 25
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_wrong_password_is_401() -> None:
    """A player with the wrong password is told so, and counted."""
    camera = SimulatedCamera()

    def check() -> None:
        with pytest.raises(av.error.HTTPUnauthorizedError):
            play(f"rtsp://admin:wrong@127.0.0.1:{camera.rtsp_port}/live", packets=1)

    with_camera(camera, check)
    assert camera.refused_logins >= 1
    assert camera.sessions_total == 0


def test_basic_is_refused_and_digest_is_offered() -> None:
    """The right password by basic authentication does not open the camera."""
    camera = SimulatedCamera(username="admin", password="x")

    def check() -> None:
        with RawClient(camera.rtsp_port) as client:
            assert client.ask("OPTIONS")[0] == 200
            status, headers, _ = client.ask("DESCRIBE", Authorization="Basic YWRtaW46eA==")
            assert status == 401
            assert headers["www-authenticate"].startswith("Digest ")

    with_camera(camera, check)


def test_the_answers_of_the_protocol() -> None:
    """UDP, unknown paths, sessions and methods are refused with the status meant for each; keep-alives are welcome."""
    camera = SimulatedCamera(password="")

    def check() -> None:
        with RawClient(camera.rtsp_port) as client:
            status, headers, sdp = client.ask("DESCRIBE")
            assert (status, headers["content-type"]) == (200, "application/sdp")
            assert "packetization-mode=1;profile-level-id=42" in sdp
            assert client.ask("DESCRIBE", "/elsewhere")[0] == 404
            assert client.ask("RECORD")[0] == 405
            assert client.ask("PLAY", Session="none")[0] == 454
            udp = "RTP/AVP;unicast;client_port=5000-5001"
            assert client.ask("SETUP", "/trackID=0", Transport=udp)[0] == 461
            client.start("RTP/AVP/TCP;unicast;interleaved=2-3")
            # The first packet is the sender report, so that the first frame already has a wall-clock time.
            channel, report = client.packet()
            assert (channel, report[1]) == (3, 200)
            channel, packet = client.packet()
            assert (channel, packet[1] & 0x7F) == (2, 96)
            client.socket.sendall(b"$\x03\x00\x04\x81\xc9\x00\x01")
            assert client.ask("GET_PARAMETER")[0] == 200
            assert client.ask("SET_PARAMETER")[0] == 200
            session = client.ask("OPTIONS")
            assert session[0] == 200
            assert camera.playing == 1
            client.socket.sendall(b"nonsense\r\n\r\n")
            wait_until(lambda: camera.connections == 0, within_s=5, what="the camera hangs up on nonsense")

    with_camera(camera, check)


def test_teardown_ends_the_frames() -> None:
    """After TEARDOWN the connection stays and nobody is being played to."""
    camera = SimulatedCamera(password="")

    def check() -> None:
        with RawClient(camera.rtsp_port) as client:
            _, headers, _ = client.ask("SETUP", "/trackID=0", Transport="RTP/AVP/TCP;unicast;interleaved=0-1")
            session = headers["session"].partition(";")[0]
            assert client.ask("PLAY", Session=session)[0] == 200
            assert client.ask("TEARDOWN", Session=session)[0] == 200
            assert (camera.playing, camera.connections, camera.sessions_total) == (0, 1, 1)

    with_camera(camera, check)


def test_the_encoded_loop_arrives_byte_for_byte(tmp_path: Path) -> None:
    """Over the loop's end, every packet received is the one sent, in order and with a continuous clock."""
    stream = small_stream()
    log = tmp_path / "sent.jsonl"
    camera = SimulatedCamera(source=stream, send_log=log)
    frames = len(stream.frames) + 15

    def check() -> None:
        received = play(camera.rtsp_url_with_login, packets=frames)
        numbers = [read_frame_stamp(each.data) for each in received]
        first = numbers[0]
        assert first is not None
        assert numbers == list(range(first, first + frames))
        for number, each in zip(range(first, first + frames), received, strict=True):
            assert each.data == join_annex_b(stream.nals(number))
            assert each.key == (number % 10 == 0)
            assert each.pts in (None, (number - first) * 3600)
            assert each.reading is not None
            assert (each.reading.frame, each.reading.unix_ms) == (number % len(stream.frames), 0)

    with_camera(camera, check)
    sent = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(sent) >= frames
    assert [line["frame"] for line in sent] == list(range(sent[0]["frame"], sent[0]["frame"] + len(sent)))
    assert {(line["rtp"] - sent[0]["rtp"]) % 2**32 // 3600 for line in sent} == set(range(len(sent)))
    paces_s = [later["sent_at"] - line["sent_at"] for line, later in pairwise(sent)]
    assert sum(paces_s) / len(paces_s) == pytest.approx(0.04, abs=0.004)


def test_the_encoded_loop_has_its_rate_and_is_kept(tmp_path: Path) -> None:
    """The bit rate is within 5 % of what was asked for, there are no B-frames, and the second start reads the file."""
    values = {"width": 640, "height": 360, "bits_per_s": 1_000_000, "seconds": 4, "cache": tmp_path}
    made = EncodedStream.make(**values)  # type: ignore[arg-type]
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_size * 8 / 4 == pytest.approx(1_000_000, rel=0.05)
    again = EncodedStream.make(**values)  # type: ignore[arg-type]
    assert again.frames == made.frames
    assert (again.description, again.keys) == (made.description, made.keys)
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    kinds = {
        str(frame.pict_type)
        for nals in made.frames[:50]
        for frame in decoder.decode(av.Packet(join_annex_b(nals)))
    }
    assert not any("B" in kind for kind in kinds)
    with pytest.raises(ValueError, match="multiple"):
        EncodedStream.make(gop=7)


def test_a_client_that_does_not_read_costs_no_memory() -> None:
    """A stuck client loses whole groups and gains no backlog, while another one sees every frame."""
    camera = SimulatedCamera(password="", source=EncodedStream.make(seconds=2, bits_per_s=16_000_000))

    async def run() -> None:
        async with camera:
            stuck = await asyncio.to_thread(RawClient, camera.rtsp_port)
            with stuck:
                await asyncio.to_thread(stuck.start)
                received = await asyncio.to_thread(play, camera.rtsp_url, packets=150, decode=False)
                numbers = [read_frame_stamp(each.data) for each in received]
                assert numbers == list(range(numbers[0] or 0, (numbers[0] or 0) + 150))
                assert camera.backlog_bytes <= 1_500_000
                missed, resumed = await asyncio.to_thread(first_gap, stuck)
        assert resumed > missed
        assert resumed % 25 == 0, "it goes on at a key frame"

    asyncio.run(run())


def first_gap(client: RawClient) -> tuple[int, int]:
    """Read until frames are missing; return the first one missing and the one that came instead."""
    last: int | None = None
    while True:
        _, packet = client.packet()
        number = read_frame_stamp(packet)
        if number is None:
            continue
        if last is not None and number != last + 1:
            return last + 1, number
        last = number


def test_many_cameras_in_one_process() -> None:
    """Four cameras run beside each other; each client is one session on its own camera."""

    async def run() -> None:
        cameras = [SimulatedCamera(name=f"c{index}") for index in range(4)]
        for camera in cameras:
            await camera.start()
        urls = [camera.rtsp_url_with_login for camera in cameras]
        work: list[Awaitable[object]] = [asyncio.to_thread(play, url, packets=10) for url in urls]
        await asyncio.gather(*work)
        assert [camera.sessions_total for camera in cameras] == [1, 1, 1, 1]
        for camera in cameras:
            await camera.stop()
            await camera.stop()

    asyncio.run(run())


def test_a_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    """A camera whose HTTP port is taken does not keep its RTSP port; stopping what never started is harmless."""

    async def run() -> None:
        never = SimulatedCamera()
        await never.stop()
        async with SimulatedCamera() as first:
            second = SimulatedCamera(http_port=first.http_port)
            with pytest.raises(OSError, match="address already in use"):
                await second.start()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", second.rtsp_port)

    asyncio.run(run())


def test_nobody_watching_costs_nothing() -> None:
    """The live camera draws only while somebody plays, and begins anew with a key frame."""
    camera = SimulatedCamera(gop=1000)

    def check() -> None:
        assert play(camera.rtsp_url_with_login, packets=5)[0].key
        wait_until(lambda: camera.playing == 0, within_s=5, what="the session ends")
        assert play(camera.rtsp_url_with_login, packets=5)[0].key

    with_camera(camera, check)


def test_it_runs_on_uvloop() -> None:
    """On the event loop that the gateway uses it plays, closes its port and opens it again."""

    async def run() -> None:
        async with SimulatedCamera() as camera:
            assert len(await asyncio.to_thread(play, camera.rtsp_url_with_login, packets=3)) == 3
            await camera.set_faults(CameraFaults(refuse_connections=True))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", camera.rtsp_port)
            await camera.set_faults(CameraFaults())
            assert len(await asyncio.to_thread(play, camera.rtsp_url_with_login, packets=3)) == 3

    uvloop.run(run())


def first_packet(client: RawClient) -> tuple[int, bytes]:
    client.start()
    return client.packet()


def test_a_source_that_fails_takes_the_camera_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """When drawing fails the stream ends for everybody and `stop` says why."""

    def fail(codec: str, nals: list[bytes]) -> PreparedFrame:
        raise ArithmeticError("no packets today")

    async def run() -> None:
        camera = SimulatedCamera(password="")
        await camera.start()
        monkeypatch.setattr("simulators.camera.live.prepared", fail)
        with RawClient(camera.rtsp_port) as client, pytest.raises((EOFError, ConnectionResetError)):
            await asyncio.to_thread(first_packet, client)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", camera.rtsp_port)
        with pytest.raises(ArithmeticError, match="no packets today"):
            await camera.stop()
        await camera.stop()

    asyncio.run(run())

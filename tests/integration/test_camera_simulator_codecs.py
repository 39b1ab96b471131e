"""The simulated camera's H.265, B-frames and sound against players that are not ours."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest

from simulators.camera.encoded import EncodedStream
from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import join_annex_b, read_frame_stamp
from simulators.camera.picture import Reading, read
from simulators.camera.settings import StreamSettings
from simulators.camera.simulated import SimulatedCamera
from simulators.camera.sound import hear
from tests.support.processes import tool
from tests.support.rtsp_player import RawClient, play

OPTIONS = {"rtsp_transport": "tcp", "analyzeduration": "300000", "probesize": "100000"}


def with_camera(camera: SimulatedCamera, check: Callable[[], None]) -> None:
    """Run a blocking check in a thread while the camera runs."""

    async def run() -> None:
        async with camera:
            await asyncio.to_thread(check)

    asyncio.run(run())


@dataclass(slots=True)
class Seen:
    """What a player decoded: pictures with their time stamps in seconds, sound as samples from its first one on."""

    pictures: list[tuple[float, Reading]] = field(default_factory=list)
    sound: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = field(default_factory=list)
    sound_at_s: float = 0.0
    rate_hz: int = 0


def watch(url: str, *, pictures: int, samples: int = 0) -> Seen:
    """Decode until there are so many pictures and samples; raises what `av` raises."""
    seen, heard = Seen(), 0
    resampler = av.AudioResampler(format="fltp", layout="mono")
    with av.open(url, options=OPTIONS, timeout=10.0) as container:
        streams = [container.streams.video[0], *(container.streams.audio[:1] if samples else [])]
        for packet in container.demux(streams):
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    if frame.pts is not None and frame.time_base is not None:
                        at_s = float(frame.pts * frame.time_base)
                        seen.pictures.append((at_s, read(frame.to_ndarray(format="bgr24"))))
                elif (
                    isinstance(frame, av.AudioFrame) and frame.pts is not None and frame.time_base is not None
                ):
                    if not seen.sound:
                        seen.sound_at_s, seen.rate_hz = float(frame.pts * frame.time_base), frame.sample_rate
                    plain = [each.to_ndarray().ravel() for each in resampler.resample(frame)]
                    seen.sound += plain
                    heard += sum(len(each) for each in plain)
            if len(seen.pictures) >= pictures and heard >= samples:
                return seen
    return seen


VARIANTS = [
    ("h265", 0, "aac", ("hevc", "aac", "16000")),
    ("h265", 2, "pcma", ("hevc", "pcm_alaw", "8000")),
    ("h264", 2, "pcmu", ("h264", "pcm_mulaw", "8000")),
]


@pytest.mark.parametrize(("codec", "b_frames", "audio", "named"), VARIANTS)
def test_ffmpeg_names_and_records_it(
    codec: str, b_frames: int, audio: str, named: tuple[str, str, str], tmp_path: Path
) -> None:
    """FFprobe finds codec, size, B-frames and sound; ffmpeg decodes every picture, and copies where there are no B-frames.

    It cannot copy B-frames from RTSP, which tells no times of decoding: a recorder has to work them out.
    """
    ffprobe, ffmpeg = tool("ffprobe", "ffmpeg"), tool("ffmpeg", "ffmpeg")
    camera = SimulatedCamera(codec=codec, b_frames=b_frames, audio=audio)
    clip, raw = tmp_path / "clip.mp4", tmp_path / "raw"

    def check() -> None:
        url = camera.rtsp_url_with_login
        common = ["-v", "error", "-rtsp_transport", "tcp"]
        probe = subprocess.run(
            [ffprobe, *common, "-show_streams", "-of", "json", url],
            capture_output=True,
            timeout=30,
            check=True,
        )
        video, sound = json.loads(probe.stdout)["streams"]
        assert (video["codec_name"], sound["codec_name"], sound["sample_rate"]) == named
        assert (video["width"], video["height"], sound["channels"]) == (640, 360, 1)
        assert (video["has_b_frames"] > 0) == (b_frames > 0)
        outputs = ["-an", "-t", "2", "-f", "rawvideo", "-pix_fmt", "gray"]
        # Every picture with its own time, not one for each 25th of a second.
        outputs += ["-fps_mode", "passthrough", "-enc_time_base", "1/90000", str(raw)]
        if audio == "aac":
            outputs += ["-t", "2", "-c", "copy", str(clip)]
        finished = subprocess.run(
            [ffmpeg, *common, "-i", url, *outputs], capture_output=True, text=True, timeout=30, check=False
        )
        assert (finished.returncode, finished.stderr) == (0, "")

    with_camera(camera, check)
    decoded = [read(picture).frame for picture in np.fromfile(raw, np.uint8).reshape(-1, 360, 640)]
    assert len(decoded) >= 25
    assert decoded == list(range(decoded[0], decoded[0] + len(decoded)))
    if audio == "aac":
        with av.open(str(clip)) as container:
            copied = [read(frame.to_ndarray(format="bgr24")).frame for frame in container.decode(video=0)]
            assert container.streams.audio[0].codec_context.name == "aac"
        assert len(copied) >= 25
        assert copied == list(range(copied[0], copied[0] + len(copied)))


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_clock_in_the_picture_is_the_packets_own(codec: str, b_frames: int) -> None:
    """Presentation times differ as the pictures' clocks do, to the millisecond, and no picture is missing."""
    camera = SimulatedCamera(codec=codec, b_frames=b_frames)

    def check() -> None:
        pictures = watch(camera.rtsp_url_with_login, pictures=40).pictures
        numbers = [reading.frame for _, reading in pictures]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        offsets_ms = [at_s * 1000 - reading.unix_ms for at_s, reading in pictures]
        assert max(offsets_ms) - min(offsets_ms) < 0.5

    with_camera(camera, check)


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_b_frames_are_sent_behind_what_they_refer_to(codec: str) -> None:
    """Packets are out of turn by stamp and time alike, every picture comes once, and a key frame is behind none older."""
    camera = SimulatedCamera(codec=codec, b_frames=2, gop=12, password="")

    def check() -> None:
        received = play(camera.rtsp_url, packets=48, decode=False)
        stamps = [read_frame_stamp(each.data) or 0 for each in received]
        assert stamps != sorted(stamps)
        # The last ones' companions may still be on their way.
        assert sorted(stamps)[:45] == list(range(stamps[0], stamps[0] + 45))
        timed = [
            (each.pts, stamp) for each, stamp in zip(received, stamps, strict=True) if each.pts is not None
        ]
        assert [stamp for _, stamp in sorted(timed)] == sorted(stamp for _, stamp in timed)
        for index, each in enumerate(received):
            if each.key:
                assert min(stamps[index:]) == stamps[index] > max(stamps[:index], default=-1)
        assert sum(each.key for each in received) >= 4

    with_camera(camera, check)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_the_encoded_h265_loop_arrives_byte_for_byte(b_frames: int, tmp_path: Path) -> None:
    """Over the loop's end every packet is the one sent, in the order of decoding; the second start reads the file."""
    values = {"width": 320, "height": 180, "gop": 10, "seconds": 2, "bits_per_s": 300_000, "cache": tmp_path}
    made = EncodedStream.make(codec="h265", b_frames=b_frames, **values)  # type: ignore[arg-type]
    stream = EncodedStream.make(codec="h265", b_frames=b_frames, **values)  # type: ignore[arg-type]
    assert stream.frames == made.frames
    assert (stream.reordering > 0) == (b_frames > 0)
    camera = SimulatedCamera(source=stream)
    count = len(stream.frames) + 15

    def check() -> None:
        received = play(camera.rtsp_url_with_login, packets=count)
        numbers = []
        for each in received:
            number = read_frame_stamp(each.data)
            assert number is not None
            numbers.append(number)
            assert each.data == join_annex_b(stream.nals(number))
            assert each.pts in (None, (number - numbers[0]) * 3600)
        assert sorted(numbers)[: count - 5] == list(range(numbers[0], numbers[0] + count - 5))
        assert (numbers == sorted(numbers)) == (b_frames == 0)
        shown = [reading.frame for _, reading in watch(camera.rtsp_url_with_login, pictures=count).pictures]
        assert shown == [(shown[0] + index) % len(stream.frames) for index in range(len(shown))]

    with_camera(camera, check)


@pytest.mark.parametrize(("codec", "b_frames", "audio", "named"), VARIANTS)
def test_sound_and_picture_of_one_moment_belong_together(
    codec: str, b_frames: int, audio: str, named: tuple[str, str, str]
) -> None:
    """By the pictures' clock each tone begins on its whole second, within the blur of the codec."""
    camera = SimulatedCamera(codec=codec, b_frames=b_frames, audio=audio)

    def check() -> None:
        rate_hz = int(named[2])
        seen = watch(camera.rtsp_url_with_login, pictures=30, samples=3 * rate_hz)
        assert seen.rate_hz == rate_hz
        at_s, reading = seen.pictures[-1]
        camera_s = reading.unix_ms / 1000 - at_s
        tones = hear(np.concatenate(seen.sound), rate_hz=rate_hz)
        assert len(tones) >= 2
        for tone in tones:
            began_s = seen.sound_at_s + tone.at_s + camera_s
            assert began_s == pytest.approx(round(began_s), abs=0.01)
            assert tone.second == round(began_s) % 8

    with_camera(camera, check)


@pytest.mark.parametrize(("codec", "b_frames", "audio", "named"), VARIANTS)
def test_gstreamer_plays_it(
    codec: str, b_frames: int, audio: str, named: tuple[str, str, str], tmp_path: Path
) -> None:
    """GStreamer's RTP and parsers give readable pictures in order, and the tones a second apart."""
    launch = tool("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-libav")
    camera = SimulatedCamera(codec=codec, b_frames=b_frames, audio=audio)
    pictures, sound = tmp_path / "pictures", tmp_path / "sound"
    rate_hz = int(named[2])

    def listening(media: str, caps: str, buffers: int, target: Path) -> subprocess.Popen[str]:
        pipeline = (
            f"rtspsrc name=s protocols=tcp latency=100 location={camera.rtsp_url} "
            f"user-id={camera.username} user-pw={camera.password} "
            f"s. ! application/x-rtp,media={media} ! decodebin ! {media}convert ! {caps} ! "
            f"identity eos-after={buffers} ! filesink location={target}"
        )
        return subprocess.Popen([launch, "-q", *pipeline.split()], stderr=subprocess.PIPE, text=True)

    def check() -> None:
        with (
            listening("video", "video/x-raw,format=GRAY8", 40, pictures) as pictures_player,
            listening("audio", "audio/x-raw,format=F32LE,channels=1", 80, sound) as sound_player,
        ):
            for process in (pictures_player, sound_player):
                try:
                    _, errors = process.communicate(timeout=30)
                    assert process.returncode == 0, errors
                finally:
                    process.kill()

    with_camera(camera, check)
    # What is decoded at the moment of the end may be out of order.
    raw = np.fromfile(pictures, np.uint8).reshape(-1, 360, 640)[:30]
    numbers = [read(picture).frame for picture in raw]
    assert numbers == list(range(numbers[0], numbers[0] + 30))
    tones = hear(np.fromfile(sound, np.float32), rate_hz=rate_hz)
    assert len(tones) >= 2
    assert tones[1].at_s - tones[0].at_s == pytest.approx(1, abs=0.01)
    assert tones[1].second == (tones[0].second + 1) % 8


def reported(packet: bytes) -> tuple[float, int]:
    """Unix time and RTP time stamp of a sender report."""
    kind, seconds, fraction, timestamp = struct.unpack_from(">xB6xIII", packet)
    assert kind == 200
    return seconds - 2_208_988_800 + fraction / 2**32, timestamp


def test_each_track_has_its_own_channels_and_one_clock() -> None:
    """Both tracks begin with a report, and both reports follow from one clock, which the fault skews for both."""
    skew_s = 500.0
    camera = SimulatedCamera(audio="aac", password="", faults=CameraFaults(clock_skew_s=skew_s))

    def check() -> None:
        with RawClient(camera.rtsp_port) as client:
            _, headers, _ = client.ask("SETUP", "/trackID=1", Transport="RTP/AVP/TCP;interleaved=4-5")
            session = headers["session"].partition(";")[0]
            # Channels that are taken are answered with others.
            _, headers, _ = client.ask(
                "SETUP", "/trackID=0", Transport="RTP/AVP/TCP;interleaved=4-5", Session=session
            )
            assert "interleaved=0-1" in headers["transport"]
            status, headers, _ = client.ask("PLAY", Session=session)
            assert (status, headers["rtp-info"].count("url=")) == (200, 2)
            first: dict[int, bytes] = {}
            while len(first) < 4:
                channel, packet = client.packet()
                first.setdefault(channel, packet)
            assert set(first) == {0, 1, 4, 5}
            video_s, video_rtp = reported(first[1])
            sound_s, sound_rtp = reported(first[5])
            assert struct.unpack_from(">I", first[0], 4)[0] == video_rtp
            assert struct.unpack_from(">I", first[4], 4)[0] == sound_rtp
            assert int((video_s - skew_s) * 90_000 + 0.5) % 2**32 == pytest.approx(video_rtp, abs=90)
            assert int((sound_s - skew_s) * 16_000 + 0.5) % 2**32 == pytest.approx(sound_rtp, abs=16)
            assert first[0][8:12] != first[4][8:12], "each track has a source identifier of its own"

    with_camera(camera, check)


def test_a_client_without_ears_gets_no_sound() -> None:
    """A session that set up the pictures alone is sent nothing else, and another stream is no part of it."""
    camera = SimulatedCamera(audio="pcmu", password="", sub=StreamSettings(width=320, height=180))

    def check() -> None:
        with RawClient(camera.rtsp_port) as client:
            assert "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n" in client.ask("DESCRIBE")[2]
            client.start()
            assert {client.packet()[0] for _ in range(60)} == {0, 1}
        with RawClient(camera.rtsp_port) as client:
            _, headers, _ = client.ask("SETUP", "/trackID=0", Transport="RTP/AVP/TCP")
            client.url = camera.sub_url
            session = headers["session"].partition(";")[0]
            assert client.ask("SETUP", "/trackID=0", Transport="RTP/AVP/TCP", Session=session)[0] == 459

    with_camera(camera, check)


def test_main_and_sub_stream_play_at_once() -> None:
    """Two codecs, sizes and rates under two paths, each with its own frame numbers and one clock."""
    camera = SimulatedCamera(codec="h265", sub=StreamSettings(width=320, height=180, fps=10, gop=10))

    async def run() -> None:
        async with camera:
            login = f"//{camera.username}:{camera.password}@"
            main, sub = await asyncio.gather(
                asyncio.to_thread(watch, camera.rtsp_url_with_login, pictures=25),
                asyncio.to_thread(watch, camera.sub_url.replace("//", login), pictures=10),
            )
        assert camera.sessions_total == 2
        for seen, apart_ms in ((main, 40), (sub, 100)):
            times = [reading.unix_ms for _, reading in seen.pictures]
            assert (times[-1] - times[0]) / (len(times) - 1) == pytest.approx(apart_ms, rel=0.2)
        assert abs(main.pictures[0][1].unix_ms - sub.pictures[0][1].unix_ms) < 5000

    asyncio.run(run())

"""Sound: AAC copied beside the pictures where the site file asks for it, and everything else left out and named."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from gateway.domain.evidence import ClipTaken
from simulators.camera.faults import CameraFaults
from simulators.camera.simulated import SimulatedCamera
from simulators.camera.sound import PERIOD_S, hear
from tests.support.camera_bank import banked, by_stream, covering, ffprobe, healthy, started, told
from tests.support.signals import wait_until

FPS = 12
SMALL: dict[str, Any] = {"width": 320, "height": 180, "fps": FPS, "gop": FPS}


def clip_of(camera: SimulatedCamera, folder: Path, *, asked: bool, seconds: float = 4) -> ClipTaken:
    """A clip of the camera's last seconds, of a bank that asks for its sound or not."""

    async def run() -> ClipTaken:
        async with started(camera), banked([by_stream(camera, audio=asked)], folder) as bank:
            await healthy(bank)
            await covering(bank, seconds + 1.5)
            end = datetime.now(UTC) - timedelta(seconds=0.3)
            return await bank.cut_clip("cam", end - timedelta(seconds=seconds), end, folder / "clip.mp4")

    return asyncio.run(run())


def kinds_in(clip: Path) -> list[str]:
    """What kinds of streams a clip holds, as ffprobe names them."""
    return [each["codec_type"] for each in ffprobe(clip, "-show_entries", "stream=codec_type")["streams"]]


def tones_in(clip: Path) -> list[tuple[float, int]]:
    """Where each tone begins in the file, in seconds, and which second it stands for."""
    with av.open(str(clip)) as container:
        frames = list(container.decode(audio=0))
    rate = frames[0].sample_rate
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    begins_s = float(frames[0].pts * frames[0].time_base)
    return [(begins_s + tone.at_s, tone.second) for tone in hear(samples, rate_hz=rate)]


@pytest.mark.parametrize(
    ("codec", "b_frames"), [("h264", 0), ("h265", 2)], ids=["beside h264", "beside h265 with B-frames"]
)
def test_aac_is_copied_and_lies_beside_its_pictures(codec: str, b_frames: int, tmp_path: Path) -> None:
    """Every second's tone is in the clip at that second, by the clip's own beginning, within a few hundredths; the pictures'
    times are what they are without sound."""
    camera = SimulatedCamera(name="cam", codec=codec, b_frames=b_frames, audio="aac", **SMALL)
    clip = clip_of(camera, tmp_path, asked=True)
    assert clip.shortfall is None
    assert kinds_in(tmp_path / "clip.mp4") == ["video", "audio"]
    tones = tones_in(tmp_path / "clip.mp4")
    assert len(tones) >= 3
    begins_s = clip.start.timestamp()
    for at_s, second in tones:
        heard_s = begins_s + at_s
        assert round(heard_s) % PERIOD_S == second
        assert heard_s == pytest.approx(round(heard_s), abs=0.08)
    # No hole and no overlap between packets: what is not so clicks.
    packets = ffprobe(tmp_path / "clip.mp4", "-select_streams", "a", "-show_entries", "packet=pts,duration")[
        "packets"
    ]
    ends = [int(packet["pts"]) + int(packet["duration"]) for packet in packets]
    assert ends[:-1] == [int(packet["pts"]) for packet in packets[1:]]


@pytest.mark.parametrize(("codec", "name"), [("pcma", "G.711 (PCMA)"), ("pcmu", "G.711 (PCMU)")])
def test_what_mp4_does_not_carry_is_left_out_and_named(codec: str, name: str, tmp_path: Path) -> None:
    """Of a camera with G.711 the pictures are whole, and the clip says which sound is not there and what to do."""
    camera = SimulatedCamera(name="cam", audio=codec, **SMALL)
    clip = clip_of(camera, tmp_path, asked=True, seconds=2)
    assert clip.shortfall is not None
    assert name in clip.shortfall
    assert "AAC" in clip.shortfall
    assert kinds_in(tmp_path / "clip.mp4") == ["video"]


def test_sound_nobody_asked_for_is_not_taken(tmp_path: Path) -> None:
    """Without the setting a camera's microphone is not even fetched, and nothing is said to be lacking."""
    camera = SimulatedCamera(name="cam", audio="aac", **SMALL)
    clip = clip_of(camera, tmp_path, asked=False, seconds=2)
    assert clip.shortfall is None
    assert kinds_in(tmp_path / "clip.mp4") == ["video"]


def test_camera_without_a_microphone_is_named_where_sound_was_asked_for(tmp_path: Path) -> None:
    """Whoever asked for sound is told that the camera sends none; the pictures are whole."""
    clip = clip_of(SimulatedCamera(name="cam", **SMALL), tmp_path, asked=True, seconds=2)
    assert clip.shortfall == "sound left out: the camera sends none"
    assert kinds_in(tmp_path / "clip.mp4") == ["video"]


def test_sound_goes_on_over_a_lost_session_and_a_change_of_size(tmp_path: Path) -> None:
    """After a cut and after another size the tones lie at their seconds again, and the pictures beside them."""
    camera = SimulatedCamera(name="cam", codec="h264", audio="aac", **SMALL)

    async def run() -> ClipTaken:
        async with started(camera), banked([by_stream(camera, audio=True)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 3)
            start = datetime.now(UTC) - timedelta(seconds=2)
            camera.cut_connections()
            await wait_until(lambda: camera.sessions_total == 2, 20, "the second session")
            again = datetime.now(UTC)
            await wait_until(
                lambda: (bank.health()["cam"].last_frame_at or start) > again + timedelta(seconds=2.5), 20
            )
            await camera.set_faults(CameraFaults(change_width=480, change_height=270))
            changed = datetime.now(UTC)
            await wait_until(
                lambda: (bank.health()["cam"].last_frame_at or start) > changed + timedelta(seconds=2.5), 20
            )
            still = await bank.take_still("cam", changed + timedelta(seconds=2))
            assert abs(told(still.jpeg).unix_ms - (changed.timestamp() + 2) * 1000) <= 1000 / FPS
            return await bank.cut_clip("cam", start, changed + timedelta(seconds=2), tmp_path / "clip.mp4")

    clip = asyncio.run(run())
    assert clip.shortfall is not None
    assert "the stream was opened again" in clip.shortfall
    begins_s = clip.start.timestamp()
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = list(container.decode(audio=0))
    # Piece by piece, since a stranger's decoder fills no holes: each frame has its own time.
    rate = frames[0].sample_rate
    length = round((float(frames[-1].pts * frames[-1].time_base) + 1) * rate)
    sound = np.zeros(length, np.float32)
    for frame in frames:
        at = round(float(frame.pts * frame.time_base) * rate)
        piece = frame.to_ndarray()[0][: max(0, length - at)]
        sound[at : at + len(piece)] = piece
    tones = hear(sound, rate_hz=rate)
    assert len(tones) >= 5
    for tone in tones:
        heard_s = begins_s + tone.at_s
        assert round(heard_s) % PERIOD_S == tone.second
        assert heard_s == pytest.approx(round(heard_s), abs=0.1)

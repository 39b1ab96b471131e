"""Cameras that change their picture while they are read: what was before, what is after, and what is said of the change."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from drivers.cameras.parent.bank import SubprocessCameraBank
from simulators.camera.faults import CameraFaults
from simulators.camera.picture import read
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import (
    banked,
    by_stream,
    covering,
    ffprobe,
    healthy,
    started,
    told,
)
from tests.support.signals import wait_until

FPS = 12
FRAME_MS = 1000 / FPS
SMALL: dict[str, Any] = {"width": 320, "height": 180, "fps": FPS, "gop": FPS}
TAGS = {"h264": "avc1", "h265": "hvc1"}


def ago(seconds: float) -> datetime:
    """The wall clock so long ago."""
    return datetime.now(UTC) - timedelta(seconds=seconds)


async def filmed(bank: SubprocessCameraBank, since: datetime, seconds: float) -> None:
    """Wait until the camera has filmed so long since a moment."""
    until = since + timedelta(seconds=seconds)
    await wait_until(lambda: (bank.health()["cam"].last_frame_at or since) >= until, 30, "new pictures")


async def still_of(bank: SubprocessCameraBank, at: datetime) -> tuple[int, float]:
    """Width of the picture of this instant, and by how many milliseconds it is off, as the picture itself says."""
    still = await bank.take_still("cam", at)
    with av.open(io.BytesIO(still.jpeg)) as picture:
        width = picture.streams.video[0].codec_context.width
    return width, told(still.jpeg).unix_ms - at.timestamp() * 1000


def shown_in(clip: Path) -> list[tuple[Fraction, int, int, int]]:
    """Each picture of a clip as a stranger's player shows it: its time, width, number and Unix milliseconds."""
    with av.open(str(clip)) as container:
        return [
            (f.pts * f.time_base, f.width, (said := read(f.to_ndarray(format="gray"))).frame, said.unix_ms)
            for f in container.decode(video=0)
        ]


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_another_size_within_a_session_is_in_the_same_file_and_named(codec: str, tmp_path: Path) -> None:
    """Stills of either side of the change have their own size and moment; the clip over it holds the pictures of both sizes at
    their times, and says when which one became which."""
    camera = SimulatedCamera(name="cam", codec=codec, **SMALL)

    async def run() -> tuple[str, datetime]:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 3)
            before = ago(0)
            await camera.set_faults(CameraFaults(change_width=480, change_height=270))
            changed = ago(0)
            await wait_until(lambda: bank.health()["cam"].width == 480, 20, "the new size")
            await filmed(bank, changed, 2.5)
            assert camera.sessions_total == 1
            after = ago(0.5)
            for at, width in ((before - timedelta(seconds=0.5), 320), (after, 480)):
                found, off_ms = await still_of(bank, at)
                assert found == width
                assert abs(off_ms) <= FRAME_MS
            clip = await bank.cut_clip(
                "cam", before - timedelta(seconds=1.5), ago(0.2), tmp_path / "clip.mp4"
            )
            assert clip.shortfall is not None
            assert "320x180" in clip.shortfall
            assert "480x270" in clip.shortfall
            return clip.shortfall, clip.start

    shortfall, begins = asyncio.run(run())
    assert "missing" not in shortfall
    pictures = shown_in(tmp_path / "clip.mp4")
    numbers = [number for _, _, number, _ in pictures]
    lost = numbers[-1] - numbers[0] + 1 - len(numbers)
    # FFmpeg's own H.265 decoder lets go of what it had not shown yet when the size changes: its loss, not the file's.
    assert lost <= (2 if codec == "h265" else 0)
    packets = ffprobe(tmp_path / "clip.mp4", "-show_entries", "packet=pts_time,dts_time")["packets"]
    assert len(packets) == numbers[-1] - numbers[0] + 1
    widths = [width for _, width, _, _ in pictures]
    assert widths == sorted(widths)
    assert set(widths) == {320, 480}
    for at_s, _, _, unix_ms in pictures:
        assert float(at_s) * 1000 == pytest.approx(unix_ms - begins.timestamp() * 1000, abs=FRAME_MS / 2)


@pytest.mark.parametrize(("codec", "other"), [("h264", "h265"), ("h265", "h264")])
def test_another_codec_leaves_the_longer_part_and_names_the_rest(
    codec: str, other: str, tmp_path: Path
) -> None:
    """Stills of before are decoded as what they were; a clip over the change is of one codec, plays, is the longer part, and says
    what the rest was; a clip begun after it is whole."""
    camera = SimulatedCamera(name="cam", codec=codec, **SMALL)

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 4)
            before = ago(0)
            await camera.set_faults(CameraFaults(change_codec=other))
            await wait_until(
                lambda: (bank.health()["cam"].codec or "").startswith(TAGS[other]), 30, "the new codec"
            )
            changed = ago(0)
            await filmed(bank, changed, 1.5)
            for at in (before - timedelta(seconds=1), ago(0.5)):
                assert abs((await still_of(bank, at))[1]) <= FRAME_MS
            first = await bank.cut_clip("cam", before - timedelta(seconds=3), ago(0), tmp_path / "first.mp4")
            assert first.shortfall is not None
            assert "ends at" in first.shortfall
            assert first.end <= changed
            await filmed(bank, changed, 4)
            second = await bank.cut_clip(
                "cam", before - timedelta(seconds=0.5), ago(0), tmp_path / "second.mp4"
            )
            assert second.shortfall is not None
            assert "begins at" in second.shortfall
            assert second.start >= before
            third = await bank.cut_clip("cam", ago(1.5), ago(0.2), tmp_path / "third.mp4")
            assert third.shortfall is None
            assert bank.restarts == 0

    asyncio.run(run())
    for name, tag in (("first", codec), ("second", other), ("third", other)):
        file = tmp_path / f"{name}.mp4"
        (video,) = ffprobe(file, "-count_frames", "-show_entries", "stream=codec_tag_string,nb_read_frames")[
            "streams"
        ]
        assert video["codec_tag_string"] == TAGS[tag]
        pictures = shown_in(file)
        assert len(pictures) == int(video["nb_read_frames"])
        numbers = [number for _, _, number, _ in pictures]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_another_rate_and_rare_key_frames_within_a_session_keep_the_pictures_times(tmp_path: Path) -> None:
    """A camera that goes over to half the frames and one key frame in ten seconds goes on in the same session, file and clock."""
    camera = SimulatedCamera(name="cam", codec="h265", **SMALL)

    async def run() -> datetime:
        async with started(camera), banked([by_stream(camera)], tmp_path, ring_s=6) as bank:
            await healthy(bank)
            await covering(bank, 3)
            await camera.set_faults(CameraFaults(change_fps=FPS // 2, change_gop_s=10.0))
            changed = ago(0)
            await filmed(bank, changed, 5)
            assert camera.sessions_total == 1
            for back_s in (0.3, 2.0, 4.0):
                at = ago(back_s)
                assert abs((await still_of(bank, at))[1]) <= 2 * FRAME_MS
            clip = await bank.cut_clip("cam", changed - timedelta(seconds=1), ago(0.3), tmp_path / "clip.mp4")
            assert "missing" not in (clip.shortfall or "")
            return clip.start

    begins = asyncio.run(run())
    pictures = shown_in(tmp_path / "clip.mp4")
    numbers = [number for _, _, number, _ in pictures]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for at_s, _, _, unix_ms in pictures:
        assert float(at_s) * 1000 == pytest.approx(unix_ms - begins.timestamp() * 1000, abs=FRAME_MS / 2)

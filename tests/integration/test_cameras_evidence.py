"""Stills and clips of simulated cameras, held against what the cameras say they showed and sent."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from drivers.cameras.spec import CameraSpec, StreamAddress
from gateway.domain.errors import Unavailable
from simulators.camera.encoded import EncodedStream
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import (
    banked,
    by_stream,
    covering,
    ffprobe,
    healthy,
    nal_units_of,
    started,
    told,
)
from tests.support.signals import wait_until

FRAME_MS = 40
GOP_S = 1.0
STAMP = b"campus-frame-num"


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def ms(at: datetime) -> float:
    """Unix milliseconds."""
    return at.timestamp() * 1000


@pytest.fixture(scope="module")
def encoded() -> EncodedStream:
    """A light stream whose every byte is known."""
    return EncodedStream.make(width=640, height=360, bits_per_s=600_000, seconds=2)


def test_stills_of_one_instant_agree_with_the_cameras_clocks(tmp_path: Path) -> None:
    """Four cameras' stills of an instant show a clock within one frame of it and of each other, and tell their offset."""
    cameras = [SimulatedCamera(name=f"cam-{i}") for i in range(4)]

    async def run() -> None:
        async with started(*cameras), banked([by_stream(c) for c in cameras], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 3)
            for instant in (now(), now() - timedelta(seconds=1.5)):
                stills = await asyncio.gather(*(bank.take_still(c.name, instant) for c in cameras))
                shown = [told(still.jpeg).unix_ms for still in stills]
                for still, unix_ms in zip(stills, shown, strict=True):
                    assert abs(unix_ms - ms(instant)) <= FRAME_MS
                    assert abs(unix_ms - ms(still.taken_at)) <= FRAME_MS / 2
                    assert still.offset_ms == round((still.taken_at - instant) / timedelta(milliseconds=1))
                    assert (still.clock, still.source) == ("arrival", "ring")
                assert max(shown) - min(shown) <= FRAME_MS

    asyncio.run(run())


def test_still_of_an_instant_to_come_waits_for_it(tmp_path: Path) -> None:
    """A still asked for before its time is of its time; one asked for what the ring never held is refused with a reason."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            instant = now() + timedelta(seconds=1)
            still = await bank.take_still("cam", instant)
            assert abs(told(still.jpeg).unix_ms - ms(instant)) <= FRAME_MS
            with pytest.raises(Unavailable, match="s later, the ring begins there"):
                await bank.take_still("cam", instant - timedelta(minutes=10))
            with pytest.raises(Unavailable, match="no camera 'other' in the plan"):
                await bank.take_still("other", instant)

    asyncio.run(run())


def test_clip_is_byte_for_byte_what_the_camera_sent(encoded: EncodedStream, tmp_path: Path) -> None:
    """Every NAL unit sent in the span is in the clip, SEI and filling included, from the key frame before on, none added."""
    camera = SimulatedCamera(name="cam", source=encoded)

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 3.5)
            pressed = now()
            start, end = pressed - timedelta(seconds=2), pressed + timedelta(seconds=1.5)
            clip = await bank.cut_clip("cam", start, end, tmp_path / "clip.mp4")

            assert clip.shortfall is None
            assert start - timedelta(seconds=GOP_S + 0.05) <= clip.start <= start
            assert abs((clip.end - end).total_seconds()) <= 2 * FRAME_MS / 1000
            data = (tmp_path / "clip.mp4").read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (clip.bytes, clip.sha256)

    asyncio.run(run())
    samples = nal_units_of(tmp_path / "clip.mp4")
    first = next(unit for unit in samples[0] if STAMP in unit)
    at = first.index(STAMP) + len(STAMP)
    number = int(first[at : at + 8])
    assert encoded.keys[number % len(encoded.keys)]
    assert samples == [encoded.nals(number + i) for i in range(len(samples))]
    probed = ffprobe(
        tmp_path / "clip.mp4", "-show_entries", "stream=nb_frames,codec_tag_string:format=duration"
    )
    assert probed["streams"][0]["codec_tag_string"] == "avc1"
    assert int(probed["streams"][0]["nb_frames"]) == len(samples)
    assert float(probed["format"]["duration"]) == pytest.approx(len(samples) / 25, abs=0.002)


def test_clip_of_the_past_is_ready_at_once_and_says_what_it_lacks(tmp_path: Path) -> None:
    """A ring younger than the span asked for gives what it has, with the reason; nothing at all is refused."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        dead = CameraSpec(id="dead", stream=StreamAddress(url="rtsp://127.0.0.1:9/none"))
        async with started(camera), banked([by_stream(camera), dead], tmp_path) as bank:
            await healthy(bank, "cam")
            await wait_until(lambda: bank.health()["cam"].ring_s > 2)
            with pytest.raises(Unavailable, match=r"nothing of this span: nothing listens at 127\.0\.0\.1:9"):
                await bank.cut_clip("dead", now() - timedelta(seconds=2), now(), tmp_path / "none.mp4")
            assert not (tmp_path / "none.mp4").exists()
            asked = now()
            clip = await bank.cut_clip("cam", asked - timedelta(seconds=30), asked, tmp_path / "clip.mp4")
            assert now() - asked < timedelta(seconds=1)
            assert clip.shortfall is not None
            assert "late: nothing earlier is in the ring" in clip.shortfall

    asyncio.run(run())


def test_clip_goes_on_over_a_lost_session_and_names_the_gap(tmp_path: Path) -> None:
    """When the camera drops the session for a moment the clip has both sides of the gap, in one file that plays."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 2)
            start = now() - timedelta(seconds=1)
            cutting = asyncio.create_task(
                bank.cut_clip("cam", start, now() + timedelta(seconds=6), tmp_path / "clip.mp4")
            )
            await asyncio.sleep(1.5)
            camera.cut_connections()
            clip = await cutting
            assert clip.shortfall is not None
            assert "the stream was opened again" in clip.shortfall
            assert "early" not in clip.shortfall
            assert bank.health()["cam"].sessions == 2

    asyncio.run(run())
    packets = ffprobe(tmp_path / "clip.mp4", "-show_entries", "packet=pts_time")["packets"]
    times = [float(packet["pts_time"]) for packet in packets]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert sum(gap > 0.5 for gap in gaps) == 1
    assert times[-1] == pytest.approx(7, abs=1.3)


def test_abandoned_clip_leaves_no_file(tmp_path: Path) -> None:
    """When nobody waits for a clip any more it is removed."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 2)
            target = tmp_path / "clip.mp4"
            cutting = asyncio.create_task(
                bank.cut_clip("cam", now() - timedelta(seconds=1), now() + timedelta(minutes=5), target)
            )
            for _ in range(1000):
                if target.exists():
                    break
                await asyncio.sleep(0.005)
            assert target.exists()
            cutting.cancel()
            await asyncio.gather(cutting, return_exceptions=True)
            for _ in range(1000):
                if not target.exists():
                    break
                await asyncio.sleep(0.005)
            assert not target.exists()

    asyncio.run(run())


def test_full_disk_is_told_and_nothing_left(tmp_path: Path) -> None:
    """A write that finds no space ends the clip with the system's own reason."""
    camera = SimulatedCamera(name="cam")
    (tmp_path / "clip.mp4").symlink_to("/dev/full")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 3)
            with pytest.raises(Unavailable, match="cannot be written: No space left on device"):
                await bank.cut_clip("cam", now() - timedelta(seconds=2), now(), tmp_path / "clip.mp4")
            assert bank.restarts == 0

    asyncio.run(run())
    assert not (tmp_path / "clip.mp4").is_symlink()
    with pytest.raises(ValueError, match="not below the spool"):
        asyncio.run(_outside(tmp_path))


async def _outside(tmp_path: Path) -> None:
    async with banked([], tmp_path / "spool") as bank:
        await bank.cut_clip("cam", now() - timedelta(seconds=1), now(), tmp_path / "elsewhere.mp4")

"""H.265, B-frames and long groups of pictures: stills and clips held against the cameras' own clocks and bytes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from gateway.domain.evidence import StillTaken
from simulators.camera.encoded import EncodedStream
from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import read_frame_stamp
from simulators.camera.picture import Reading, read
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

pytestmark = pytest.mark.alone  # times of pictures or alerts, on a machine that nobody else uses


FPS = 12
FRAME_MS = 1000 / FPS
SMALL: dict[str, Any] = {"width": 320, "height": 180, "fps": FPS}
TAGS = {"h264": "avc1", "h265": "hvc1"}


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def ms(at: datetime) -> float:
    """Unix milliseconds."""
    return at.timestamp() * 1000


def readings(clip: Path) -> list[tuple[float, Reading]]:
    """Every picture of a clip in the order it is shown: seconds in the file, and what it says of itself."""
    with av.open(str(clip)) as container:
        return [(float(f.time), read(f.to_ndarray(format="gray"))) for f in container.decode(video=0)]


def check_still(still: StillTaken, instant: datetime) -> None:
    """The picture is of the instant, and says how far it is off, to within a frame."""
    shown_ms = told(still.jpeg).unix_ms
    assert abs(shown_ms - ms(instant)) <= FRAME_MS, (shown_ms - ms(instant), still.offset_ms)
    assert abs(shown_ms - ms(still.taken_at)) <= FRAME_MS / 2, shown_ms - ms(still.taken_at)


@pytest.mark.parametrize(
    ("codec", "b_frames"), [("h265", 0), ("h265", 2), ("h264", 2)], ids=["h265", "h265-b", "h264-b"]
)
def test_evidence_of_a_live_camera(codec: str, b_frames: int, tmp_path: Path) -> None:
    """Stills of now, of the past and of every place in a group show their instant within a frame; a clip plays in FFmpeg with
    each picture at its own moment, none missing and none doubled."""
    camera = SimulatedCamera(
        name="cam", codec=codec, b_frames=b_frames, gop=FPS, send_log=tmp_path / "sent", **SMALL
    )

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 4)
            instant = now()
            stills = await asyncio.gather(*(bank.take_still("cam", instant) for _ in range(3)))
            assert len({still.jpeg for still in stills}) == 1
            check_still(stills[0], instant)
            assert stills[0].clock == ("rtcp" if b_frames else "arrival")
            for tenths in range(1, 13):
                back = instant - timedelta(seconds=tenths / 10)
                check_still(await bank.take_still("cam", back), back)
            start, end = instant - timedelta(seconds=2), now() + timedelta(seconds=1.5)
            clip = await bank.cut_clip("cam", start, end, tmp_path / "clip.mp4")
            assert clip.shortfall is None
            assert start - timedelta(seconds=1.1) <= clip.start <= start
            assert abs((clip.end - end).total_seconds()) <= (2 + 2 * b_frames) * FRAME_MS / 1000
            pictures = readings(tmp_path / "clip.mp4")
            assert abs(pictures[0][1].unix_ms - ms(clip.start)) <= FRAME_MS / 2

    asyncio.run(run())
    pictures = readings(tmp_path / "clip.mp4")
    numbers = [reading.frame for _, reading in pictures]
    # A simulated camera that is late leaves pictures out: what it sent is what has to be there.
    sent = sorted(json.loads(line)["frame"] for line in (tmp_path / "sent").read_text().splitlines())
    assert numbers == [number for number in sent if numbers[0] <= number <= numbers[-1]]
    first_s, first = pictures[0]
    assert first_s == 0
    for at_s, reading in pictures:
        assert at_s * 1000 == pytest.approx(reading.unix_ms - first.unix_ms, abs=2)
    probed = ffprobe(
        tmp_path / "clip.mp4",
        "-count_frames",
        "-show_entries",
        "stream=codec_tag_string,nb_frames,nb_read_frames,has_b_frames:format=duration",
    )
    (video,) = probed["streams"]
    assert video["codec_tag_string"] == TAGS[codec]
    assert int(video["nb_frames"]) == int(video["nb_read_frames"]) == len(pictures)
    assert bool(video["has_b_frames"]) == bool(b_frames)


@pytest.mark.parametrize(
    ("codec", "b_frames"), [("h265", 0), ("h265", 2), ("h264", 2)], ids=["h265", "h265-b", "h264-b"]
)
def test_clip_is_byte_for_byte_what_the_camera_sent(codec: str, b_frames: int, tmp_path: Path) -> None:
    """Every NAL unit of the span is in the clip, SEI included, in the order it was sent, none added and none left out."""
    stream = EncodedStream.make(
        codec=codec, b_frames=b_frames, width=320, height=180, bits_per_s=300_000, seconds=2
    )
    camera = SimulatedCamera(name="cam", source=stream)

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 3.5)
            pressed = now()
            clip = await bank.cut_clip(
                "cam",
                pressed - timedelta(seconds=2),
                pressed + timedelta(seconds=1),
                tmp_path / "clip.mp4",
            )
            assert clip.shortfall is None
            assert bank.health()["cam"].codec.startswith(TAGS[codec])  # type: ignore[union-attr]

    asyncio.run(run())
    samples = nal_units_of(tmp_path / "clip.mp4")
    stamps = [read_frame_stamp(b"".join(units)) for units in samples]
    assert samples == [stream.nals(stamp) for stamp in stamps if stamp is not None]
    assert sorted(stamps) == list(range(min(stamps), min(stamps) + len(stamps)))  # type: ignore[type-var]
    assert (stamps != sorted(stamps)) == bool(b_frames)  # type: ignore[type-var]


def test_one_key_frame_in_ten_seconds(tmp_path: Path) -> None:
    """Stills late in a group of ten seconds come in time, and the ring still covers what was asked beside the whole group."""
    camera = SimulatedCamera(name="cam", gop=10 * FPS, **SMALL)

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path, ring_s=5) as bank:
            await healthy(bank, timeout_s=20)
            await wait_until(lambda: bank.health()["cam"].ring_s > 9.5, 30, "a group that is nearly over")
            asked = now()
            still = await bank.take_still("cam", asked)
            assert now() - asked < timedelta(seconds=1.5)
            check_still(still, asked)
            check_still(
                await bank.take_still("cam", asked - timedelta(seconds=4)), asked - timedelta(seconds=4)
            )
            await wait_until(lambda: bank.health()["cam"].ring_s > 13, 30, "the next group")
            start = now() - timedelta(seconds=5)
            clip = await bank.cut_clip("cam", start, now(), tmp_path / "clip.mp4")
            assert clip.shortfall is None
            assert clip.start <= start

    asyncio.run(run())
    assert len(readings(tmp_path / "clip.mp4")) >= 5 * FPS - 1


def test_hundred_stills_of_one_instant_are_one_decoding(tmp_path: Path) -> None:
    """A hundred alarms at once ask for a hundred stills of a camera: all are answered within a second, with few pictures made."""
    camera = SimulatedCamera(name="cam", codec="h265", gop=2 * FPS, **SMALL)

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 4)
            instant = now() - timedelta(seconds=0.5)
            began = asyncio.get_running_loop().time()
            stills = await asyncio.gather(
                *(bank.take_still("cam", instant + timedelta(milliseconds=i)) for i in range(100))
            )
            assert asyncio.get_running_loop().time() - began < 1.0
            for still in stills:  # of a crowd, who waits may get its neighbour's
                assert abs(told(still.jpeg).unix_ms - ms(still.taken_at)) <= FRAME_MS / 2
                assert abs(still.offset_ms) <= FRAME_MS + 100
            assert len({still.jpeg for still in stills}) <= 3

    asyncio.run(run())


def test_lost_and_swapped_packets_cost_pictures_and_nothing_else(tmp_path: Path) -> None:
    """A stream with holes and disorder in it is still evidence: clips and stills come, and the process lives."""
    camera = SimulatedCamera(name="cam", codec="h265", b_frames=2, gop=FPS, **SMALL)

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await camera.set_faults(CameraFaults(lose_every_packets=23, swap_every_packets=17))
            before_s = bank.health()["cam"].ring_s
            await wait_until(lambda: bank.health()["cam"].ring_s > before_s + 4, 30, "a damaged ring")
            asked = now()
            still = await bank.take_still("cam", asked - timedelta(seconds=1))
            assert still.jpeg.startswith(b"\xff\xd8")
            await bank.cut_clip("cam", asked - timedelta(seconds=3), asked, tmp_path / "clip.mp4")
            assert bank.restarts == 0

    asyncio.run(run())
    packets = ffprobe(tmp_path / "clip.mp4", "-show_entries", "packet=dts_time")["packets"]
    times = [float(packet["dts_time"]) for packet in packets]
    assert all(later > earlier for earlier, later in pairwise(times))

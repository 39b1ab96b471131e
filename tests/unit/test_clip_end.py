"""Where a clip ends in a stream with B-frames: nothing is missing before the last picture that it shows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest

from drivers.cameras.spec import RingLimits
from drivers.cameras.worker.evidence.clips import Cutting
from drivers.cameras.worker.frames.timing import HouseClock
from drivers.cameras.worker.stream.ring import Ring
from tests.support.h264_packets import FPS, packets_of, stream_of

SECONDS = 3


@dataclass(frozen=True)
class Camera:
    """A source whose pictures a test lays into its ring."""

    ring: Ring
    id: str = "cam"
    cause: str = ""
    sound: None = None
    sound_missing: str = ""

    def hurry(self, until_s: float) -> None:
        """They come by themselves."""


@pytest.fixture(scope="module")
def packets() -> list[Any]:
    """Three seconds with two B-frames between others."""
    made = packets_of(SECONDS, b_frames=2)
    shown = [packet.pts for packet in made]
    assert shown != sorted(shown)
    return made


@pytest.mark.parametrize("place", range(FPS + 1, 2 * FPS + 4))
def test_no_moment_is_missing_before_the_last_picture(place: int, packets: list[Any], tmp_path: Path) -> None:
    """Wherever in a group the end is, between any two pictures, and in whatever order these are sent."""
    begins_s = time.monotonic()
    ring, stream = Ring(RingLimits(seconds=60, bytes=1 << 24)), stream_of(packets, 1)
    target = tmp_path / "clip.mp4"
    cutting = Cutting(
        Camera(ring),
        begins_s,
        begins_s + (place + 0.5) / FPS,
        target,
        HouseClock(begins_s, time.time()),
        progress=lambda _: None,
        answer=lambda _: None,
    )
    cutting.deadline_s = begins_s + 3600
    ended = False
    for n, packet in enumerate(packets):
        came_s = begins_s + max(n, packet.pts) / FPS
        ring.append(
            stream, packet, packet.pts * 90_000 // FPS, came_s, key=packet.is_keyframe, size=packet.size
        )
        while not ended and cutting.has_work():
            ended = cutting.step()
        if ended:
            break
    assert ended
    clip = cutting.finish()
    with av.open(str(target)) as container:
        shown = sorted(round(float(p.pts * p.time_base) * FPS) for p in container.demux(video=0) if p.size)
    assert shown == list(range(len(shown)))
    assert place <= shown[-1] <= place + 2
    assert clip.shortfall is None

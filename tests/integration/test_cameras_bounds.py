"""One camera's stream that would take the memory of all: refused in words, bounded in bytes, and the camera beside it goes on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from drivers.cameras.spec import CameraSpec, StreamAddress
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, healthy, started
from tests.support.crafted_stream import (
    FPS,
    OPEN,
    TICKS,
    CraftedCamera,
    Unit,
    paced,
    pictures,
    resized,
    resized_hevc,
)
from tests.support.signals import wait_until

MOST_MB = 300
"""What the camera process may ever have taken: rings of 32 MB, some 50 MB of its own, and 16 MB of one picture, which the library
holds several times. Without bounds 2 to 4 GB were seen within 9 s."""

SPS, IDR = 7, 5


def with_sps(
    sps: Callable[[bytes], bytes], kind_of: Callable[[bytes], int], kind: int, codec: str
) -> Iterator[Unit]:
    coded = [[sps(unit) if kind_of(unit) == kind else unit for unit in units] for units in pictures(codec)]
    yield from paced(coded)


def h264(width: int, height: int, references: int | None = None) -> Callable[[], Iterator[Unit]]:
    """In macroblocks."""
    return lambda: with_sps(
        lambda unit: resized(unit, width, height, references=references),
        lambda unit: unit[0] & 31,
        SPS,
        "h264",
    )


def h265(width: int, height: int) -> Callable[[], Iterator[Unit]]:
    return lambda: with_sps(
        lambda unit: resized_hevc(unit, width, height), lambda unit: unit[0] >> 1 & 63, 33, "hevc"
    )


def first_whole(then: Callable[[], Iterator[Unit]]) -> Callable[[], Iterator[Unit]]:
    """Two seconds in good order before it."""

    def play() -> Iterator[Unit]:
        for n, unit in enumerate(paced(pictures())):
            if n > 2 * FPS + 8:
                break
            yield unit
        yield from ((timestamp + 100 * TICKS, unit) for timestamp, unit in then())

    return play


def one_unit_without_end() -> Iterator[Unit]:
    while True:
        yield 0, OPEN + b"\x65" + b"\x55" * 60_000


def units_of_one_picture_without_end() -> Iterator[Unit]:
    """Slices of one picture: none of them is its first (first_mb_in_slice is not 0)."""
    yield from ((0, unit) for unit in pictures()[0])
    while True:
        yield 0, b"\x41" + b"\x55" * 1300


def notes_without_end() -> Iterator[Unit]:
    """SEI before a picture that never comes."""
    while True:
        yield 0, b"\x06\x05\xff" + b"\x55" * 1300


def pictures_as_fast_as_may_be() -> Iterator[Unit]:
    yield from paced(pictures(), live=False)


def sets_without_end() -> Iterator[Unit]:
    """A new PPS, each another, before every picture."""
    for n, (timestamp, unit) in enumerate(paced(pictures())):
        if unit[0] & 31 == IDR:
            for m in range(2000):
                yield timestamp, b"\x68" + (n * 2000 + m).to_bytes(4, "big").replace(b"\0", b"\x11") + b"\x80"
        yield timestamp, unit


def another_format_each_picture() -> Iterator[Unit]:
    sps, pps, *_ = [unit for unit in pictures()[0] if unit[0] & 31 in (7, 8)]
    idr = next(unit for unit in pictures()[0] if unit[0] & 31 == IDR)
    for n in count():
        yield n * TICKS, resized(sps, 4 + n % 60, 4)
        yield n * TICKS, pps
        yield n * TICKS, idr


def group_without_end() -> Iterator[Unit]:
    """One key frame, and then 200 kB a picture and no other, ten times as fast as told."""
    yield from ((0, unit) for unit in pictures()[0])
    for n in count(1):
        for unit in (b"\x41\x9a" + b"\x55" * 200_000,):
            yield n * TICKS, unit


KINDS: dict[str, tuple[Callable[[], Iterator[Unit]], str, str]] = {
    "H.264 of 65536 x 65536": (h264(4096, 4096), "H264", "65536x65536; 1 to 16384 is possible"),
    "H.264 of 16384 x 16384": (h264(1024, 1024, 16), "H264", "16384x16384; at most"),
    "H.264 of 8192 x 8192": (h264(512, 512, 16), "H264", "8192x8192; at most"),
    "H.264 of 16 x 262144": (h264(1, 16384), "H264", "262144"),
    "H.264 of 40 reference pictures": (h264(120, 68, 40), "H264", "40 reference pictures"),
    "H.265 of 65528 x 65528": (h265(65528, 65528), "H265", "65528x65528; 1 to 16384 is possible"),
    "H.265 of 16384 x 16384": (h265(16384, 16384), "H265", "16384x16384; at most"),
    "larger in the middle": (first_whole(h264(1024, 1024, 16)), "H264", "16384x16384; at most"),
    "a unit without end": (one_unit_without_end, "H264", "without one whole picture"),
    "a unit without end, later": (first_whole(one_unit_without_end), "H264", "without one whole picture"),
    "units without end": (
        units_of_one_picture_without_end,
        "H264",
        "a picture of more than|no camera does|one whole picture",
    ),
    "SEI without end": (notes_without_end, "H264", "without one whole picture|a picture of more than"),
    "pictures without pause": (pictures_as_fast_as_may_be, "H264", "no camera does"),
    "parameter sets without end": (sets_without_end, "H264", "before a picture"),
    "another format each picture": (
        another_format_each_picture,
        "H264",
        "changed its parameter sets|no camera does",
    ),
    "a group without end": (group_without_end, "H264", "no camera does|more than .* MB|no key frame"),
}


def peak_mb(process: int) -> int:
    """The most the process ever had in memory."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_camera_may_take_is_bounded(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cause says what it sent; the process stays small and lives; the camera beside it is recorded and its still comes."""
    play, codec, cause = KINDS[kind]
    bounded(kind, CraftedCamera(play, codec=codec), cause, tmp_path, capsys)


NO_PICTURE = "without one whole picture"


@pytest.mark.parametrize(
    ("kind", "how", "cause"),
    [
        ("asked slowly", {"slow_s": 0.4}, NO_PICTURE),
        ("asked more slowly", {"slow_s": 1.5}, NO_PICTURE),
        ("a description of 2 GB", {"described": 2_000_000_000}, f"{NO_PICTURE}|cannot be opened"),
        ("a description of 500 MB", {"described": 500_000_000}, f"{NO_PICTURE}|cannot be opened"),
        ("a description of 90 MB", {"described": 90_000_000, "slow_s": 0.4}, NO_PICTURE),
    ],
)
def test_what_one_camera_may_take_is_bounded_from_the_first_answer_on(
    kind: str, how: dict[str, Any], cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of one that is slow to answer what is asked ahead of a session, and that names how much it will say."""
    bounded(kind, CraftedCamera(one_unit_without_end, **how), cause, tmp_path, capsys)


def bounded(
    kind: str, crafted: CraftedCamera, cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = SimulatedCamera(name="good", width=320, height=180, fps=10)

    async def story() -> tuple[int, int]:
        with crafted as bad:
            async with (
                started(good),
                banked(
                    [
                        by_stream(good, record=True),
                        CameraSpec(id="bad", stream=StreamAddress(url=bad.url), record=True),
                    ],
                    tmp_path / "spool",
                    ring_bytes_total=32 << 20,
                    recordings=tmp_path / "recording",
                ) as bank,
            ):
                await healthy(bank, "good")
                process = bank.process_id
                assert process is not None
                await wait_until(
                    lambda: re.search(cause, bank.health()["bad"].cause) is not None,
                    40,
                    f"the cause: {bank.health()['bad'].cause}",
                )
                still = await bank.take_still("good", datetime.now(UTC))
                assert abs(still.offset_ms) < 500
                known = bank.health()["good"].recorded_until
                await wait_until(lambda: bank.health()["good"].recorded_until != known, 10, "it is recorded")
                assert bank.health()["good"].healthy
                assert (bank.process_id, bank.restarts) == (process, 0)
                return peak_mb(process), bad.sent >> 20

    peak, sent = asyncio.run(story())
    with capsys.disabled():
        print(f"\n{kind}: {peak} MB at most, {sent} MB sent")
    assert peak < MOST_MB

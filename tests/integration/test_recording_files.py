"""Files of recordings, from real RTSP to the disk: nothing missing, nothing twice, and little lost by a kill -9."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import pytest

from drivers.cameras.parent.bank import SubprocessCameraBank
from drivers.cameras.worker.record.mending import mend
from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import read_frame_stamp
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, ffprobe, healthy
from tests.support.clock_set import SetClock
from tests.support.signals import wait_until

FPS = 15
SEGMENT_S = 4.0
SMALL: dict[str, Any] = {"width": 320, "height": 180, "fps": FPS}


@asynccontextmanager
async def recorded(
    camera: SimulatedCamera, folder: Path, *, segment_s: float = SEGMENT_S, audio: bool = False
) -> AsyncIterator[SubprocessCameraBank]:
    """The running camera, recorded below ``recording`` in the folder."""
    async with (
        camera,
        banked(
            [by_stream(camera, record=True, audio=audio)],
            folder / "spool",
            recordings=folder / "recording",
            segment_s=segment_s,
        ) as bank,
    ):
        yield bank


def closed(folder: Path) -> list[dict[str, Any]]:
    """The facts of every closed file, by their start."""
    found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return sorted(found, key=lambda facts: facts["start"])


def frames_of(path: Path) -> list[tuple[float, int]]:
    """Of each picture when it is shown, and the number the camera gave it, in the order of showing."""
    with av.open(str(path)) as source:
        found = [
            (float(packet.pts * packet.time_base), read_frame_stamp(bytes(packet)))
            for packet in source.demux(source.streams.video[0])
            if packet.size
        ]
    return sorted((at, number) for at, number in found if number is not None)


def whole(folder: Path, facts: dict[str, Any]) -> list[int]:
    """The numbers of a file's pictures, after it was held against its facts and ffprobe."""
    path = folder / facts["file"]
    data = path.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (facts["bytes"], facts["sha256"])
    frames = frames_of(path)
    assert len(frames) == facts["frames"]
    probed = ffprobe(path, "-count_frames", "-show_entries", "stream=codec_type,nb_read_frames")
    (video,) = [s for s in probed["streams"] if s["codec_type"] == "video"]
    assert int(video["nb_read_frames"]) == facts["frames"]
    lasts_s = facts["end"] - facts["start"]
    assert lasts_s == pytest.approx(frames[-1][0] - frames[0][0] + 1 / FPS, abs=0.1)
    return [number for _, number in frames]


def sent_between(folder: Path, numbers: list[int]) -> list[int]:
    """What the camera sent from the first of these pictures to the last: one that is late leaves some out."""
    sent = sorted(json.loads(line)["frame"] for line in (folder / "sent").read_text().splitlines())
    return [number for number in sent if numbers[0] <= number <= numbers[-1]]


@pytest.mark.parametrize(
    ("codec", "b_frames", "gop_s", "audio"),
    [("h264", 0, 1, False), ("h265", 2, 1, True), ("h264", 2, 2, False), ("h264", 0, 3, False)],
    ids=["h264", "h265-b-sound", "h264-b", "h264-key-frames-far-apart"],
)
def test_files_follow_one_another_without_a_frame_missing_or_twice(
    codec: str, b_frames: int, gop_s: int, audio: bool, tmp_path: Path
) -> None:
    """Each begins at the first key frame of its span, is what its facts say, and the next one goes on with the next frame."""
    camera = SimulatedCamera(
        name="cam",
        codec=codec,
        b_frames=b_frames,
        gop=gop_s * FPS,
        audio="aac" if audio else None,
        send_log=tmp_path / "sent",
        **SMALL,
    )
    folder = tmp_path / "recording" / "cam"

    async def run() -> None:
        async with recorded(camera, tmp_path, audio=audio) as bank:
            await wait_until(lambda: len(closed(folder)) >= 3, 40, "three closed files")
            assert bank.health()["cam"].recording == ""

    asyncio.run(run())
    files = closed(folder)
    numbers = [number for facts in files[:3] for number in whole(folder, facts)]
    assert numbers == sent_between(tmp_path, numbers)
    for facts, following in itertools.pairwise(files):
        assert following["start"] - facts["end"] == pytest.approx(0, abs=0.1)
        past_s = following["start"] % SEGMENT_S
        assert past_s < gop_s + 0.2, "a file begins at the first key frame of its span"
        assert following["start"] == pytest.approx(int(Path(following["file"]).stem) / 1000, abs=0.001)
    if audio:
        probed = ffprobe(
            folder / files[1]["file"], "-show_entries", "stream=codec_name,codec_tag_string,duration"
        )
        kinds = {s["codec_name"]: s for s in probed["streams"]}
        assert kinds["hevc"]["codec_tag_string"] == "hvc1"
        assert float(kinds["aac"]["duration"]) == pytest.approx(float(kinds["hevc"]["duration"]), abs=0.4)


def test_a_kill_costs_two_seconds_at_the_most_and_the_next_process_closes_what_is_left(
    tmp_path: Path,
) -> None:
    """What was written is taken up, whole up to its last fragment; what is missing between it and what follows is short."""
    camera = SimulatedCamera(name="cam", gop=FPS, send_log=tmp_path / "sent", **SMALL)
    folder = tmp_path / "recording" / "cam"
    killed_at: list[float] = []

    async def run() -> None:
        async with recorded(camera, tmp_path, segment_s=60) as bank:
            await healthy(bank)
            await wait_until(
                lambda: (
                    (until := bank.health()["cam"].recorded_until) is not None
                    and until.timestamp() > time.time() - 2
                    and any(path.stat().st_size > 0 for path in folder.glob("*.part"))
                ),
                20,
                "something is being written",
            )
            await asyncio.sleep(3.3)  # to lie anywhere between two fragments
            assert bank.process_id is not None
            os.kill(bank.process_id, signal.SIGKILL)
            killed_at.append(time.time())
            await wait_until(lambda: len(closed(folder)) >= 1, 20, "what was left is closed")

    asyncio.run(run())
    (first, *_) = closed(folder)
    numbers = whole(folder, first)
    assert numbers == sent_between(tmp_path, numbers)
    lost_s = killed_at[0] - first["end"]
    print(f"lost by the kill: {lost_s:.2f} s")
    assert lost_s < 2.0


def test_a_file_cut_anywhere_is_closed_up_to_its_last_whole_fragment(tmp_path: Path) -> None:
    """At every length: readable and measured, or set aside under another name; never removed, never taken for more than it is."""
    camera = SimulatedCamera(name="cam", gop=FPS, **SMALL)
    folder = tmp_path / "recording" / "cam"

    async def run() -> None:
        async with recorded(camera, tmp_path):
            await wait_until(lambda: len(closed(folder)) >= 2, 30, "two closed files")

    asyncio.run(run())
    data = (folder / closed(folder)[1]["file"]).read_bytes()
    most = closed(folder)[1]["frames"]
    seen = set()
    for n, length in enumerate(range(0, len(data) + 1, max(1, len(data) // 40))):
        place = tmp_path / f"cut-{n}" / "cam"
        place.mkdir(parents=True)
        (place / "1772417700123.part").write_bytes(data[:length])
        found = mend(place)
        left = sorted(path.name for path in place.iterdir())
        if not found:
            assert left in ([], ["1772417700123.broken"])
            assert left or length < 2000, "something was removed that may have been a picture"
            continue
        (facts,) = found
        assert left == ["1772417700123.json", "1772417700123.mp4"]
        assert facts["frames"] == len(frames_of(place / "1772417700123.mp4")) <= most
        assert facts["start"] == 1772417700.123
        assert mend(place) == [], "what is closed is left alone"
        seen.add(facts["frames"])
    assert len(seen) >= 4, "fragments of a second at the most"


def test_a_camera_that_goes_and_changes_ends_its_file_and_begins_another(tmp_path: Path) -> None:
    """A pause is between two files, not inside one; another size begins another file; nothing of either is doubled."""
    camera = SimulatedCamera(name="cam", gop=FPS, **SMALL)
    folder = tmp_path / "recording" / "cam"

    async def run() -> None:
        async with recorded(camera, tmp_path, segment_s=60) as bank:
            await wait_until(lambda: bank.health()["cam"].recorded_until is not None, 20, "recording")
            await asyncio.sleep(2)
            await camera.set_faults(CameraFaults(drop_connections=True))
            await wait_until(lambda: len(closed(folder)) == 1, 10, "the file is closed when the stream ends")
            await asyncio.sleep(1)
            await camera.set_faults(CameraFaults())
            before = closed(folder)[0]["end"]
            await wait_until(
                lambda: (
                    (until := bank.health()["cam"].recorded_until) is not None
                    and until.timestamp() > before + 4
                ),
                20,
                "recording goes on",
            )
            await camera.set_faults(CameraFaults(change_width=640, change_height=360))
            await wait_until(lambda: len(closed(folder)) == 2, 15, "another size, another file")
            bank.give_way(["cam"])
            await wait_until(lambda: len(closed(folder)) == 3, 10, "a camera that gives way closes its file")
            await wait_until(lambda: bank.health()["cam"].recording is None, 5, "it is told")

    asyncio.run(run())
    files = closed(folder)
    assert [facts["width"] for facts in files] == [320, 320, 640]
    assert files[1]["start"] - files[0]["end"] > 1
    numbers = [number for facts in files for number in whole(folder, facts)]
    assert len(numbers) == len(set(numbers))


def test_no_picture_is_recorded_that_a_camera_broke_off_in(tmp_path: Path) -> None:
    """Half a key frame, and the session ends, again and again: of what is in the files every picture is whole."""
    camera = SimulatedCamera(name="cam", gop=FPS, faults=CameraFaults(cut_after_frames=2 * FPS))
    folder = tmp_path / "recording" / "cam"

    async def run() -> None:
        async with recorded(camera, tmp_path, segment_s=60):
            await wait_until(lambda: len(closed(folder)) == 2, 40, "each end closes a file")

    asyncio.run(run())
    for facts in closed(folder):
        assert whole(folder, facts)


def test_a_disk_that_refuses_is_told_and_recording_goes_on_when_it_takes_again(tmp_path: Path) -> None:
    """The folder cannot be written to: the camera's health says so; once it can, a file begins, and nothing else suffered."""
    camera = SimulatedCamera(name="cam", gop=FPS, **SMALL)
    place = tmp_path / "recording"
    place.write_text("not a folder")

    async def run() -> None:
        async with recorded(camera, tmp_path) as bank:
            await healthy(bank)
            await wait_until(
                lambda: "spool" in (bank.health()["cam"].recording or ""), 10, "the cause is told"
            )
            place.unlink()
            await wait_until(lambda: bank.health()["cam"].recording == "", 20, "it is recorded")
            await wait_until(lambda: len(closed(place / "cam")) >= 1, 20, "a closed file")

    asyncio.run(run())


def test_a_file_that_had_to_be_given_up_is_closed_as_soon_as_the_disk_takes_again(tmp_path: Path) -> None:
    """The disk refuses as it ends: what is whole of it is taken up by the same process, and not when that happens to end."""
    camera = SimulatedCamera(name="cam", gop=FPS, **SMALL)
    folder = tmp_path / "recording" / "cam"

    async def run() -> None:
        async with recorded(camera, tmp_path) as bank:
            await wait_until(lambda: bool(list(folder.glob("*.part"))), 20, "a file has begun")
            (part,) = folder.glob("*.part")
            in_the_way = folder / f"{part.stem}.json.new"
            in_the_way.mkdir()
            await wait_until(lambda: bool(bank.health()["cam"].recording), 20, "the cause is told")
            in_the_way.rmdir()
            await wait_until(lambda: part.with_suffix(".json").exists(), 20, "it is closed")
            await wait_until(lambda: bank.health()["cam"].recording == "", 20, "it is recorded again")

    asyncio.run(run())
    assert whole(folder, closed(folder)[0])


@pytest.mark.parametrize("by_s", [-86_400, 86_400], ids=["a day back", "a day ahead"])
def test_files_end_in_time_whatever_the_clock_is_set_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_s: float
) -> None:
    """None goes on until the old time comes round, and none begins before it ends."""
    clock = SetClock(tmp_path, monkeypatch)
    camera = SimulatedCamera(name="cam", gop=FPS, **SMALL)
    folder = tmp_path / "recording" / "cam"

    async def run() -> None:
        async with recorded(camera, tmp_path):
            await wait_until(lambda: len(closed(folder)) >= 1, 20, "a closed file")
            clock.set(by_s)
            now_s = time.time() + by_s
            await wait_until(
                lambda: len([f for f in closed(folder) if abs(f["start"] - now_s) < 3600]) >= 2,
                6 * SEGMENT_S,
                "two files of the new time",
            )

    asyncio.run(run())
    files = closed(folder)
    assert all(0 < facts["end"] - facts["start"] < 2.5 * SEGMENT_S for facts in files), files
    assert all(
        facts["end"] - facts["start"] == pytest.approx(facts["frames"] / FPS, abs=0.5) for facts in files
    ), files

"""Live parts, clips, recordings and exports of streams as strangers' cameras send them: one picture a sample, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drivers.cameras.export.joining import Joining
from drivers.cameras.spec import CameraSpec, StreamAddress
from simulators.camera.encoded import EncodedStream
from simulators.camera.simulated import SimulatedCamera
from tests.support import odd_streams
from tests.support.camera_bank import banked, by_stream, covering, ffprobe, healthy, started
from tests.support.crafted_stream import OPEN, TICKS, CraftedCamera, Unit, paced, pictures
from tests.support.samples import differs, pictures_of
from tests.support.signals import wait_until

#: Their pictures are sent in another order than they are shown in; test_cameras_codecs.py has such.
OTHERS = {"pictures nothing refers to"}
SEGMENT_S = 4.0


def facts_of(folder: Path) -> list[dict[str, object]]:
    """Of each closed recording, by its start."""
    found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return sorted(found, key=lambda facts: facts["start"])


def exported(folder: Path, facts: list[dict[str, object]], into: Path) -> list[Path]:
    """The films that recordings of one camera are joined into."""
    into.mkdir()
    start, end = float(str(facts[0]["start"])), float(str(facts[-1]["end"]))
    joining = Joining({"folder": str(into), "begin": start, "end": end + 1, "gaps": []})
    for each in facts:
        assert joining.take(str(folder / str(each["file"])), float(str(each["start"]))) is not None
    return [into / str(film["name"]) for film in joining.finish()]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_one_picture_a_sample_byte_for_byte(codec: str, tmp_path: Path) -> None:
    """Whatever stands before, between and behind the slices, and however many there are; all cameras' health is good."""
    streams: dict[str, EncodedStream] = {
        name.replace(" ", "-").replace(",", ""): odd_streams.served(codec, name)
        for kind, name in odd_streams.ALL
        if kind == codec and name not in OTHERS
    }
    cameras = [SimulatedCamera(name=name, source=stream) for name, stream in streams.items()]
    wrong: list[str] = []

    def hold(what: str, name: str, samples: list[list[bytes]]) -> None:
        if problem := differs(samples, streams[name]):
            wrong.append(f"{what} of {name}: {problem}")

    recordings = tmp_path / "recordings"

    async def run() -> None:
        async with (
            started(*cameras),
            banked(
                [by_stream(camera, record=True) for camera in cameras],
                tmp_path / "spool",
                recordings=recordings,
                segment_s=SEGMENT_S,
            ) as bank,
        ):
            await healthy(bank, timeout_s=60)
            await covering(bank, 4, timeout_s=60)
            asked = datetime.now(UTC)
            for name in streams:
                target = tmp_path / "spool" / f"{name}.mp4"
                clip = await bank.cut_clip(name, asked - timedelta(seconds=3), asked, target)
                assert clip.shortfall is None, name
                hold("clip", name, pictures_of(target))
                if codec == "h264":
                    live = await bank.live_playlist(name)
                    head = await bank.live_part(name, live.init)
                    for segment in live.segments[-2:]:
                        part = await bank.live_part(name, segment.name)
                        hold("live part", name, pictures_of(head + part))
            await wait_until(
                lambda: all(len(facts_of(recordings / name)) >= 2 for name in streams),
                90,
                "two files of each",
            )
            assert {name: bank.health()[name].sessions for name in streams} == dict.fromkeys(streams, 1)

    asyncio.run(run())
    for name in streams:
        facts = facts_of(recordings / name)[:2]
        for each in facts:
            hold("recording", name, pictures_of(recordings / name / str(each["file"])))
        for film in exported(recordings / name, facts, tmp_path / f"export-{name}"):
            hold("export", name, pictures_of(film))
            ffprobe(film, "-count_frames", "-show_entries", "stream=nb_read_frames")
    assert wrong == []


@pytest.mark.parametrize("codec", ["H264", "H265"])
def test_a_stream_joined_in_the_middle_of_a_slice_is_opened(codec: str, tmp_path: Path) -> None:
    """Of a camera that describes no parameter sets and sends the rest of a large slice first: the next key frame begins it."""

    def play() -> Iterator[Unit]:
        made = pictures("h264" if codec == "H264" else "hevc")
        for n, (timestamp, unit) in enumerate(paced(made)):
            if n == 0:
                # Fragments without their beginning, as of a unit of which the first ones went before.
                yield timestamp, OPEN + unit[:2] + b"\x55" * 9000
            yield timestamp + TICKS, unit

    async def run() -> None:
        with CraftedCamera(play, codec=codec) as camera:
            spec = CameraSpec(id="cam", stream=StreamAddress(url=camera.url))
            async with banked([spec], tmp_path) as bank:
                await healthy(bank, timeout_s=30)
                await covering(bank, 3, timeout_s=30)
                asked = datetime.now(UTC)
                target = tmp_path / "clip.mp4"
                await bank.cut_clip("cam", asked - timedelta(seconds=2), asked, target)
                samples = pictures_of(target)
                sliced = odd_streams.is_slice if codec == "H264" else odd_streams.is_slice_265
                assert {sum(map(sliced, units)) for units in samples} == {1}

    asyncio.run(run())

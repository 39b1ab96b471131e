"""While room is short the second stream is recorded in place of the main one: from real cameras, and the ledger is whole."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import av
import cv2
import numpy as np
import pytest

from drivers.cameras.spec import OnvifAddress, StreamAddress
from gateway.domain.fault import FaultKind
from gateway.domain.recording import GapCause, Quality, Segment
from simulators.camera.picture import read
from simulators.camera.settings import StreamSettings
from simulators.camera.simulated import SimulatedCamera
from tests.integration.test_recording_files import closed
from tests.support.camera_bank import banked, by_stream
from tests.support.faulty_link import FaultyLink
from tests.support.processes import free_port
from tests.support.recorder import FPS, School, recording, stream_of
from tests.support.signals import wait_until

pytestmark = pytest.mark.alone  # times of pictures or alerts, on a machine that nobody else uses


MAIN, SUB = (640, 360), (320, 180)
FAULT = (FaultKind.CAMERA, "cam substream")


def two_streams(**settings: Any) -> SimulatedCamera:
    sub = StreamSettings(width=SUB[0], height=SUB[1], fps=FPS, gop=FPS, **settings)
    return SimulatedCamera(name="cam", width=MAIN[0], height=MAIN[1], fps=FPS, gop=FPS, sub=sub)


def by_onvif(camera: SimulatedCamera) -> OnvifAddress:
    return OnvifAddress(
        host="127.0.0.1", port=camera.onvif_port, username=camera.username, password=camera.password
    )


def with_sub(camera: SimulatedCamera, *, port: int | None = None) -> StreamAddress:
    """Its two streams by their addresses; the second one at another port, for a way that can be cut."""
    parts = urlsplit(camera.sub_url)
    url = camera.sub_url if port is None else urlunsplit(parts._replace(netloc=f"127.0.0.1:{port}"))
    return replace(stream_of(camera), sub_url=url)


def size_of(school: School, segment: Segment) -> tuple[int, int]:
    with av.open(str(school.folder / "objects" / segment.key)) as film:
        video = film.streams.video[0].codec_context
        return video.width, video.height


def moments(film: Path) -> list[float]:
    """When each picture of a film was drawn, by itself, in Unix seconds."""
    with av.open(str(film)) as source:
        return [read(frame.to_ndarray(format="bgr24")).unix_ms / 1000 for frame in source.decode(video=0)]


async def count(school: School, quality: Quality, at_least: int, within_s: float = 30) -> None:
    """Wait until the ledger has so many segments of this quality."""
    await school.until(
        lambda segments, _: sum(s.quality is quality for s in segments) >= at_least,
        within_s,
        f"{at_least} segments {quality}",
    )


@pytest.mark.parametrize("address", [by_onvif, with_sub], ids=["onvif", "bare"])
def test_the_second_stream_is_recorded_while_room_is_short_and_the_main_one_after_it(
    tmp_path: Path, address: Callable[[SimulatedCamera], OnvifAddress | StreamAddress]
) -> None:
    """No moment is lost or shown twice at either change; evidence stays that of the main stream; the session is closed again."""

    async def story() -> None:
        async with two_streams() as camera, recording(tmp_path, address(camera)) as school:
            await count(school, Quality.FULL, 1)
            assert camera.playing == 1
            school.allowed["cam"] = Quality.SUBSTREAM
            await count(school, Quality.SUBSTREAM, 2)
            assert camera.playing == 2
            assert school.bank.health()["cam"].recorded_substream
            still = await school.bank.take_still("cam", datetime.now(UTC))
            picture = cv2.imdecode(np.frombuffer(still.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            assert (picture.shape[1], picture.shape[0]) == MAIN
            school.allowed.clear()
            full = sum(s.quality is Quality.FULL for s in (await school.ledger())[0])
            await count(school, Quality.FULL, full + 2)
            await wait_until(lambda: camera.playing == 1, 10, "the second session is closed")
            segments, gaps = await school.check()
            assert {gap.cause for gap in gaps} <= {GapCause.GATEWAY}, "before the first frame"
            assert not [gap for gap in gaps if gap.start > segments[0].start]
            changes = [(a, b) for a, b in itertools.pairwise(segments) if a.quality is not b.quality]
            assert [b.quality for _, b in changes] == [Quality.SUBSTREAM, Quality.FULL]
            for a, b in changes:
                assert abs(b.start - a.end) < timedelta(seconds=2.5 / FPS), "nothing between them"
            for one in segments:
                assert size_of(school, one) == (SUB if one.quality is Quality.SUBSTREAM else MAIN)
                assert one.quality.stream == ("sub" if one.quality is Quality.SUBSTREAM else "main")
            assert school.stage.causes == {}

    asyncio.run(story())


def test_a_camera_without_a_second_stream_is_passed_over_and_that_is_said(tmp_path: Path) -> None:
    """It goes on in full, with a fault that names it; its next step is taken as ever, and then the fault is over."""

    async def story() -> None:
        async with two_streams() as camera, recording(tmp_path, stream_of(camera)) as school:
            await count(school, Quality.FULL, 1)
            school.allowed["cam"] = Quality.SUBSTREAM
            await wait_until(lambda: FAULT in school.stage.causes, 10, "the fault")
            text = school.stage.causes[FAULT]
            assert "南门枪机 (cam, 门卫室 南门)" in text
            assert "stream.sub_url" in text
            await count(school, Quality.FULL, 3)
            school.allowed["cam"] = Quality.KEYFRAMES
            await count(school, Quality.KEYFRAMES, 1)
            assert school.stage.causes == {}
            assert camera.playing == 1
            segments, gaps = await school.ledger()
            assert {s.quality for s in segments} == {Quality.FULL, Quality.KEYFRAMES}
            assert not [gap for gap in gaps if gap.start > segments[0].start]

    asyncio.run(story())


def test_a_dead_second_stream_costs_nothing_and_is_a_fault(tmp_path: Path) -> None:
    """Nobody answers at its address: the main stream is recorded without a seam, and the fault says why."""

    async def story() -> None:
        async with (
            two_streams() as camera,
            recording(tmp_path, with_sub(camera, port=free_port())) as school,
        ):
            await count(school, Quality.FULL, 1)
            school.allowed["cam"] = Quality.SUBSTREAM
            await wait_until(lambda: FAULT in school.stage.causes, 25, "the fault")
            assert "nothing listens" in school.stage.causes[FAULT]
            segments, gaps = await school.check()
            assert {s.quality for s in segments} == {Quality.FULL}
            assert not [gap for gap in gaps if gap.start > segments[0].start]
            school.allowed.clear()
            await wait_until(lambda: school.stage.causes == {}, 10, "nobody asks for it any more")

    asyncio.run(story())


@pytest.mark.parametrize("how", ["cut", "silent"])
def test_a_second_stream_that_falls_is_left_for_the_main_one_without_a_moment_lost(
    tmp_path: Path, how: str
) -> None:
    """The main stream goes on from where the second one was, out of its ring: no gap, at most a group of pictures twice."""

    async def story() -> None:
        async with two_streams() as camera:
            with FaultyLink(camera.rtsp_port) as link:
                async with recording(tmp_path, with_sub(camera, port=link.port)) as school:
                    await count(school, Quality.FULL, 1)
                    school.allowed["cam"] = Quality.SUBSTREAM
                    await count(school, Quality.SUBSTREAM, 1)
                    if how == "cut":
                        link.down()
                    else:
                        link.bytes_per_s = 1  # open, and nothing comes
                    full = sum(s.quality is Quality.FULL for s in (await school.ledger())[0])
                    await wait_until(lambda: FAULT in school.stage.causes, 15, "the fault")
                    await count(school, Quality.FULL, full + 2)
                    segments, gaps = await school.check(twice=timedelta(seconds=1 + 2 / FPS))
                    assert not [gap for gap in gaps if gap.start > segments[0].start]
                    assert segments[-1].quality is Quality.FULL
                    assert "recorded in full" in school.stage.causes[FAULT]

    asyncio.run(story())


def test_when_the_main_stream_is_away_the_second_one_is_kept_until_it_is_back(tmp_path: Path) -> None:
    """There is room again, but nothing comes of the main stream: what comes is recorded, and no gap is made of it."""

    async def story() -> None:
        async with two_streams() as camera:
            with FaultyLink(camera.rtsp_port) as link:
                parts = urlsplit(camera.rtsp_url)
                main = urlunsplit(parts._replace(netloc=f"127.0.0.1:{link.port}"))
                reached = replace(with_sub(camera), url=main)
                async with recording(tmp_path, reached) as school:
                    school.allowed["cam"] = Quality.SUBSTREAM
                    await count(school, Quality.SUBSTREAM, 1)
                    link.down()
                    school.allowed.clear()
                    now = sum(s.quality is Quality.SUBSTREAM for s in (await school.ledger())[0])
                    await count(school, Quality.SUBSTREAM, now + 3)
                    link.up()
                    full = sum(s.quality is Quality.FULL for s in (await school.ledger())[0])
                    await count(school, Quality.FULL, full + 1, 60)
                    segments, gaps = await school.check()
                    assert not [gap for gap in gaps if gap.start > segments[0].start]

    asyncio.run(story())


def test_what_a_killed_process_was_recording_says_which_stream_it_is_of(tmp_path: Path) -> None:
    """The file that the next process closes is registered as of the second stream; the hole of the kill is told."""

    async def story() -> None:
        async with two_streams() as camera, recording(tmp_path, with_sub(camera)) as school:
            school.allowed["cam"] = Quality.SUBSTREAM
            await count(school, Quality.SUBSTREAM, 1)
            await wait_until(
                lambda: any(
                    p.stat().st_size > 20_000 for p in (tmp_path / "recording" / "cam").glob("*.sub.part")
                ),
                10,
                "something is being written",
            )
            (part,) = (tmp_path / "recording" / "cam").glob("*.sub.part")
            began = datetime.fromtimestamp(int(part.name.partition(".")[0]) / 1000, UTC)
            assert school.bank.process_id is not None
            os.kill(school.bank.process_id, signal.SIGKILL)
            await school.until(
                lambda segments, _: (
                    any(abs(s.start - began) < timedelta(milliseconds=2) for s in segments)
                    and segments[-1].start > began + timedelta(seconds=3)
                ),
                30,
                "it is taken up, and recording goes on",
            )
            segments, _ = await school.check()
            (mended,) = [s for s in segments if abs(s.start - began) < timedelta(milliseconds=2)]
            assert mended.quality is Quality.SUBSTREAM
            assert size_of(school, mended) == SUB

    asyncio.run(story())


@pytest.mark.parametrize(
    ("main", "sub"),
    [({"codec": "h265", "b_frames": 2, "gop": 20}, {}), ({}, {"codec": "h265", "b_frames": 2, "gop": 25})],
    ids=["h265-b-to-h264", "h264-to-h265-b"],
)
def test_at_both_changes_no_moment_is_in_no_file(
    main: dict[str, Any], sub: dict[str, Any], tmp_path: Path
) -> None:
    """By what the pictures themselves say: from the first to the last no time passes without one, and little of it twice."""
    camera = SimulatedCamera(
        name="cam",
        sub=StreamSettings(width=SUB[0], height=SUB[1], fps=FPS, **({"gop": FPS} | sub)),
        **({"width": MAIN[0], "height": MAIN[1], "fps": FPS, "gop": FPS} | main),  # type: ignore[arg-type]
    )
    folder = tmp_path / "recording" / "cam"

    async def run() -> None:
        async with camera:
            spec = replace(by_stream(camera, record=True), stream=with_sub(camera))
            async with banked(
                [spec], tmp_path / "spool", recordings=tmp_path / "recording", segment_s=60
            ) as bank:

                async def written(substream: bool) -> None:
                    """So much of this stream that a file of it is worth looking at."""
                    await wait_until(
                        lambda: (
                            bank.health()["cam"].recorded_until is not None
                            and bank.health()["cam"].recorded_substream is substream
                        ),
                        20,
                        "the second stream" if substream else "the main stream",
                    )
                    begun = bank.health()["cam"].recorded_until
                    assert begun is not None
                    enough = begun + timedelta(seconds=3)
                    await wait_until(
                        lambda: (
                            (until := bank.health()["cam"].recorded_until) is not None and until >= enough
                        ),
                        20,
                        "three seconds more",
                    )

                await written(False)
                bank.give_way([], [], ["cam"])
                await written(True)
                bank.give_way([])
                await written(False)
                bank.give_way(["cam"])
                await wait_until(lambda: len(closed(folder)) == 3, 10, "three closed files")

    asyncio.run(run())
    files = closed(folder)
    assert [facts["substream"] for facts in files] == [False, True, False]
    shown = [moments(folder / facts["file"]) for facts in files]
    at = sorted(moment for each in shown for moment in each)
    assert max(b - a for a, b in itertools.pairwise(at)) < 3.5 / FPS, "a moment is lost"
    print([round(before[-1] - after[0], 2) for before, after in itertools.pairwise(shown)])
    for before, after in itertools.pairwise(shown):
        assert before[-1] - after[0] < 5 / FPS, "more than a few pictures are in two files"

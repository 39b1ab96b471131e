"""The live picture of a camera whose main stream browsers do not play: its H.264 stream beside it, or a reason."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.cameras.parent.bank import SubprocessCameraBank
from drivers.cameras.spec import CameraSpec, OnvifAddress
from gateway.domain.camera import LivePlaylist
from gateway.domain.errors import NotPlayable, Unavailable
from simulators.camera.faults import CameraFaults
from simulators.camera.settings import StreamSettings
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, covering, ffprobe, healthy, started, told
from tests.support.signals import wait_until

FPS = 12
MAIN: dict[str, Any] = {"width": 480, "height": 270, "fps": FPS, "gop": FPS}
SUB = StreamSettings(codec="h264", width=320, height=180, fps=FPS, gop=FPS)


async def watched(bank: SubprocessCameraBank, segments: int = 2) -> LivePlaylist:
    """Look until so many segments are there."""
    deadline = asyncio.get_running_loop().time() + 20
    while True:
        try:
            live = await bank.live_playlist("cam")
            if len(live.segments) >= segments:
                return live
        except NotPlayable:
            raise
        except Unavailable:
            pass
        assert asyncio.get_running_loop().time() < deadline, "no live picture"
        await asyncio.sleep(0.1)


async def played(bank: SubprocessCameraBank, live: LivePlaylist, folder: Path) -> dict[str, Any]:
    """What ffprobe finds in the initialisation and the newest segment of a playlist."""
    parts = [await bank.live_part("cam", name) for name in (live.init, live.segments[-1].name)]
    file = folder / "live.mp4"
    await asyncio.to_thread(file.write_bytes, b"".join(parts))
    found = await asyncio.to_thread(
        ffprobe, file, "-count_frames", "-show_entries", "stream=codec_name,width,nb_read_frames"
    )
    (video,) = found["streams"]
    return dict(video)


def by_onvif(camera: SimulatedCamera) -> CameraSpec:
    """The camera reached by its ONVIF device service."""
    return CameraSpec(
        id=camera.name,
        onvif=OnvifAddress(
            host="127.0.0.1",
            port=camera.onvif_port,
            username=camera.username,
            password=camera.password,
        ),
    )


def test_second_stream_is_shown_opened_once_and_only_when_wanted(tmp_path: Path) -> None:
    """Nobody looks: the camera serves one session. Ten look: it serves one more, of H.264 that a stranger reads, and playlist and
    health say that it is the sub-stream and what the main one is."""
    camera = SimulatedCamera(name="cam", codec="h265", sub=SUB, **MAIN)

    async def run() -> None:
        async with (
            started(camera),
            banked([by_stream(camera, live_url=camera.sub_url)], tmp_path) as bank,
        ):
            await healthy(bank)
            await covering(bank, 2)
            assert (camera.playing, camera.sessions_total) == (1, 1)
            told_before = bank.health()["cam"]
            assert told_before.live_codec is None
            assert "H.264 sub-stream" in told_before.live_note
            for live in await asyncio.gather(*(watched(bank) for _ in range(10))):
                assert live.codec.startswith("avc1.")
                assert "sub-stream" in live.note
                assert "H.265 480x270" in live.note
            assert (camera.playing, camera.sessions_total) == (2, 2)
            video = await played(bank, await watched(bank), tmp_path)
            assert (video["codec_name"], video["width"]) == ("h264", 320)
            assert int(video["nb_read_frames"]) >= FPS - 1
            await wait_until(
                lambda: bank.health()["cam"].live_codec is not None, 10, "health of the live picture"
            )
            assert (bank.health()["cam"].live_codec or "").startswith("avc1.")
            assert (bank.health()["cam"].codec or "").startswith("hvc1.")
            # Evidence stays that of the main stream.
            clip = await bank.cut_clip(
                "cam",
                datetime.now(UTC) - timedelta(seconds=1.5),
                datetime.now(UTC),
                tmp_path / "clip.mp4",
            )
            assert clip.shortfall is None

    asyncio.run(run())
    (video,) = ffprobe(tmp_path / "clip.mp4", "-show_entries", "stream=codec_name,width")["streams"]
    assert (video["codec_name"], video["width"]) == ("hevc", 480)


def test_evidence_asked_for_opens_the_second_stream_at_once(tmp_path: Path) -> None:
    """Whoever looks after an alarm finds the live picture there: the asking for a still has opened it."""
    camera = SimulatedCamera(name="cam", codec="h265", sub=SUB, **MAIN)

    async def run() -> None:
        async with (
            started(camera),
            banked([by_stream(camera, live_url=camera.sub_url)], tmp_path) as bank,
        ):
            await healthy(bank)
            await covering(bank, 2)
            await bank.take_still("cam", datetime.now(UTC))
            await wait_until(lambda: camera.playing == 2, 10, "the second session")

    asyncio.run(run())


@pytest.mark.parametrize("sub", [None, StreamSettings(codec="h265", width=320, height=180, fps=FPS, gop=FPS)])
def test_without_one_it_is_refused_with_what_to_do_and_evidence_is_whole(
    sub: StreamSettings | None, tmp_path: Path
) -> None:
    """No second stream, or one that is H.265 too: a look is refused as not playable, with what to set; stills come as ever."""
    camera = SimulatedCamera(name="cam", codec="h265", sub=sub, **MAIN)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(started(camera))
            live_url = camera.sub_url if sub is not None else None
            bank = await stack.enter_async_context(banked([by_stream(camera, live_url=live_url)], tmp_path))
            await healthy(bank)
            await covering(bank, 2)
            with pytest.raises(NotPlayable, match=r"H\.264"):
                await watched(bank)
            assert bank.health()["cam"].live_codec is None
            assert "no live picture" in bank.health()["cam"].live_note
            asked = datetime.now(UTC)
            still = await bank.take_still("cam", asked)
            assert abs(told(still.jpeg).unix_ms - asked.timestamp() * 1000) <= 1000 / FPS

    asyncio.run(run())


@pytest.mark.parametrize(
    "onvif",
    [
        pytest.param({}, id="named by Media2"),
        pytest.param({"media2": False}, id="called H264 by Media"),
        pytest.param({"media2": False, "media1_h265": "bare"}, id="bare in Media"),
        pytest.param({"media2": False, "media1_h265": "omit"}, id="left out by Media"),
    ],
)
def test_second_stream_is_found_by_onvif(onvif: dict[str, Any], tmp_path: Path) -> None:
    """Whatever the camera's services say of H.265, the live picture is H.264, and evidence is of the best profile they name."""
    camera = SimulatedCamera(name="cam", codec="h265", sub=SUB, **MAIN, **onvif)
    named = onvif.get("media1_h265", "h264") == "h264"

    async def run() -> None:
        async with started(camera), banked([by_onvif(camera)], tmp_path) as bank:
            await healthy(bank, timeout_s=30)
            await covering(bank, 2)
            assert bank.health()["cam"].width == (480 if named else 320)
            live = await watched(bank)
            assert live.codec.startswith("avc1.")
            assert bool(live.note) == named
            assert (await played(bank, live, tmp_path))["width"] == 320

    asyncio.run(run())


def test_live_follows_a_camera_that_changes_its_codec(tmp_path: Path) -> None:
    """H.264 that becomes H.265 goes over to the sub-stream, and back: under higher numbers each time, as players need."""
    camera = SimulatedCamera(name="cam", sub=SUB, **MAIN)

    async def run() -> None:
        async with (
            started(camera),
            banked([by_stream(camera, live_url=camera.sub_url)], tmp_path) as bank,
        ):
            await healthy(bank)
            seen = [await watched(bank)]
            assert seen[0].note == ""
            assert (await played(bank, seen[0], tmp_path))["width"] == 480
            for faults, width in ((CameraFaults(change_codec="h265"), 320), (CameraFaults(), 480)):
                wanted = "hvc1" if width == 320 else "avc1"
                await camera.set_faults(faults)
                await wait_until(
                    lambda wanted=wanted: (bank.health()["cam"].codec or "").startswith(wanted),
                    30,
                    "the new codec",
                )
                live = await watched(bank)
                assert (await played(bank, live, tmp_path))["width"] == width
                assert bool(live.note) == (width == 320)
                assert live.segments[0].sequence > seen[-1].segments[-1].sequence
                assert live.epoch > seen[-1].epoch
                seen.append(live)

    asyncio.run(run())

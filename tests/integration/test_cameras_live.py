"""The live picture: played by ffmpeg from a playlist over HTTP, without a seam."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web

from drivers.cameras.parent.bank import SubprocessCameraBank
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
    needed,
    started,
)
from tests.support.signals import wait_until


async def wait_until_moved_on(bank: SubprocessCameraBank) -> None:
    """Wait until the ring's first segment, whose time is 0, has left it."""
    first = (await bank.live_playlist("cam")).segments[0].sequence
    for _ in range(500):
        if (await bank.live_playlist("cam")).segments[0].sequence != first:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the ring keeps its first segment")


async def serve(bank: SubprocessCameraBank) -> tuple[web.AppRunner, str]:
    """A bare HLS server over the bank."""

    async def playlist(_: web.Request) -> web.Response:
        live = await bank.live_playlist("cam")
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{math.ceil(max(s.duration_s for s in live.segments))}",
            f"#EXT-X-MEDIA-SEQUENCE:{live.segments[0].sequence}",
            f'#EXT-X-MAP:URI="{live.init}"',
        ]
        for segment in live.segments:
            lines += [f"#EXTINF:{segment.duration_s:.5f},", segment.name]
        return web.Response(text="\n".join(lines) + "\n", content_type="application/vnd.apple.mpegurl")

    async def part(request: web.Request) -> web.Response:
        return web.Response(body=await bank.live_part("cam", request.match_info["name"]))

    app = web.Application()
    app.router.add_get("/index.m3u8", playlist)
    app.router.add_get("/{name}", part)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/index.m3u8"


def test_ffmpeg_plays_the_live_picture_without_a_seam(tmp_path: Path) -> None:
    """Over eight seconds no frame is missing, doubled or moved, and every byte is the camera's."""
    ffmpeg = needed("ffmpeg")
    stream = EncodedStream.make(width=640, height=360, bits_per_s=600_000, seconds=2)
    camera = SimulatedCamera(name="cam", source=stream)
    played = tmp_path / "played.mp4"

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 5)
            runner, url = await serve(bank)
            try:
                player = await asyncio.create_subprocess_exec(
                    ffmpeg, "-v", "error", "-i", url, "-t", "8", "-c", "copy", str(played),
                    stderr=asyncio.subprocess.PIPE,
                )  # fmt: skip
                _, complaints = await asyncio.wait_for(player.communicate(), 30)
            finally:
                await runner.cleanup()
            assert (player.returncode, complaints) == (0, b"")

    asyncio.run(run())
    packets = ffprobe(played, "-show_entries", "packet=pts_time")["packets"]
    times = [float(packet["pts_time"]) for packet in packets]
    assert len(times) >= 195
    assert all(later - earlier == pytest.approx(0.04, abs=0.001) for earlier, later in pairwise(times))
    samples = nal_units_of(played)
    number = next(n for n in range(len(stream.frames), 5000) if stream.nals(n) == samples[0])
    assert samples == [stream.nals(number + i) for i in range(len(samples))]


def place(fragment: bytes) -> tuple[int, int]:
    """A fragment's number and its time in the stream, in ticks."""
    mfhd, tfdt = fragment.index(b"mfhd"), fragment.index(b"tfdt")
    return int.from_bytes(fragment[mfhd + 8 : mfhd + 12]), int.from_bytes(fragment[tfdt + 8 : tfdt + 16])


def test_a_part_is_the_same_for_everybody_and_strange_names_are_refused(tmp_path: Path) -> None:
    """A name gives the same bytes again, with its place in the stream; other names, also such like paths, give nothing."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path, ring_s=3) as bank:
            await healthy(bank)
            await wait_until(lambda: bank.health()["cam"].ring_s > 3)
            await wait_until_moved_on(bank)
            live = await bank.live_playlist("cam")
            assert live.codec.startswith("avc1.")
            assert [s.sequence for s in live.segments] == sorted(s.sequence for s in live.segments)
            first, again = [await bank.live_part("cam", live.segments[-1].name) for _ in range(2)]
            assert first == again
            assert first[4:8] in (b"styp", b"moof")
            assert b"moov" in await bank.live_part("cam", live.init)
            gone = f"{live.epoch}-{live.segments[0].sequence - 100}.m4s"
            listed = [await bank.live_part("cam", s.name) for s in live.segments]
            places = [place(data) for data in listed]
            assert [number for number, _ in places] == [s.sequence for s in live.segments]
            for (_, begins), (_, after), segment in zip(places, places[1:], live.segments, strict=False):
                assert begins > 0
                assert (after - begins) / 90_000 == pytest.approx(segment.duration_s)
            for name in (gone, "init-1.mp4", "../secret", "init-x.mp4", "1-2.m4s\n", "", "١-٢.m4s"):
                with pytest.raises(Unavailable):
                    await bank.live_part("cam", name)

    asyncio.run(run())


def test_reopened_stream_is_another_epoch_with_higher_numbers(tmp_path: Path) -> None:
    """After a reconnection the playlist starts anew under a new initialisation, never going back."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera), banked([by_stream(camera)], tmp_path) as bank:
            await healthy(bank)
            await covering(bank, 2.5)
            before = await bank.live_playlist("cam")
            camera.cut_connections()
            for _ in range(1500):
                try:
                    after = await bank.live_playlist("cam")
                except Unavailable:
                    after = before
                if after.epoch != before.epoch:
                    break
                await asyncio.sleep(0.01)
            assert after.epoch > before.epoch
            assert after.init != before.init
            assert after.segments[0].sequence > before.segments[-1].sequence

    asyncio.run(run())

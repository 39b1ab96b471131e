"""From a camera's RTSP to a moving picture in a browser that was given one signed link."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from drivers.cameras.parent.bank import SubprocessCameraBank
from drivers.cameras.spec import CameraSpec, StreamAddress
from gateway.box.clock import SystemClock
from gateway.domain.boxes import boxes
from gateway.domain.errors import NotPlayable, Unavailable
from simulators.camera.faults import CameraFaults
from simulators.camera.settings import StreamSettings
from simulators.camera.simulated import SimulatedCamera
from tests.support import odd_streams
from tests.support.browser import chromium, opened_page
from tests.support.http_face import CAMERA, OTHER, Face, HandClock, served

PLAYING = """() => {
    const video = document.getElementById("video");
    return video.videoWidth > 0 && video.currentTime > 0 && document.getElementById("message").hidden;
}"""
LATER_THAN = "at => document.getElementById('video').currentTime > at"
SHOWS_AFTER = "at => new Date(document.getElementById('clock').dateTime) > new Date(at)"
CLOCK_STANDS = "() => 'stopped' in document.getElementById('clock').dataset"
SAYS = "words => { const m = document.getElementById('message'); return !m.hidden && m.innerText.includes(words); }"


@asynccontextmanager
async def watched_school(
    directory: Path, camera: SimulatedCamera | None = None
) -> AsyncIterator[tuple[Face, SimulatedCamera]]:
    """A camera, the camera process, the HTTP face on a clock in the hand that begins now, and an open alarm."""
    camera = camera or SimulatedCamera(name="corridor", fps=12)
    await camera.start()
    address = StreamAddress(
        url=camera.rtsp_url,
        live_url=camera.sub_url if camera.has_sub else None,
        username=camera.username,
        password=camera.password,
    )
    dark = StreamAddress(url="rtsp://127.0.0.1:9/none")
    bank = SubprocessCameraBank(
        [CameraSpec(id=CAMERA, stream=address), CameraSpec(id=OTHER, stream=dark)],
        ring_s=20,
        ring_bytes_total=32 * 1024 * 1024,
        spool=directory / "spool",
        clock=SystemClock(),
    )
    await bank.start()
    running = asyncio.create_task(bank.run(), name="camera-bank")
    clock = HandClock()
    clock.at = datetime.now(UTC)
    try:
        async with served(directory, cameras=bank, clock=clock) as face:
            await face.add_alarm()
            await until_live(bank, may_refuse=not camera.has_sub)
            yield face, camera
    finally:
        await bank.stop()
        await running
        await camera.stop()


async def until_live(bank: SubprocessCameraBank, within_s: float = 20.0, *, may_refuse: bool) -> None:
    """Wait until there is a live picture, or until the camera process knows that there can be none."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            if len((await bank.live_playlist(CAMERA)).segments) >= 3:
                return
        except NotPlayable:
            if may_refuse:
                return
            raise
        except Unavailable as error:
            if asyncio.get_running_loop().time() > deadline:
                pytest.fail(f"no live picture within {within_s} s: {error.reason}")
        await asyncio.sleep(0.1)


def test_a_signed_link_is_a_moving_picture(tmp_path: Path) -> None:
    """The page plays the camera's own stream with its time, registers the name it asks for, asks nobody else, names its link to
    nobody, and says in words when
    the camera goes, comes back, when the camera process dies, and when the link ends."""
    chromium()
    errors: list[str] = []
    asked: list[Any] = []

    async def watch(page: Any, face: Face, camera: SimulatedCamera) -> None:
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request))
        answer = await page.goto(face.live_link(f"/live/{CAMERA}", hours=1))
        assert answer.status == 200
        await page.wait_for_function(PLAYING)
        at = await page.evaluate("document.getElementById('video').currentTime")
        await page.wait_for_function(LATER_THAN, arg=at + 2)
        size = await page.evaluate("[video.videoWidth, video.videoHeight]")
        assert size == [640, 360]
        await page.locator("#name").fill("王警官")
        await page.locator("#viewer button").click()
        await page.wait_for_function(
            "() => document.getElementById('registered').textContent.includes('已登记')"
        )
        register = (await face.ask("/api/v1/access-register", role="inspector")).json["lines"]
        assert {(line["act"], line["name"]) for line in register} == {
            ("watched", "name not given"),
            ("named", "王警官"),
        }
        told = datetime.fromisoformat(await page.locator("#clock").get_attribute("datetime"))
        assert abs((datetime.now(UTC) - told).total_seconds()) < 15, (
            "the picture's own time, a few seconds ago"
        )
        assert await page.locator("h1").inner_text() == "三层走廊"
        await page.screenshot(path=tmp_path / "playing.png")

        await camera.set_faults(CameraFaults(refuse_connections=True))
        await page.wait_for_function(SAYS, arg="画面")
        await page.screenshot(path=tmp_path / "gone.png")
        await camera.set_faults(CameraFaults())
        await page.wait_for_function(PLAYING)
        at = await page.evaluate("document.getElementById('video').currentTime")
        await page.wait_for_function(LATER_THAN, arg=at + 1)

        bank = face.parts.cameras
        assert isinstance(bank, SubprocessCameraBank)
        assert bank.process_id is not None
        os.kill(bank.process_id, signal.SIGKILL)
        killed_at = datetime.now(UTC)
        await page.wait_for_function(SHOWS_AFTER, arg=(killed_at + timedelta(seconds=4)).isoformat())
        await page.wait_for_function(PLAYING)

        face.clock.advance(hours=2)
        await page.wait_for_function(SAYS, arg="链接已过期")
        await page.screenshot(path=tmp_path / "expired.png")

        for request in asked:
            assert urlsplit(request.url).netloc in (urlsplit(face.base).netloc, "") or request.url.startswith(
                "blob:"
            )
            assert "referer" not in await request.all_headers()
        assert errors == []

    async def inside() -> None:
        async with watched_school(tmp_path) as (face, camera), opened_page(within_ms=45_000) as page:
            await watch(page, face, camera)

    asyncio.run(inside())


def test_a_camera_without_picture_is_said_in_words(tmp_path: Path) -> None:
    """Who opens a camera that gives no picture reads so, and the page goes on trying; a broken link is a page in words."""
    chromium()

    async def watch(page: Any, face: Face) -> None:
        await page.goto(face.live_link(f"/live/{OTHER}", hours=1))
        await page.wait_for_function(SAYS, arg="摄像机暂无画面")
        answer = await page.goto(face.live_link(f"/live/{CAMERA}", hours=1) + "x")
        assert answer.status == 403
        await page.get_by_text("链接不完整或被改动").wait_for()
        await page.screenshot(path=tmp_path / "altered.png")

    async def inside() -> None:
        async with watched_school(tmp_path) as (face, _), opened_page() as page:
            await watch(page, face)

    asyncio.run(inside())


def refused(data: bytes) -> bytes:
    """A live part whose pictures are no H.264: lengths as they were, and nonsense in them."""
    whole = bytearray(data)
    mdat = next(box for box in boxes(data) if box.kind == b"mdat")
    at = mdat.content
    while at < mdat.end:
        size = int.from_bytes(whole[at : at + 4], "big")
        whole[at + 4 : at + 4 + size] = bytes(n * 37 % 251 | 4 for n in range(size))
        at += 4 + size
    return bytes(whole)


def empty(data: bytes) -> bytes:
    """A live part whose pictures are filling alone: time goes on, and there is nothing to be seen."""
    whole = bytearray(data)
    mdat = next(box for box in boxes(data) if box.kind == b"mdat")
    at = mdat.content
    while at < mdat.end:
        size = int.from_bytes(whole[at : at + 4], "big")
        whole[at + 4 : at + 4 + size] = b"\x0c" + b"\xff" * (size - 2) + b"\x80"
        at += 4 + size
    return bytes(whole)


def as_hevc(data: bytes) -> bytes:
    """A head that names H.265, as of a camera that calls its pictures another name than they have."""
    return data.replace(b"avc1", b"hvc1").replace(b"avcC", b"hvcC")


@pytest.mark.parametrize(
    ("part", "spoiled", "words"),
    [
        (".m4s", refused, "无法解码"),
        (".m4s", empty, "无法解码"),
        ("init-", as_hevc, "不能播放"),
    ],
    ids=["no pictures", "nothing to be seen", "H.265"],
)
def test_the_page_says_that_the_browser_cannot_decode_and_its_clock_stops(
    part: str, spoiled: Callable[[bytes], bytes], words: str, tmp_path: Path
) -> None:
    """Not grey with a running clock: it plays, then it is sent what no browser plays, and says so; once the pictures are good
    again they are shown again. Of a stream that is not H.264 it says so at once."""
    chromium()

    async def watch(page: Any, face: Face) -> None:
        spoiling = part == "init-"

        async def pass_on(route: Any) -> None:
            answer = await route.fetch()
            body = await answer.body()
            wanted = spoiling and answer.status == 200 and part in route.request.url
            await route.fulfill(response=answer, body=spoiled(body) if wanted else body)

        await page.route("**/*.m*", pass_on)
        await page.goto(face.live_link(f"/live/{CAMERA}", hours=1))
        if part == "init-":
            await page.wait_for_function(SAYS, arg=words)
            assert await page.locator("#clock").inner_text() == "--"
            return
        await page.wait_for_function(PLAYING)
        spoiling = True
        await page.wait_for_function(SAYS, arg=words)
        await page.screenshot(path=tmp_path / "undecoded.png")
        await page.wait_for_function(CLOCK_STANDS)
        stood = await page.locator("#clock").get_attribute("datetime")
        for _ in range(3):  # through several tries of the player
            await page.wait_for_function(SAYS, arg=words)
            await page.wait_for_event("request", predicate=lambda request: ".m4s" in request.url)
        assert await page.locator("#clock").get_attribute("datetime") == stood
        assert await page.evaluate(CLOCK_STANDS)
        spoiling = False
        await page.wait_for_function(PLAYING)
        await page.wait_for_function(SHOWS_AFTER, arg=stood)

    async def inside() -> None:
        async with watched_school(tmp_path) as (face, _), opened_page(within_ms=45_000) as page:
            await watch(page, face)

    asyncio.run(inside())


@pytest.mark.parametrize(
    "name",
    [
        "a message behind each key picture",
        "messages before and behind every picture",
        "four slices, a message behind each",
        "sets between slices",
        "interlaced, two slices, messages behind",
        "fields, messages behind each",
    ],
)
def test_the_page_plays_streams_as_strangers_send_them(name: str, tmp_path: Path) -> None:
    """With messages behind the slices, sets between them, several slices, interlaced and in fields: the browser decodes them."""
    chromium()
    camera = SimulatedCamera(name="corridor", source=odd_streams.served("h264", name))

    async def inside() -> None:
        async with watched_school(tmp_path, camera) as (face, _), opened_page(within_ms=45_000) as page:
            await page.goto(face.live_link(f"/live/{CAMERA}", hours=1))
            await page.wait_for_function(PLAYING)
            at = await page.evaluate("document.getElementById('video').currentTime")
            await page.wait_for_function(LATER_THAN, arg=at + 3)
            assert await page.evaluate(PLAYING)
            shown = await page.evaluate(
                "document.getElementById('video').getVideoPlaybackQuality().totalVideoFrames"
            )
            assert shown > 2 * odd_streams.FPS

    asyncio.run(inside())


def test_the_page_says_that_it_shows_the_sub_stream(tmp_path: Path) -> None:
    """Of a camera whose main stream is H.265 the page plays the H.264 stream beside it, and says that it does."""
    chromium()
    sub = StreamSettings(codec="h264", width=320, height=180, fps=12, gop=12)
    camera = SimulatedCamera(name="corridor", codec="h265", fps=12, gop=12, sub=sub)

    async def inside() -> None:
        async with watched_school(tmp_path, camera) as (face, _), opened_page(within_ms=45_000) as page:
            await page.goto(face.live_link(f"/live/{CAMERA}", hours=1))
            await page.wait_for_function(PLAYING)
            assert await page.evaluate("[video.videoWidth, video.videoHeight]") == [320, 180]
            assert "H.264" in await page.locator("#note").inner_text()
            assert await page.locator("#note").is_visible()
            await page.screenshot(path=tmp_path / "sub-stream.png")

    asyncio.run(inside())


def test_the_page_says_that_no_browser_plays_the_camera(tmp_path: Path) -> None:
    """Of a camera that has H.265 alone the page says that it works, and why there is no live picture."""
    chromium()
    camera = SimulatedCamera(name="corridor", codec="h265", width=320, height=180, fps=12, gop=12)

    async def inside() -> None:
        async with watched_school(tmp_path, camera) as (face, _), opened_page() as page:
            await page.goto(face.live_link(f"/live/{CAMERA}", hours=1))
            await page.wait_for_function(SAYS, arg="H.265")
            assert await page.locator("#note").is_hidden()

    asyncio.run(inside())

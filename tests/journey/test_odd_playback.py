"""What was recorded of cameras that send their pictures oddly plays in a browser."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from simulators.camera.simulated import SimulatedCamera
from tests.journey.test_recordings_page import CONTRAST, school_at, sign_in, stamp_hour
from tests.support import odd_streams
from tests.support.browser import chromium, opened_page
from tests.support.camera_bank import started
from tests.support.recorder import recording, stream_of

FLAT = {"fields, messages behind each"}  # written bit by bit, all of one brightness
PLAYS = "at => { const v = document.getElementById('video'); return v.videoWidth > 0 && v.currentTime > at; }"


@pytest.mark.parametrize(
    "name",
    [
        "a message behind each key picture",
        "four slices, a message behind each",
        "interlaced, two slices, messages behind",
        "fields, messages behind each",
    ],
)
def test_recordings_of_streams_as_strangers_send_them_play(name: str, tmp_path: Path) -> None:
    """With messages behind the slices, several slices, interlaced and in fields: the picture moves, from one recording on into
    the next."""
    chromium()
    camera = SimulatedCamera(name="cam", source=odd_streams.served("h264", name))
    footage = tmp_path / "footage"
    footage.mkdir()

    async def inside() -> None:
        async with started(camera), recording(footage, stream_of(camera)) as school:
            await school.until(lambda segments, _: len(segments) >= 3, 60, "three recordings")
        async with school_at(footage, tmp_path / "school") as face, opened_page(within_ms=45_000) as page:
            segments = await face.store.read(lambda tx: tx.recordings.by_key("", 10))
            first = min(one.start for one in segments)
            await sign_in(page, face, "guard")
            await page.locator(".cell").last.click()
            await page.locator("#strip rect").first.wait_for(state="attached")
            strip = await page.locator("#strip").bounding_box()
            part = (stamp_hour(face, first) + first.minute / 60) / 24
            await page.mouse.click(strip["x"] + strip["width"] * part, strip["y"] + 10)
            hour = await page.locator("#hour .board").bounding_box()
            part = first.minute / 60 + 0.001  # playback begins with a whole minute
            await page.mouse.click(hour["x"] + hour["width"] * part, hour["y"] + 10)
            await page.wait_for_function(PLAYS, arg=0.5)
            at = await page.evaluate("document.getElementById('video').currentTime")
            await page.wait_for_function(PLAYS, arg=at + 3)
            if name not in FLAT:
                assert await page.evaluate(CONTRAST) > 20  # noise, shown small; a grey picture has none
            shown = await page.evaluate(
                "document.getElementById('video').getVideoPlaybackQuality().totalVideoFrames"
            )
            assert shown > 2 * odd_streams.FPS

    asyncio.run(inside())

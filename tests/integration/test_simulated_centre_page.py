"""The simulated centre's page in a real browser."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import Any

import cv2
import numpy as np
import pytest

from simulators.centre import Faults, SimulatedCentre
from simulators.centre.signatures import new_secret
from tests.support.school import School

# Without these Chromium asks hosts on the Internet at its start; --no-sandbox because tests may run as root.
_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
_WITHIN_MS = 15_000


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CAMPUS_TEST_STRICT") == "1":
            pytest.fail("Chromium is not installed (Debian: chromium), and CAMPUS_TEST_STRICT=1 asks for it")
        pytest.skip("Chromium is not installed (Debian: chromium)")
    return found


def test_operator_sees_the_alarm_and_accepts_it() -> None:
    """An alarm, its still and what is wrong appear by themselves; the button replies; text stays text."""
    browser_path = chromium()
    playwright = pytest.importorskip("playwright.async_api")
    live, drill = new_secret(), new_secret()
    errors: list[str] = []

    async def operate(page: Any, school: School, centre: SimulatedCentre) -> None:
        page.set_default_timeout(_WITHIN_MS)
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(centre.page_url)
        await page.get_by_text("暂无报警").wait_for()
        alarm = school.raised(1)
        alarm["data"]["point"]["name"] = "<img src=x onerror=document.title='hacked'>"
        await school.send(centre.url, alarm)
        card = page.locator("#alarm-alm_1")
        await card.get_by_text("<img src=x").wait_for()
        still = bytes(cv2.imencode(".jpg", np.full((90, 160, 3), 90, np.uint8))[1])
        await school.send(centre.url, school.evidence(1, 2, still))
        await card.get_by_text("校验一致").wait_for()
        assert (
            await card.locator("figure img").evaluate("async (img) => (await img.decode(), img.naturalWidth)")
            == 160
        )
        await card.get_by_role("button", name="接警").click()
        await page.locator("#alarm-alm_1[data-state=accepted]").wait_for()
        assert school.replies[-1].body["reply"] == "accepted"
        assert await card.get_by_role("button", name="接警").is_disabled()
        assert await card.get_by_role("button", name="派警").is_enabled()
        await school.send(centre.url, school.raised(2), secret=drill)
        await page.get_by_text("is signed with the drill secret").wait_for()
        await centre.misbehave(Faults(refuse=True))
        await page.get_by_text("refuse = true").wait_for()
        assert await page.title() == "110 指挥中心（模拟）"

    async def inside() -> None:
        async with (
            School(secret=live, drill_secret=drill) as school,
            SimulatedCentre(secret=live, drill_secret=drill, token="t") as centre,
            playwright.async_playwright() as player,
        ):
            browser = await player.chromium.launch(executable_path=browser_path, args=_FLAGS)
            try:
                await operate(await browser.new_page(), school, centre)
            finally:
                await browser.close()

    asyncio.run(inside())
    assert errors == []

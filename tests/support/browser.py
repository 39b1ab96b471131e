"""A real Chromium through Playwright, asking nobody but the page under test."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

# Without these Chromium asks hosts on the Internet at its start; --no-sandbox because tests may run as root.
_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def chromium() -> str:
    """Where Chromium is; skips the test without it, or fails it under CAMPUS_TEST_STRICT=1."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CAMPUS_TEST_STRICT") == "1":
            pytest.fail("Chromium is not installed (Debian: chromium), and CAMPUS_TEST_STRICT=1 asks for it")
        pytest.skip("Chromium is not installed (Debian: chromium)")
    return found


@asynccontextmanager
async def opened_page(within_ms: int = 20_000, locale: str = "zh-CN") -> AsyncIterator[Any]:
    """A Playwright page of a fresh browser, closed at the end; waits take at most ``within_ms``."""
    path = chromium()
    playwright = pytest.importorskip("playwright.async_api")
    async with playwright.async_playwright() as player:
        browser = await player.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            page = await browser.new_page(viewport={"width": 960, "height": 640}, locale=locale)
            page.set_default_timeout(within_ms)
            yield page
        finally:
            await browser.close()

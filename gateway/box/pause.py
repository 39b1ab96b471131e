"""Waiting for a change, but no longer than a while."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.ports.clock import Clock


async def pause(clock: Clock, seconds: float | None, *events: asyncio.Event) -> None:
    """Return when one of the events is set, at the latest after ``seconds``; ``None`` is however long it takes."""
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in events]
    if seconds is not None:
        waits.append(asyncio.ensure_future(clock.sleep(seconds)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()

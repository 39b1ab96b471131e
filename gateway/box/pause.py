"""Waiting for a change, but no longer than a while."""

from __future__ import annotations

import asyncio

from gateway.ports.clock import Clock


async def pause(clock: Clock, seconds: float, event: asyncio.Event) -> None:
    """Return when the event is set, at the latest after ``seconds``."""
    timer = asyncio.ensure_future(clock.sleep(seconds))
    change = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((timer, change), return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        change.cancel()

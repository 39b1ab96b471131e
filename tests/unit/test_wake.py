"""What a stage waits for: it returns at once, after a while, or for something of its own; and it passes on."""

from __future__ import annotations

import asyncio

from gateway.box.wake import Wake
from tests.support.clock import ManualClock


async def _waits(
    clock: ManualClock, wake: Wake, at_most_s: float | None, *also: asyncio.Event
) -> asyncio.Task[None]:
    waiting = asyncio.create_task(wake.wait(clock, at_most_s, *also))
    await clock.settle()
    return waiting


def test_who_waits_goes_on_when_it_is_set_and_not_before() -> None:
    """Also when it was set before the waiting began: nothing is lost in between."""

    async def story() -> None:
        clock, wake = ManualClock(), Wake()
        waiting = await _waits(clock, wake, None)
        await clock.advance(3600)
        assert not waiting.done()
        wake.set()
        await clock.settle()
        assert waiting.done()
        assert (await _waits(clock, wake, 60)).done()
        assert wake.take()
        assert not wake.take()
        again = await _waits(clock, wake, 60)
        assert not again.done()
        again.cancel()

    asyncio.run(story())


def test_who_waits_goes_on_after_a_while_or_for_something_of_its_own() -> None:
    """A wake may be lost; and what ends within a stage is not news from outside."""

    async def story() -> None:
        clock, wake, own = ManualClock(), Wake(), asyncio.Event()
        waiting = await _waits(clock, wake, 60, own)
        await clock.advance(59)
        assert not waiting.done()
        await clock.advance(1)
        assert waiting.done()
        waiting = await _waits(clock, wake, None, own)
        own.set()
        await clock.settle()
        assert waiting.done()
        assert not wake.is_set

    asyncio.run(story())


def test_it_wakes_others_too() -> None:
    """One act may be news for several stages."""

    async def story() -> None:
        first, second = Wake(), Wake()
        Wake(first.set, second.set).set()
        assert first.is_set
        assert second.is_set

    asyncio.run(story())

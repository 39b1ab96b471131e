"""Time held in the hand: a clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

#: A Monday morning, in UTC; the schools of the tests are eight hours ahead.
MORNING = datetime(2026, 3, 2, 2, 15, 7, 123000, tzinfo=UTC)


class ManualClock:
    """:class:`gateway.ports.clock.Clock` whose sleepers are parked until :meth:`advance` releases them, in order of time.

    The store works on threads of its own, so letting the loop settle is more than a few turns: ``busy`` tells whether
    something outside the loop is still under way.
    """

    def __init__(self, now: datetime = MORNING, busy: Callable[[], bool] = lambda: False) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._parked: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self.busy = busy

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._parked, (self._monotonic + seconds, next(self._order), future))
        await future

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        quiet = 0
        while quiet < 5:
            for _ in range(10):
                await asyncio.sleep(0)
            if self.busy():
                quiet = 0
                await asyncio.sleep(0.0005)
            else:
                quiet += 1

    async def advance(self, seconds: float) -> None:
        """Move time forward, waking every sleeper at its own instant and letting it act before time goes on."""
        await self.settle()
        until = self._monotonic + seconds
        while self._parked and self._parked[0][0] <= until + 1e-9:
            at, _, future = heapq.heappop(self._parked)
            if future.done():
                continue
            self._move_to(max(at, self._monotonic))
            future.set_result(None)
            await self.settle()
        self._move_to(until)
        await self.settle()

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock without time passing, as an operator or NTP does."""
        self._now += timedelta(seconds=seconds)

    def _move_to(self, at: float) -> None:
        self._now += timedelta(seconds=at - self._monotonic)
        self._monotonic = at


def run(work: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T:
    """Run one test's coroutine in a loop of its own, with a deadline."""

    async def limited() -> T:
        return await asyncio.wait_for(work, timeout_s)

    return asyncio.run(limited())

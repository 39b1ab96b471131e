"""What one stage hands to another so that it works at once. It is made before both, so neither has to know the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.box.pause import pause
from gateway.ports.clock import Clock


class Wake:
    """Carries nothing, and may be lost: whoever waits for it looks again by itself after a while."""

    def __init__(self, *others: Callable[[], None]) -> None:
        """``others`` are called whenever it is set."""
        self._event = asyncio.Event()
        self._others = others

    def set(self) -> None:
        """There may be something new."""
        self._event.set()
        for other in self._others:
            other()

    def clear(self) -> None:
        """What was new until now is about to be read."""
        self._event.clear()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def take(self) -> bool:
        """Whether it was set; it is cleared."""
        was_set = self.is_set
        self.clear()
        return was_set

    async def wait(self, clock: Clock, at_most_s: float | None, *also: asyncio.Event) -> None:
        """Return when it or one of ``also`` is set, after ``at_most_s`` seconds at the latest; without them only then."""
        await pause(clock, at_most_s, self._event, *also)

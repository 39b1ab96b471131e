"""Lost connections, counted: one that is lost again and again is somebody else's doing."""

from __future__ import annotations

from collections import deque

from drivers.contacts import words
from gateway.ports.clock import Clock

#: So many losses within so many seconds. A broker that restarts loses the connection once or twice.
LIMITS = ((3, 60.0), (5, 900.0))
OVER_AFTER_S = 600.0  # so long without a loss


class Losses:
    """Says when another client may be using the gateway's client id."""

    def __init__(self, where: str, clock: Clock) -> None:
        self._where = where
        self._clock = clock
        self._at: deque[float] = deque(maxlen=max(count for count, _ in LIMITS))
        self._cause = ""

    def count(self) -> None:
        """A connection that the broker had taken was lost."""
        now_s = self._clock.monotonic()
        self._at.append(now_s)
        for count, within_s in LIMITS:
            if len(self._at) >= count and now_s - self._at[-count] <= within_s:
                self._cause = words.contested(self._where, count, within_s)
                return

    @property
    def cause(self) -> str:
        """What is wrong, until 10 minutes after the last loss; else empty."""
        if self._cause and self._clock.monotonic() - self._at[-1] >= OVER_AFTER_S:
            self._cause = ""
        return self._cause

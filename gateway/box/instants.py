"""Instants that were named by the wall clock, kept on the clock that never jumps: the wall clock may be set between."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from datetime import datetime, timedelta

from gateway.ports.clock import Clock

FARTHEST_S = 3600.0
"""Nothing is planned further ahead: an instant that lies there was named by a clock that stood ahead."""

SET_S = 0.5
"""From so much on the wall clock was set; below it was slewed, or two readings of it lay apart."""


class Instants:
    """What is planned, by any key. The first time an instant is asked for it is taken by the wall clock as it stands then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[Hashable, tuple[datetime, float]] = {}

    def at_s(self, key: Hashable, at: datetime) -> float:
        """When that is, in seconds of the monotonic clock. Another ``at`` under the same key is another instant."""
        known = self._known.get(key)
        if known is None or known[0] != at:
            ahead_s = (at - self._clock.now()).total_seconds()
            known = (at, self._clock.monotonic() + (0.0 if ahead_s > FARTHEST_S else ahead_s))
            self._known[key] = known
        return known[1]

    def set_by(self, key: Hashable, at: datetime) -> timedelta:
        """By how much the wall clock was set since: positive where it was set ahead."""
        shown = self._clock.now() + timedelta(seconds=self.at_s(key, at) - self._clock.monotonic())
        return shown - at if abs((shown - at).total_seconds()) > SET_S else timedelta()

    def forget(self, key: Hashable) -> None:
        """It is over."""
        self._known.pop(key, None)

    def forget_others(self, kind: str, keys: Collection[Hashable]) -> None:
        """Of all keys ``(kind, …)`` only these are still planned."""
        for key in [k for k in self._known if isinstance(k, tuple) and k[0] == kind and k not in keys]:
            del self._known[key]

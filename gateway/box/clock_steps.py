"""Steps of the wall clock, as they are seen beside the clock that never jumps: what is dated by the wall must know of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.ports.clock import Clock

STEP = timedelta(seconds=1)
"""Less is slewing: NTP moves a clock by 0.5 ms a second. Two recordings that lie closer are one (:data:`SEAM`)."""

REMEMBERED = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The wall clock was set from ``before`` to ``after``; ``by`` is positive where it was set ahead."""

    before: datetime
    after: datetime

    @property
    def by(self) -> timedelta:
        return self.after - self.before

    def text(self) -> str:
        """In words, with both readings."""
        whither = "ahead" if self.by > timedelta() else "back"
        return (
            f"the gateway's clock was set {whither} by {abs(self.by).total_seconds():.0f} s, from "
            f"{self.before:%Y-%m-%d %H:%M:%S}Z to {self.after:%Y-%m-%d %H:%M:%S}Z"
        )


class Steps:
    """``look`` about every second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = (clock.now(), clock.monotonic())
        self._steps: deque[Step] = deque(maxlen=REMEMBERED)

    def look(self) -> Step | None:
        """The step since the last look, if there was one."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        (then, then_s), self._last = self._last, (now, now_s)
        due = then + timedelta(seconds=now_s - then_s)
        if abs(now - due) < STEP:
            return None
        step = Step(before=due, after=now)
        self._steps.append(step)
        return step

    @property
    def seen(self) -> tuple[Step, ...]:
        """The last steps, oldest first."""
        return tuple(self._steps)


def step_within(steps: Sequence[Step], start: datetime, end: datetime) -> Step | None:
    """The newest step ahead that explains a span without recordings: all the time it skipped lies in the span."""
    for step in reversed(steps):
        if step.by > timedelta() and start <= step.after <= end + STEP and end - start >= step.by - 2 * STEP:
            return step
    return None

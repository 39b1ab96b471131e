"""Time, as every stage has it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time comes in through here, so that a test can hold it in its hand."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never jump; for intervals only."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; zero or less yields once."""

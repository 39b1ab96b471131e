"""A path to the 110 centre that answers by a script and keeps every attempt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.domain.message import Answer
from gateway.ports.clock import Clock

OK = Answer(status=200, detail="OK")
REFUSED = Answer(status=None, detail="connection refused")


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt as the path saw it; ``at_s`` is on the monotonic clock."""

    message: str
    type: str
    at_s: float
    body: bytes
    drill: bool = False


class ScriptedPath:
    """:class:`gateway.ports.centre.Uplink`. ``answer`` decides by the attempt; ``hold_s`` is how long an answer takes."""

    def __init__(self, clock: Clock, name: str = "first") -> None:
        self.name = name
        self._clock = clock
        self.answer: Callable[[Tried], Answer] = lambda _: OK
        self.hold_s = 0.0
        self.holds: Callable[[Tried], float] = lambda _: 0.0
        self.answered: list[tuple[Tried, Answer]] = []
        self.rest_s = 0.0  # from the status line to the end of the answer
        self.open = asyncio.Event()
        self.open.set()
        self.tried: list[Tried] = []
        self.under_way = 0
        self.most_under_way = 0

    async def deliver(
        self,
        message: str,
        body: bytes,
        *,
        drill: bool = False,
        answering: Callable[[int], None] = lambda _status: None,
    ) -> Answer:
        tried = Tried(message, json.loads(body)["type"], self._clock.monotonic(), body, drill)
        self.tried.append(tried)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.open.wait()
            if hold_s := self.hold_s + self.holds(tried):
                await self._clock.sleep(hold_s)
            answer = self.answer(tried)
            self.answered.append((tried, answer))
            if answer.status is not None:
                answering(answer.status)
            if self.rest_s:
                await self._clock.sleep(self.rest_s)
            return answer
        finally:
            self.under_way -= 1

    def types(self) -> list[str]:
        return [t.type for t in self.tried]

    def times_s(self, message: str) -> list[float]:
        """When a message was tried, in seconds after its first attempt."""
        at = [t.at_s for t in self.tried if t.message == message]
        return [round(t - at[0], 3) for t in at]

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(t.body) for t in self.tried]

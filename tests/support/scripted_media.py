"""A media place that answers by a script and keeps every attempt."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from gateway.domain.message import Answer
from gateway.domain.upload import Put, Upload
from gateway.ports.clock import Clock

TAKEN = Put(answer=Answer(status=201), whole=True)
SILENT = Put(answer=Answer(status=None, detail="connection refused"), whole=False)


def answered(status: int, detail: str = "", *, retry_after_s: float | None = None) -> Put:
    """An attempt that was answered so and brought nothing."""
    answer = Answer(status=status, detail=detail, retry_after_s=retry_after_s)
    return Put(answer=answer, whole=False)


@dataclass(frozen=True, slots=True)
class TriedPut:
    """One attempt as the place saw it; ``at_s`` is on the monotonic clock."""

    place: str
    at_s: float
    resume: bool


class ScriptedMedia:
    """:class:`gateway.ports.centre.MediaUplink`. ``answer`` decides by the attempt; attempts at a place in ``hang`` never end.

    ``kept`` holds the bytes of what was taken whole, ``parts`` those of live pictures, in their order.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.answer: Callable[[TriedPut], Put] = lambda _: TAKEN
        self.part_answer: Callable[[str], Answer] = lambda _: Answer(status=201)
        self.part_takes_s = 0.0
        self.hang: set[str] = set()
        self.tried: list[TriedPut] = []
        self.kept: dict[str, bytes] = {}
        self.parts: list[tuple[str, bytes]] = []
        self.waited: list[str] = []

    async def put(
        self,
        upload: Upload,
        read: Callable[[int, int], AbstractAsyncContextManager[Callable[[int], Awaitable[bytes]]]],
        *,
        resume: bool,
        give_way: Callable[[], Awaitable[None]],
    ) -> Put:
        tried = TriedPut(upload.place, self._clock.monotonic(), resume)
        self.tried.append(tried)
        if upload.place in self.hang:
            await asyncio.Event().wait()
        await give_way()
        done = self.answer(tried)
        if done.whole:
            async with read(0, upload.bytes) as piece:
                data = await piece(upload.bytes)
            assert hashlib.sha256(data).hexdigest() == upload.sha256
            self.kept[upload.place] = data
        return done

    async def put_part(self, place: str, data: bytes, media_type: str) -> Answer:
        if self.part_takes_s:
            await self._clock.sleep(self.part_takes_s)
        answer = self.part_answer(place)
        if answer.status == 201:
            self.parts.append((place, data))
        return answer

    def times_s(self, place: str) -> list[float]:
        """When a place was tried, in seconds after its first attempt."""
        at = [t.at_s for t in self.tried if t.place == place]
        return [round(t - at[0], 3) for t in at]

    def places(self) -> list[str]:
        """Every place that was tried, in order."""
        return [t.place for t in self.tried]

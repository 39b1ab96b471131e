"""Delivering at work on a real database, over paths that answer by a script."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.alarm.answer_bodies import AnswerHeard
from gateway.alarm.delivering import Delivering
from gateway.domain.message import Answer, Message, MessageType
from tests.support.builders import envelopes
from tests.support.clock import ManualClock
from tests.support.hearing import Ear, ear
from tests.support.paths import OK, ScriptedPath
from tests.support.stores import WatchedStore, opened

AWAY = Answer(status=503, detail="Service Unavailable")


class NoChance(random.Random):
    """Chance that never delays, so that the schedule can be read to the second."""

    def random(self) -> float:
        return 0.0


@dataclass(slots=True)
class Post:
    """Delivering at work over scripted paths."""

    store: WatchedStore
    clock: ManualClock
    delivering: Delivering
    paths: Sequence[ScriptedPath]
    ear: Ear
    answers: list[str] = field(default_factory=list)

    async def put(self, *types: MessageType) -> list[Message]:
        """Commit one message of each type and wake the stage."""
        now = self.clock.now()
        said = [envelopes().message(t, {"n": n}, at=now, now=now) for n, t in enumerate(types)]

        def work(tx: object) -> None:
            for message in said:
                tx.messages.add(message)  # type: ignore[attr-defined]

        await self.store.inner.write(work)
        self.delivering.wake.set()
        await self.clock.settle()
        return said

    async def undelivered(self) -> int:
        return await self.store.inner.read(lambda tx: tx.messages.undelivered())


@asynccontextmanager
async def post(
    folder: Path, *, paths: int = 1, clock: ManualClock | None = None, answer: Answer = OK
) -> AsyncIterator[Post]:
    """Delivering on the database in ``folder``; opening it again is a restart."""
    clock = clock or ManualClock()
    lines = [ScriptedPath(clock, name) for name in ("first", "second")[:paths]]
    for line in lines:
        line.answer = lambda _: answer
    async with opened(folder) as store:
        clock.busy = store.busy
        answers: list[str] = []
        heard = ear(store, clock)

        def hear(message: Message, answer: Answer) -> AnswerHeard:
            answers.append(message.id)
            return heard.hearing.hear(message, answer)

        delivering = Delivering(
            store=store,
            clock=clock,
            paths=lines,
            chance=NoChance(),
            hear=hear,
        )
        task = asyncio.create_task(delivering.run())
        try:
            await clock.settle()
            yield Post(store, clock, delivering, lines, heard, answers)
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error

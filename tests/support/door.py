"""An intake at work on a real database, and what is sent in by its door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drivers.contacts.formats import CODECS
from gateway.alarm.intake import Intake
from gateway.alarm.starts import Starts
from gateway.domain.alarm import Alarm, State
from gateway.domain.contact import Signal
from gateway.domain.message import Message
from gateway.domain.plan import Point
from tests.support.builders import Acknowledgements, contact_message, envelopes, site
from tests.support.cameras import ScriptedCameras
from tests.support.clock import ManualClock
from tests.support.stores import WatchedStore, opened


@dataclass(slots=True)
class Door:
    """An intake at work: what is sent in, and what came of it."""

    store: WatchedStore
    clock: ManualClock
    intake: Intake
    acknowledged: Acknowledgements
    offered: list[Message] = field(default_factory=list)
    not_understood: list[str | None] = field(default_factory=list)
    elsewhere: dict[str, list[bool]] = field(default_factory=dict)  # by point: was all of it of other inputs?
    sent: int = 0

    async def send(self, payload: dict[str, Any] | bytes | None = None, **how: Any) -> None:
        """Hand in one message as the broker would, now, under the next packet id."""
        self.sent += 1
        how = {"mid": self.sent, "at": self.clock.now()} | how
        message = contact_message(payload, **how)
        self.intake.receive(replace(message, acknowledge=self.acknowledged.for_(message.mid)))
        await self.clock.settle()

    async def alarms(self) -> list[Alarm]:
        return await self.store.inner.read(lambda tx: tx.alarms.listed()[::-1])

    async def presses(self) -> list[int]:
        """The number of presses of each alarm, oldest first."""
        return [a.presses for a in await self.alarms()]

    async def close(self, alarm: Alarm) -> None:
        closed = replace(alarm, state=State.CLOSED, closed_at=self.clock.now(), during_next_at=None)
        await self.store.inner.write(lambda tx: tx.alarms.save(closed))


@asynccontextmanager
async def door(
    folder: Path,
    *points: Point,
    clock: ManualClock | None = None,
    codecs: dict[str, Callable[..., list[Signal]]] | None = None,
    starts: Starts | None = None,
) -> AsyncIterator[Door]:
    """An intake on the database in ``folder``; opening it again is a restart."""
    clock = clock or ManualClock()
    plan = site(*points)
    async with opened(folder) as store:
        clock.busy = store.busy
        offered: list[Message] = []
        not_understood: list[str | None] = []
        elsewhere: dict[str, list[bool]] = {}

        def saw(
            told: Sequence[Point], _signals: object, _message: object, why: str | None, others: bool
        ) -> None:
            not_understood.append(why)
            elsewhere.setdefault(told[0].id, []).append(others)

        intake = Intake(
            store=store,
            clock=clock,
            envelopes=envelopes(plan),
            cameras=ScriptedCameras(clock),
            codecs=codecs or CODECS,
            points=list(plan.points.values()),
            offer=offered.append,
            wake_gathering=lambda: None,
            starts=starts,
            saw=saw,
        )
        task = asyncio.create_task(intake.run())
        try:
            yield Door(store, clock, intake, Acknowledgements(), offered, not_understood, elsewhere)
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error

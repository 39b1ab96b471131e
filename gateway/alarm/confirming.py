"""Confirming: what became of an alarm is told to whoever pressed, by publishing where the site file says.

It finds its work in the timelines: a step `received` or `replied` that has no `confirmed` after it. So nothing is lost over a
restart or while the broker is away, and nothing on the way of an alarm waits for it. A publish whose word did not come back is
made again: a lamp told twice to light is lit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from gateway.box.wake import Wake
from gateway.domain.alarm import Alarm, State
from gateway.domain.confirmation import CONFIRMED, TELLING, TOLD_FOR, Step, due, may_be_told, payload
from gateway.domain.errors import Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.plan import Confirm, Point
from gateway.ports.clock import Clock
from gateway.ports.contacts import Publisher
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

POLL_S = 2.0  # a wake hint may be lost
RETRY_S = 1.0
FAULT_AFTER_S = 30.0
LATELY_CLOSED = timedelta(days=1)  # of these a restart looks whether their end was told

Found = tuple[FaultKind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """One alarm with what is to be told of it. ``lit_by`` is another open alarm that is shown at the same place."""

    alarm: Alarm
    confirm: Confirm
    steps: Sequence[Step]
    lit_by: str | None


class Confirming:
    """The stage. ``wake``: something may have been received or replied; ``run`` works until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        points: Sequence[Point],
        publisher: Publisher,
        wake: Wake | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._confirms = {point.id: point.confirm for point in points if point.confirm is not None}
        self._publisher = publisher
        self.wake = wake or Wake()
        self._pending: set[str] = set()
        self._last_step = 0
        #: Published and not on record yet: while the disk is full a buzzer must not sound every second.
        self._published: dict[tuple[str, Step], datetime] = {}
        self._failing: dict[str, tuple[float, str, str]] = {}  # alarm → since (monotonic), point, cause

    @property
    def wanted(self) -> bool:
        """Whether any point has a confirmation at all."""
        return bool(self._confirms)

    def found(self) -> Iterator[tuple[Found, str]]:
        """A fault for each point whose confirmation could not be published for 30 s."""
        now_s = self._clock.monotonic()
        for since_s, point, cause in self._failing.values():
            if now_s - since_s >= FAULT_AFTER_S:
                yield (
                    (FaultKind.CONTACT, f"{point} confirm"),
                    f"its confirmation cannot be published: {cause}; whoever pressed sees nothing of it, though the alarm "
                    "itself is on its way",
                )

    async def run(self) -> None:
        await self._retried(self._begin)
        while True:
            self.wake.clear()
            await self._retried(self._read)
            for alarm in sorted(self._pending):
                await self._tell(alarm)
            await self.wake.wait(self._clock, RETRY_S if self._pending else POLL_S)

    async def _begin(self) -> None:
        """What was under way when the gateway ended: every open alarm and those closed lately are looked at once."""
        since = self._clock.now() - LATELY_CLOSED

        def work(tx: Transaction) -> tuple[int, list[Alarm]]:
            closed = tx.alarms.listed(states=[State.CLOSED], since=since, limit=1000)
            return tx.alarms.last_step(), [*tx.alarms.open(), *closed]

        self._last_step, alarms = await self._store.read(work)
        self._pending |= {
            alarm.id
            for alarm in alarms
            if alarm.point in self._confirms
            and (alarm.closed_at is None or self._clock.now() - alarm.closed_at <= TOLD_FOR)
        }

    async def _read(self) -> None:
        """Take up alarms about which something was noted since the last reading."""
        while True:
            steps = await self._store.read(lambda tx: tx.alarms.steps(self._last_step))
            if not steps:
                return
            self._pending |= {alarm for _, alarm, what in steps if what in TELLING}
            self._last_step = steps[-1][0]

    async def _tell(self, id_: str) -> None:
        """Publish what is due of one alarm, in order; it stays pending until all of it is published and on record."""
        point = ""
        try:
            known = await self._store.read(lambda tx: self._due(tx, id_))
            if known is not None:
                point = known.alarm.point
                for step in known.steps:
                    await self._publish(known, step)
        except Unavailable as exc:
            self._fails(id_, point, exc.reason)
            return
        self._pending.discard(id_)
        self._failing.pop(id_, None)

    def _due(self, tx: Transaction, id_: str) -> _Due | None:
        alarm = tx.alarms.get(id_)
        confirm = self._confirms.get(alarm.point) if alarm is not None else None
        if alarm is None or confirm is None:
            return None
        steps = due(alarm, [(e.at, e.what, e.detail) for e in tx.alarms.timeline(id_)], self._clock.now())
        lit_by = next(
            (
                other.id
                for other in (tx.alarms.open() if Step.CLOSED in steps else ())
                if may_be_told(other) and self._topic(other.point) == confirm.topic
            ),
            None,
        )
        return _Due(alarm=alarm, confirm=confirm, steps=steps, lit_by=lit_by)

    def _topic(self, point: str) -> str | None:
        confirm = self._confirms.get(point)
        return None if confirm is None else confirm.topic

    async def _publish(self, known: _Due, step: Step) -> None:
        confirm, alarm = known.confirm, known.alarm
        told = payload(confirm, step, alarm)
        if told is None:
            return
        if step is Step.CLOSED and known.lit_by is not None:
            log.info("confirmation.still_lit", alarm_id=alarm.id, by=known.lit_by, topic=confirm.topic)
            return
        if (alarm.id, step) not in self._published:
            await self._publisher.publish(confirm.topic, told, qos=confirm.qos, retain=confirm.retain)
            self._published[alarm.id, step] = self._clock.now()
        at = self._published[alarm.id, step]
        detail = {"step": step.value, "topic": confirm.topic}
        await self._store.write(lambda tx: tx.alarms.note(alarm.id, at, CONFIRMED, detail))
        del self._published[alarm.id, step]
        log.info("confirmation.published", alarm_id=alarm.id, step=step.value, topic=confirm.topic)

    def _fails(self, id_: str, point: str, cause: str) -> None:
        if not point:
            return  # the database did not say which; it has a fault of its own
        if id_ not in self._failing:
            log.warning("confirmation.failing", alarm_id=id_, cause=cause)
        since_s = self._failing.get(id_, (self._clock.monotonic(), "", ""))[0]
        self._failing[id_] = (since_s, point, cause)

    async def _retried(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
                return
            except Unavailable as exc:
                log.error("confirming.cannot_read", cause=exc.reason)
                await self._clock.sleep(RETRY_S)

"""Delivering: every message due goes to the 110 centre until it is received.

The outbox in the database is the truth; what is kept here is only when each waiting message is due. Attempts do not wait for one
another: a message whose first attempt hangs is tried again on time. Where more is due than there are slots,
the higher class goes first (CONTRACT §3).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from gateway.domain.errors import Unavailable
from gateway.domain.message import (
    CLASS_OF,
    SECOND_PATH_AFTER_S,
    Answer,
    Message,
    MessageClass,
    MessageType,
    Outcome,
    judge,
    next_due,
)
from gateway.ports import Attempt, Clock, PathHealth, Store, Transaction, Uplink

log = structlog.get_logger(__name__)

SLOTS_PRESS = 192  # of a path's 256 connections; presses never wait for anything but presses
SLOTS_OTHER = 32
READ_AT_ONCE = 1000
REMEMBERED = 4096


@dataclass(slots=True)
class _Waiting:
    """A message not yet received: when it is due next, and what is under way."""

    message: Message
    due_at: datetime
    under_way: int = 0
    body: bytes | None = None


class Delivering:
    """The stage. ``wake`` says that there may be something new; ``run`` works until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        paths: Sequence[Uplink],
        chance: random.Random,
        answered: Callable[[str, Answer], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._paths = paths
        self._chance = chance
        self._answered = answered
        self._waiting: dict[str, _Waiting] = {}
        self._done: dict[
            str, None
        ] = {}  # the newest received, so that a reading begun before does not revive them
        self._last_number = 0
        self._changed = asyncio.Event()
        self._new = True
        self._in_use = {True: 0, False: 0}
        self.health = [PathHealth(path.name) for path in paths]
        self.gone: dict[str, str] = {}

    def wake(self) -> None:
        """There may be a new message; carries nothing, may be lost (the outbox is read again)."""
        self._new = True
        self._changed.set()

    def offer(self, message: Message) -> None:
        """A message just committed: it need not be read back from the outbox before it goes out. Losing this call costs a
        reading, never a message."""
        if message.id not in self._waiting and message.id not in self._done:
            self._waiting[message.id] = _Waiting(
                replace(message, body=b""), message.due_at, body=message.body
            )
        self._changed.set()

    @property
    def undelivered(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as attempts:
            while True:
                if self._new:
                    self._new = False
                    await self._read_outbox()
                now = self._clock.now()
                self._start_due(attempts, now)
                await self._wait_for_change(now)

    async def _read_outbox(self) -> None:
        """Take up messages committed since the last reading."""
        while True:
            try:
                fresh = await self._store.read(
                    lambda tx: tx.messages.pending(self._last_number, READ_AT_ONCE)
                )
            except Unavailable as exc:
                log.error("delivering.cannot_read", cause=exc.reason)
                await self._clock.sleep(1.0)
                continue
            for number, message in fresh:
                self._last_number = number
                if message.id in self._waiting or message.id in self._done:
                    continue
                # The body is kept for the first attempt only: a long outage must not fill the memory.
                # Found again after a restart, it is due at once, wherever it stood in its schedule.
                due_at = min(message.due_at, self._clock.now())
                waiting = _Waiting(replace(message, body=b""), due_at, body=message.body)
                if message.type is MessageType.SITE_PLAN:
                    self._forget_older_plans()
                self._waiting[message.id] = waiting
            if len(fresh) < READ_AT_ONCE:
                return

    def _forget_older_plans(self) -> None:
        for id_ in [i for i, w in self._waiting.items() if w.message.type is MessageType.SITE_PLAN]:
            del self._waiting[id_]

    def _start_due(self, attempts: asyncio.TaskGroup, now: datetime) -> None:
        due = [w for w in self._waiting.values() if w.due_at <= now]
        due.sort(key=lambda w: w.message.rank)
        for waiting in due:
            is_press = CLASS_OF[waiting.message.type] is MessageClass.PRESS
            if self._in_use[is_press] >= (SLOTS_PRESS if is_press else SLOTS_OTHER):
                continue
            started = replace(waiting.message, first_attempt_at=waiting.message.first_attempt_at or now)
            attempt = started.attempts + waiting.under_way + 1
            waiting.message = started
            waiting.under_way += 1
            assert started.first_attempt_at is not None
            waiting.due_at = next_due(started.first_attempt_at, attempt, now, self._chance)
            for number, path in enumerate(self._paths):
                if number > 0 and not self._second_too(started, now):
                    continue
                self._in_use[is_press] += 1
                attempts.create_task(
                    self._attempt(waiting, number, path, is_press), name=f"deliver {started.id} {path.name}"
                )

    def _second_too(self, message: Message, now: datetime) -> bool:
        """Whether the further paths are tried as well: the first has failed for 20 s, or the message goes over both."""
        since = self.health[0].failing_since
        long_dead = since is not None and now - since >= timedelta(seconds=SECOND_PATH_AFTER_S)
        return long_dead or message.type is MessageType.ALARM_ESCALATED

    async def _wait_for_change(self, now: datetime) -> None:
        self._changed.clear()
        if self._new:
            return
        soonest = min((w.due_at for w in self._waiting.values() if w.due_at > now), default=None)
        if soonest is None:
            await self._changed.wait()
            return
        timer = asyncio.ensure_future(self._clock.sleep((soonest - now).total_seconds()))
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((timer, change), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            change.cancel()

    async def _attempt(self, waiting: _Waiting, number: int, path: Uplink, is_press: bool) -> None:
        message = waiting.message
        try:
            body = waiting.body
            if body is None:
                body = await self._store.read(lambda tx: tx.messages.body(message.id))
            began, at = self._clock.monotonic(), self._clock.now()
            answer = await path.deliver(message.id, body)
            took_ms = round((self._clock.monotonic() - began) * 1000)
            outcome = judge(answer, waiting.message.attempts)
            self._note_path(self.health[number], answer, outcome, self._clock.now())
            record = Attempt(
                message=message.id,
                path=path.name,
                at=at,
                took_ms=took_ms,
                status=answer.status,
                outcome=outcome,
                detail=answer.detail,
            )
            await self._record(waiting, record, answer)
            if outcome is Outcome.RECEIVED:
                self._answered(message.id, answer)
        except Unavailable as exc:
            log.error("delivering.cannot_record", message_id=message.id, cause=exc.reason)
        finally:
            self._in_use[is_press] -= 1
            waiting.under_way -= 1
            waiting.body = None
            self._changed.set()

    async def _record(self, waiting: _Waiting, attempt: Attempt, answer: Answer) -> None:
        message = waiting.message
        now = self._clock.now()
        due_at: datetime | None = None
        if attempt.outcome is Outcome.RECEIVED:
            self._done[message.id] = None
            while len(self._done) > REMEMBERED:
                del self._done[next(iter(self._done))]
            self._waiting.pop(message.id, None)
        else:
            waiting.message = replace(waiting.message, attempts=waiting.message.attempts + 1)
            if answer.retry_after_s is not None:
                assert message.first_attempt_at is not None
                asked = next_due(
                    message.first_attempt_at,
                    waiting.message.attempts,
                    now,
                    self._chance,
                    answer.retry_after_s,
                )
                waiting.due_at = max(waiting.due_at, asked)
            due_at = waiting.due_at

        def work(tx: Transaction) -> bool:
            first = tx.messages.attempted(attempt, due_at)
            if first and message.subject is not None and message.type is MessageType.ALARM_RAISED:
                tx.alarms.note(message.subject, now, "received", {"path": attempt.path})
            return first

        while True:
            try:
                await self._store.write(work)
                break
            except Unavailable as exc:  # what was received must not be forgotten because the disk is full
                log.error("delivering.cannot_record", message_id=message.id, cause=exc.reason)
                await self._clock.sleep(1.0)
        log.info(
            "message.attempt",
            message_id=message.id,
            type=message.type.value,
            subject=message.subject,
            path=attempt.path,
            status=attempt.status,
            outcome=attempt.outcome.value,
            took_ms=attempt.took_ms,
            detail=attempt.detail,
        )

    def _note_path(self, health: PathHealth, answer: Answer, outcome: Outcome, now: datetime) -> None:
        if outcome is Outcome.GONE:
            self.gone[health.name] = f"the centre answers 410 Gone on the path {health.name}"
        if outcome is Outcome.RECEIVED:
            health.received_total += 1
            health.last_answer_at = now
            self.gone.pop(health.name, None)
            if health.failing_since is not None:
                health.failing_since, health.cause = None, ""
                log.info("path.back", path=health.name)
                self._all_due(now)
            return
        health.failed_total += 1
        health.cause = f"{answer.status} {answer.detail}" if answer.status else answer.detail
        if health.failing_since is None:
            health.failing_since = now
            log.warning("path.failing", path=health.name, cause=health.cause)

    def heartbeat_answered(self, number: int, answer: Answer) -> None:
        """A heartbeat over path ``number`` came back so: paths are watched even when no message is due."""
        self._note_path(self.health[number], answer, judge(answer, 0), self._clock.now())

    def _all_due(self, now: datetime) -> None:
        """A path answers again: everything waiting is due at once, in order of class."""
        for waiting in self._waiting.values():
            if waiting.under_way == 0:
                waiting.due_at = now
        self._changed.set()

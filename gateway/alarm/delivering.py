"""Delivering: every message due goes to the 110 centre until it is received.

The outbox in the database is the truth; what is kept here is only when each waiting message is due, on the clock that never
jumps: a wall clock set back must not silence an alarm. Attempts do not wait for one another: a message whose first attempt
hangs is tried again on time. Where more is due than there are slots, the higher class goes first (API.md, "Messages").
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from gateway.alarm.attempt import answer_of
from gateway.alarm.backlog import Backlog, Waiting
from gateway.alarm.reach import BEAT, Reach
from gateway.box.wake import Wake
from gateway.domain.errors import InvariantBroken, Unavailable
from gateway.domain.message import (
    RETRY_AFTER_MAX_S,
    SECOND_PATH_AFTER_S,
    Answer,
    Attempt,
    Message,
    MessageClass,
    MessageType,
    Outcome,
    judge,
    next_due_s,
)
from gateway.ports.centre import Heard, Uplink
from gateway.ports.clock import Clock
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

T = TypeVar("T")

SLOTS_PRESS = 192  # of a path's 256 connections; presses never wait for anything but presses
SLOTS_OTHER = 32
READ_AT_ONCE = 1000
#: Answers that refuse this one message, whatever the path is worth: it keeps to its schedule when the path is back.
REFUSING = frozenset({400, 413, 415, 422})
_RAISED = frozenset({MessageType.ALARM_RAISED, MessageType.DRILL_RAISED})


@dataclass(slots=True)
class _Round:
    """The attempts at one message that were begun together, one over each path. ``forward``: a path that is back brought it
    on."""

    left: int
    forward: bool
    through: bool = False


class Delivering:
    """The stage. ``wake``: there may be a new message (the outbox is read again); ``run`` works until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        paths: Sequence[Uplink],
        chance: random.Random,
        hear: Callable[[Message, Answer], Heard],
        received: Callable[[], None] = lambda: None,
        wake: Wake | None = None,
    ) -> None:
        """``hear`` understands what the centre says in an answer by which it has received a message;
        ``received`` hears that one is on record as received."""
        self._store = store
        self._clock = clock
        self._paths = paths
        self._chance = chance
        self._hear = hear
        self._received = received
        self._backlog = Backlog(clock, chance)
        self._reach = Reach(clock, [path.name for path in paths])
        self._began_at = clock.now()
        self._last_number = 0
        self._changed = asyncio.Event()
        self.wake = wake or Wake()
        self.wake.set()
        self._recalled = False
        self._attempts: asyncio.TaskGroup | None = None
        self._in_use: Counter[MessageClass] = Counter()
        self.health = self._reach.health
        self.gone, self.pages = self._reach.gone, self._reach.pages

    def offer(self, message: Message) -> None:
        """A message just committed: it need not be read back from the outbox before it goes out. Losing this call costs a
        reading, never a message."""
        if message.id not in self._backlog:
            waiting = self._backlog.add(message)
            if self._attempts is not None:
                now_s = self._clock.monotonic()
                self._count_in_further_paths(now_s, [waiting])
                press = waiting.class_ is MessageClass.PRESS
                held = {} if press else self._backlog.held_below(now_s)  # nothing is before a press
                self._start(self._attempts, waiting, now_s, held)
        self._changed.set()

    @property
    def undelivered(self) -> int:
        return len(self._backlog)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as attempts:
            self._attempts = attempts
            try:
                while True:
                    if self.wake.take():
                        await (self._read_outbox() if self._recalled else self._recall())
                        self._recalled = True
                    now_s = self._clock.monotonic()
                    self._start_due(attempts, now_s)
                    await self._wait_for_change(now_s)
            finally:
                self._attempts = None

    async def _read_outbox(self) -> None:
        """Take up messages committed since the last reading."""
        while True:
            fresh = await self._read(lambda tx: tx.messages.pending(self._last_number, READ_AT_ONCE))
            for number, message in fresh:
                self._last_number = number
                if message.id not in self._backlog:
                    waiting = self._backlog.add(message)
                    waiting.may_be_there = message.created_at < self._began_at
            if len(fresh) < READ_AT_ONCE:
                return

    async def _recall(self) -> None:
        """After a restart: which messages the centre may have. An attempt under way when the process died is on no record, so any
        of before may be there, unless the centre has answered 409 to it while it could not have it."""
        await self._read_outbox()
        attempts = await self._read(lambda tx: tx.messages.telling_attempts())
        by_id = {waiting.message.id: waiting for waiting in self._backlog}
        unanswered = {message for message, _, _, outcome in attempts if outcome is Outcome.UNANSWERED}
        for message, path, status, outcome in attempts:
            waiting = by_id.get(message)
            if waiting is None:
                continue
            if outcome is Outcome.DOUBTFUL:
                waiting.closed.add(path)
            if status == 409:
                waiting.may_be_there = message in unanswered
        if by_id:
            self._backlog.in_order(self._clock.monotonic())

    async def _read(self, work: Callable[[Transaction], T]) -> T:
        while True:
            try:
                return await self._store.read(work)
            except Unavailable as exc:
                log.error("delivering.cannot_read", cause=exc.reason)
                await self._clock.sleep(1.0)

    def _start_due(self, attempts: asyncio.TaskGroup, now_s: float) -> None:
        self._count_in_further_paths(now_s, self._backlog)
        held = self._backlog.held_below(now_s)
        full: set[bool] = set()
        for waiting in self._backlog.due(now_s):
            press = waiting.class_ is MessageClass.PRESS
            if press in full:
                continue
            if self._has_slot(waiting.class_):
                self._start(attempts, waiting, now_s, held)
            else:
                full.add(press)

    def _start(
        self,
        attempts: asyncio.TaskGroup,
        waiting: Waiting,
        now_s: float,
        held: dict[MessageClass, float],
    ) -> None:
        """Begin the attempts a message is due for, if its class has slots left and its turn has come."""
        if not self._has_slot(waiting.class_) or not self._backlog.may_start(waiting, held):
            return
        both = waiting.further or waiting.message.type is MessageType.ALARM_ESCALATED or bool(waiting.closed)
        numbers = list(range(len(self._paths) if both else 1))
        on_first = waiting.due_s <= now_s
        if not on_first:
            numbers = numbers[1:]  # its turn on the first path has not come
        forward = self._backlog.started(waiting, now_s, on_first=on_first)
        numbers = [n for n in numbers if self._paths[n].name not in waiting.closed] or numbers[-1:]
        round_ = _Round(len(numbers), forward)
        for number in numbers:
            self._in_use[waiting.class_] += 1
            attempts.create_task(
                self._attempt(waiting, number, round_),
                name=f"deliver {waiting.message.id} {self._paths[number].name}",
            )

    def _has_slot(self, class_: MessageClass) -> bool:
        if class_ is MessageClass.PRESS:
            return self._in_use[class_] < SLOTS_PRESS
        return self._in_use.total() - self._in_use[MessageClass.PRESS] < SLOTS_OTHER

    def _count_in_further_paths(self, now_s: float, messages: Iterable[Waiting]) -> None:
        """Once the first path has failed for 20 s, or this message on it, the second is tried as well: at once, not at the next
        turn."""
        if len(self._paths) < 2:
            return
        from_s = {class_: self._reach.second_from_s(class_) for class_ in MessageClass}
        begun = False
        for waiting in messages:
            since_s = from_s[waiting.class_]
            own = waiting.started_s is not None and now_s - waiting.first_s >= SECOND_PATH_AFTER_S
            further = own or (since_s is not None and now_s >= since_s)
            if further and not waiting.further:
                waiting.further_too = begun = True
            waiting.further = further
        if begun:
            log.warning("path.second_too", path=self._paths[1].name)
            self._backlog.in_order(now_s)

    async def _wait_for_change(self, now_s: float) -> None:
        self._changed.clear()
        soonest_s = self._backlog.soonest_s(now_s, further=len(self._paths) > 1)
        if soonest_s is None:
            await self.wake.wait(self._clock, None, self._changed)
            return
        if len(self._paths) > 1:
            turns = [self._reach.second_from_s(class_) for class_ in MessageClass]
            soonest_s = min([soonest_s, *(turn for turn in turns if turn is not None and turn > now_s)])
        await self.wake.wait(self._clock, soonest_s - now_s, self._changed)

    async def _attempt(self, waiting: Waiting, number: int, round_: _Round) -> None:
        message, path = waiting.message, self._paths[number]
        try:
            body = waiting.body
            if body is None:
                body = await self._store.read(lambda tx: tx.messages.body(message.id))
            began_s, at = self._clock.monotonic(), self._clock.now()
            answer = await answer_of(
                path.deliver(message.id, body, drill=message.drill, answering=waiting.answering)
            )
            took_ms = round((self._clock.monotonic() - began_s) * 1000)
            outcome = self._judged(waiting, number, answer, began_s)
            round_.through = round_.through or outcome is Outcome.RECEIVED
            record = Attempt(
                message=message.id,
                path=path.name,
                at=at,
                took_ms=took_ms,
                status=answer.status,
                outcome=outcome,
                detail=answer.detail,
            )
            heard = self._heard(message, answer) if outcome is Outcome.RECEIVED else None
            await self._record(waiting, record, answer, heard)
        except Unavailable as exc:
            log.error("delivering.cannot_record", message_id=message.id, cause=exc.reason)
        finally:
            self._in_use[waiting.class_] -= 1
            round_.left -= 1
            if not round_.left:
                self._backlog.ended(waiting, failed=not round_.through, forward=round_.forward)
            waiting.body = None
            self._changed.set()

    def _judged(self, waiting: Waiting, number: int, answer: Answer, began_s: float) -> Outcome:
        """What an answer came to, and what it says of the path."""
        outcome = judge(answer, waiting.may_be_there)
        waiting.refused = answer.status in REFUSING
        waiting.may_be_there = waiting.may_be_there or outcome is Outcome.UNANSWERED
        if outcome is not Outcome.RECEIVED:
            self._reach.missed(number, waiting.class_, answer, began_s)
            return outcome
        if page := self._reach.doubt(number, answer):
            self._reach.missed(number, waiting.class_, answer, began_s, page)
            waiting.closed.add(self._paths[number].name)
            if len(waiting.closed) < len(self._paths):
                waiting.answered = False
                waiting.further = waiting.further_too = True
                return Outcome.DOUBTFUL
            return outcome  # there is no other path left that could know better
        if self._reach.took(number, waiting.class_):
            self._backlog.back(waiting.class_, self._clock.monotonic())
        return outcome

    def _heard(self, message: Message, answer: Answer) -> Heard | None:
        try:
            return self._hear(message, answer)
        except Exception:  # what an answer says never stands in the way of what it is
            log.exception("answer.not_understood", message_id=message.id)
            return None

    async def _record(self, waiting: Waiting, attempt: Attempt, answer: Answer, heard: Heard | None) -> None:
        """Put an attempt on record, and in the same commit what the centre said in its answer: else a crash in between would
        lose an operator's word with a message that does not go again."""
        message = waiting.message
        now = self._clock.now()
        due_at: datetime | None = None
        if attempt.outcome is Outcome.RECEIVED:
            self._backlog.received(message.id)
        else:
            waiting.message = replace(waiting.message, attempts=waiting.message.attempts + 1)
            now_s = self._clock.monotonic()
            if answer.retry_after_s is not None:
                asked_s = next_due_s(
                    waiting.first_s, waiting.rounds, now_s, self._chance, answer.retry_after_s
                )
                waiting.due_s = max(waiting.due_s, asked_s)
                waiting.not_before_s = now_s + min(answer.retry_after_s, RETRY_AFTER_MAX_S)
            due_at = now + timedelta(seconds=max(0.0, waiting.due_s - now_s))

        def work(tx: Transaction) -> bool:
            first = tx.messages.attempted(attempt, due_at)
            if first and message.subject is not None and message.type in _RAISED:
                tx.alarms.note(message.subject, now, "received", {"path": attempt.path})
            if first and message.subject is not None and message.type is MessageType.DRILL_WINDOW:
                tx.windows.received(message.subject, now)
            if heard is not None and not heard.silent:
                heard.apply(tx)
            return first

        while True:
            try:
                await self._store.write(work)
                break
            except Unavailable as exc:  # what was received must not be forgotten because the disk is full
                log.error("delivering.cannot_record", message_id=message.id, cause=exc.reason)
                await self._clock.sleep(1.0)
            except InvariantBroken:
                raise
            except Exception as exc:
                # Whatever an answer does to us, it must not end the delivery of alarms, again after every restart.
                if heard is not None and not heard.silent:
                    failing, heard = heard, None
                    failing.failed(repr(exc))
                elif attempt.detail:
                    log.exception("delivering.cannot_record_detail", message_id=message.id)
                    attempt = replace(attempt, detail="")
                else:
                    raise
        if heard is not None:
            heard.committed()
        if attempt.outcome is Outcome.RECEIVED:
            self._received()
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

    def heartbeat_answered(self, number: int, answer: Answer) -> None:
        """A heartbeat over path ``number`` came back so: paths are watched even when no message is due."""
        now_s = self._clock.monotonic()
        page = ""
        if judge(answer) is Outcome.RECEIVED and not (page := self._reach.doubt(number, answer)):
            if self._reach.took(number, BEAT, self._backlog.kinds):
                self._backlog.back(BEAT, now_s)
        else:
            self._reach.missed(number, BEAT, answer, now_s, page)
        self._reach.forget(self._backlog.kinds)
        self._changed.set()

"""Delivering: every message due goes to the 110 centre until it is received.

The outbox in the database is the truth; what is kept here is only when each waiting message is due, on the clock that never
jumps: a wall clock set back must not silence an alarm. Attempts do not wait for one another: a message whose first attempt
hangs is tried again on time. Where more is due than there are slots, the higher class goes first (API.md, "Messages").
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from gateway.attempt import answer_of
from gateway.domain.errors import InvariantBroken, Unavailable
from gateway.domain.message import (
    CLASS_OF,
    RETRY_AFTER_MAX_S,
    SECOND_PATH_AFTER_S,
    Answer,
    Message,
    MessageClass,
    MessageType,
    Outcome,
    judge,
    next_due_s,
    scheduled_s,
)
from gateway.ports import Attempt, Clock, Heard, PathHealth, Store, Transaction, Uplink

log = structlog.get_logger(__name__)

SLOTS_PRESS = 192  # of a path's 256 connections; presses never wait for anything but presses
SLOTS_OTHER = 32
#: When a path is back and much is due, a class begins when the higher ones are through: for this long, since a centre that
#: hangs on one alert must not hold up all else.
IN_ORDER_S = 2.0
READ_AT_ONCE = 1000
REMEMBERED = 4096
BACK_SPACING_S = 1.0  # a path that comes and goes must not make a storm of attempts
#: Answers that refuse this one message, whatever the path is worth: it keeps to its schedule when the path is back.
REFUSING = frozenset({400, 413, 415, 422})
_RAISED = frozenset({MessageType.ALARM_RAISED, MessageType.DRILL_RAISED})


@dataclass(slots=True)
class _Waiting:
    """A message not yet received: when it is due next, and how far it is in its schedule.

    ``first_s`` is where the schedule began, ``rounds`` how many attempts have been started (one over each path that is
    tried), ``further_too`` that the further paths are due at once because the first has failed for too long. ``not_before_s`` is
    what the centre asked for by ``Retry-After`` for this message, which its answer to another one does not take back.
    ``answered`` says that a 2xx is here and only the rest of that answer is awaited.
    """

    message: Message
    due_s: float
    body: bytes | None = None
    first_s: float = 0.0
    started_s: float | None = None
    rounds: int = 0
    further_too: bool = False
    not_before_s: float = 0.0
    refused: bool = False
    answered: bool = False

    def answering(self, status: int) -> None:
        """A status line has come: after a 2xx nothing goes out again, however long the rest of the answer takes."""
        self.answered = self.answered or 200 <= status < 300


class Delivering:
    """The stage. ``wake`` says that there may be something new; ``run`` works until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        paths: Sequence[Uplink],
        chance: random.Random,
        hear: Callable[[Message, Answer], Heard],
        received: Callable[[], None] = lambda: None,
    ) -> None:
        """``hear`` understands what the centre says in an answer by which it has received a message;
        ``received`` hears that one is on record as received."""
        self._store = store
        self._clock = clock
        self._paths = paths
        self._chance = chance
        self._hear = hear
        self._received = received
        self._waiting: dict[str, _Waiting] = {}
        #: The newest received, so that a reading begun before does not revive them.
        self._done: dict[str, None] = {}
        self._last_number = 0
        self._changed = asyncio.Event()
        self._new = True
        self._attempts: asyncio.TaskGroup | None = None
        self._in_use: Counter[MessageClass] = Counter()
        self._failing_since_s: list[float | None] = [None for _ in paths]
        self._answered_s = [self._clock.monotonic() for _ in paths]
        self._further_paths = False
        self._in_order_until_s = 0.0
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
            waiting = self._waiting[message.id] = self._waits(message)
            if self._attempts is not None:
                self._start(self._attempts, waiting, self._clock.monotonic())
        self._changed.set()

    @property
    def undelivered(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as attempts:
            self._attempts = attempts
            try:
                while True:
                    if self._new:
                        self._new = False
                        await self._read_outbox()
                    now_s = self._clock.monotonic()
                    self._start_due(attempts, now_s)
                    await self._wait_for_change(now_s)
            finally:
                self._attempts = None

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
                if message.type is MessageType.SITE_PLAN:
                    self._forget_older_plans()
                self._waiting[message.id] = self._waits(message)
            if len(fresh) < READ_AT_ONCE:
                return

    def _waits(self, message: Message) -> _Waiting:
        """A message due now. After a restart it goes on in its schedule from where it stood.

        The body is kept for the first attempt only: a long outage must not fill the memory.
        """
        now_s = self._clock.monotonic()
        return _Waiting(
            replace(message, body=b""),
            now_s,
            body=message.body,
            first_s=now_s - scheduled_s(message.attempts),
            rounds=message.attempts,
        )

    def _forget_older_plans(self) -> None:
        for id_ in [i for i, w in self._waiting.items() if w.message.type is MessageType.SITE_PLAN]:
            del self._waiting[id_]

    def _start_due(self, attempts: asyncio.TaskGroup, now_s: float) -> None:
        self._count_in_further_paths(now_s)
        due = [w for w in self._waiting.values() if (w.due_s <= now_s or w.further_too) and not w.answered]
        due.sort(key=lambda w: w.message.rank)
        for waiting in due:
            self._start(attempts, waiting, now_s)

    def _start(self, attempts: asyncio.TaskGroup, waiting: _Waiting, now_s: float) -> None:
        """Begin the attempts a message is due for, if its class has slots left."""
        message = waiting.message
        class_ = CLASS_OF[message.type]
        in_order = now_s < self._in_order_until_s
        if not self._has_slot(class_) or (in_order and self._higher_under_way(class_)):
            return
        both = self._further_paths or message.type is MessageType.ALARM_ESCALATED
        numbers = range(len(self._paths) if both else 1)
        if waiting.due_s > now_s:
            numbers = numbers[1:]  # its turn on the first path has not come
        else:
            if waiting.started_s is None:
                waiting.first_s = now_s - scheduled_s(waiting.rounds)
            waiting.rounds += 1
            waiting.due_s = next_due_s(waiting.first_s, waiting.rounds, now_s, self._chance)
            waiting.started_s = now_s
        waiting.further_too = False
        for number in numbers:
            path = self._paths[number]
            self._in_use[class_] += 1
            attempts.create_task(
                self._attempt(waiting, number, path, class_), name=f"deliver {message.id} {path.name}"
            )

    def _higher_under_way(self, class_: MessageClass) -> bool:
        return any(self._in_use[other] for other in MessageClass if other < class_)

    def _has_slot(self, class_: MessageClass) -> bool:
        if class_ is MessageClass.PRESS:
            return self._in_use[class_] < SLOTS_PRESS
        return self._in_use.total() - self._in_use[MessageClass.PRESS] < SLOTS_OTHER

    def _count_in_further_paths(self, now_s: float) -> None:
        """Once the first path has failed for 20 s, the second is tried as well: at once, not at the next turn."""
        since_s = self._failing_since_s[0]
        dead = len(self._paths) > 1 and since_s is not None and now_s - since_s >= SECOND_PATH_AFTER_S
        if dead and not self._further_paths:
            log.warning("path.second_too", path=self._paths[1].name)
            for waiting in self._waiting.values():
                waiting.further_too = True
        self._further_paths = dead

    async def _wait_for_change(self, now_s: float) -> None:
        self._changed.clear()
        if self._new:
            return
        turns = [w.due_s for w in self._waiting.values() if not w.answered]
        if turns:
            turns.append(self._in_order_until_s)
        soonest_s = min((turn for turn in turns if turn > now_s), default=None)
        if soonest_s is None:
            await self._changed.wait()
            return
        since_s = self._failing_since_s[0]
        if len(self._paths) > 1 and since_s is not None and not self._further_paths:
            soonest_s = min(soonest_s, since_s + SECOND_PATH_AFTER_S)
        timer = asyncio.ensure_future(self._clock.sleep(soonest_s - now_s))
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((timer, change), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            change.cancel()

    async def _attempt(self, waiting: _Waiting, number: int, path: Uplink, class_: MessageClass) -> None:
        message = waiting.message
        try:
            body = waiting.body
            if body is None:
                body = await self._store.read(lambda tx: tx.messages.body(message.id))
            began_s, at = self._clock.monotonic(), self._clock.now()
            answer = await answer_of(
                path.deliver(message.id, body, drill=message.drill, answering=waiting.answering)
            )
            took_ms = round((self._clock.monotonic() - began_s) * 1000)
            outcome = judge(answer, waiting.message.attempts)
            waiting.refused = answer.status in REFUSING
            self._note_path(number, answer, outcome, began_s)
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
            self._in_use[class_] -= 1
            waiting.body = None
            self._changed.set()

    def _heard(self, message: Message, answer: Answer) -> Heard | None:
        try:
            return self._hear(message, answer)
        except Exception:  # what an answer says never stands in the way of what it is
            log.exception("answer.not_understood", message_id=message.id)
            return None

    async def _record(self, waiting: _Waiting, attempt: Attempt, answer: Answer, heard: Heard | None) -> None:
        """Put an attempt on record, and in the same commit what the centre said in its answer: else a crash in between would
        lose an operator's word with a message that does not go again."""
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

    def _note_path(self, number: int, answer: Answer, outcome: Outcome, began_s: float) -> None:
        health, now, now_s = self.health[number], self._clock.now(), self._clock.monotonic()
        if outcome is Outcome.GONE:
            self.gone[health.name] = f"the centre answers 410 Gone on the path {health.name}"
        if outcome is Outcome.RECEIVED:
            health.received_total += 1
            health.last_answer_at = now
            self._answered_s[number] = now_s
            self.gone.pop(health.name, None)
            if self._failing_since_s[number] is not None:
                self._failing_since_s[number] = None
                health.failing_since, health.cause = None, ""
                log.info("path.back", path=health.name)
                self._all_due(now_s)
            return
        health.failed_total += 1
        health.cause = f"{answer.status} {answer.detail}" if answer.status else answer.detail
        if self._failing_since_s[number] is None:
            # It fails since the attempt began, which may have waited long for its answer.
            since_s = max(began_s, self._answered_s[number])
            self._failing_since_s[number] = since_s
            health.failing_since = now - timedelta(seconds=now_s - since_s)
            log.warning("path.failing", path=health.name, cause=health.cause)

    def heartbeat_answered(self, number: int, answer: Answer) -> None:
        """A heartbeat over path ``number`` came back so: paths are watched even when no message is due."""
        self._note_path(number, answer, judge(answer, 0), self._clock.monotonic())
        self._changed.set()

    def _all_due(self, now_s: float) -> None:
        """A path answers again: everything waiting is due at once, in order of class. That an attempt is under way is no
        reason to wait: it may hang on a connection of before."""
        self._in_order_until_s = now_s + IN_ORDER_S
        for waiting in self._waiting.values():
            if not waiting.refused:
                earliest_s = now_s if waiting.started_s is None else waiting.started_s + BACK_SPACING_S
                waiting.due_s = min(waiting.due_s, max(now_s, earliest_s, waiting.not_before_s))
        self._changed.set()

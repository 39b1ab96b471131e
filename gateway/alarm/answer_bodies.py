"""Hearing: replies and requests in the bodies of the centre's answers, for a centre that cannot call the school.

Each item is applied once for ever, by the same rules as a call. It is applied in the very transaction that puts the answered
message on record as received: after a crash before that commit the message goes again, and the centre can answer it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from gateway.domain.alarm import Request, State
from gateway.domain.answer import AnsweredItem, Complaint, Item, ItemKind, Said, items_of, out_of_plane
from gateway.domain.errors import InvariantBroken, Malformed, NotAllowed, NotFound, Refused, Unavailable
from gateway.domain.message import Answer, Message, understand
from gateway.ports.clock import Clock
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

MOST_ALARM_ID = 200  # characters, as of every other name that comes in
UNREADABLE = "answers"  # subjects of faults about an answer as a whole
DOUBTFUL = "doubtful-answers"

Say = Callable[[Transaction, str, Said, datetime, str], tuple[State, Request | None]]


class Hearing:
    """The stage. ``hear`` understands an answer, ``take`` applies one at once."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        read_item: Callable[[ItemKind, Mapping[str, Any]], Said],
        say: Say,
        said: Callable[[datetime], None],
        complain: Callable[[Sequence[Complaint]], None],
    ) -> None:
        """``read_item`` reads what an item says (``Malformed`` where it cannot), ``say`` applies it in a transaction, ``said``
        hears when that is committed. ``complain`` hears of every answer what of it was not applied: nothing, where all is
        well."""
        self._store = store
        self._clock = clock
        self._read_item = read_item
        self._say = say
        self._said = said
        self._complain = complain

    def hear(self, message: Message, answer: Answer) -> AnswerHeard:
        """Understand the body of an answer by which ``message`` was received. Never raises, and applies nothing yet."""
        items, complaints = _understood(message, answer)
        return AnswerHeard(self, message, items, complaints, self._clock.now())

    async def take(self, message: Message, answer: Answer) -> None:
        """Hear an answer and apply it in a transaction of its own: one to a heartbeat, which is on no record."""
        heard = self.hear(message, answer)
        if not heard.silent:
            try:
                await self._store.write(heard.apply)
            except (InvariantBroken, Unavailable):
                raise
            except Exception as exc:
                heard.failed(repr(exc))
                return
        heard.committed()

    def apply(self, tx: Transaction, message: Message, item: Item, now: datetime) -> AnsweredItem | None:
        """Apply one item, once for ever; ``None`` if it came before.

        What cannot be applied is an outcome and kept as such, so that it is not applied later, when nobody means it any more.
        Raises ``Malformed`` where another item had its id.
        """
        known = tx.answer_items.get(item.id)
        if known is not None:
            tx.answer_items.seen_again(item.id, now)
            if known.digest != item.digest:
                raise Malformed("another item had this id before; every item needs an id of its own")
            return None
        alarm = _name(item.alarm)
        outcome = AnsweredItem(
            id=item.id, digest=item.digest, kind=item.kind, alarm=alarm, seen_at=now, ok=True
        )
        try:
            if alarm is None:
                raise Malformed("alarm: expected the id of the alarm it speaks of")
            if misplaced := out_of_plane(message, alarm):
                raise Refused(misplaced)
            state, asked = self._say(tx, alarm, self._read_item(item.kind, item.content), now, item.id)
            outcome = replace(outcome, state=state.value, request=asked.id if asked else None)
        except (Malformed, NotFound, NotAllowed, Refused) as exc:
            found = tx.alarms.get(alarm) if alarm else None
            outcome = replace(outcome, ok=False, reason=str(exc), state=found.state.value if found else None)
        tx.answer_items.add(outcome)
        return outcome

    def applied(
        self, outcomes: Sequence[AnsweredItem], complaints: Sequence[Complaint], now: datetime
    ) -> None:
        """It is committed: who has work by it is woken, and what was not applied is said."""
        for outcome in outcomes:
            log.info(
                "answer.item",
                item=outcome.id,
                kind=outcome.kind.value,
                alarm_id=outcome.alarm,
                ok=outcome.ok,
                reason=outcome.reason,
            )
        if any(outcome.ok for outcome in outcomes):
            self._said(now)
        self._complain(complaints)


@dataclass(slots=True)
class AnswerHeard:
    """:class:`gateway.ports.centre.Heard`: the items of one answer, on their way into one transaction."""

    hearing: Hearing
    message: Message
    items: Sequence[Item]
    complaints: Sequence[Complaint]
    now: datetime
    _outcomes: list[AnsweredItem] = field(default_factory=list)
    _refused: list[Complaint] = field(default_factory=list)

    @property
    def silent(self) -> bool:
        return not self.items

    def apply(self, tx: Transaction) -> None:
        self._outcomes, self._refused = [], []
        for item in self.items:
            try:
                outcome = self.hearing.apply(tx, self.message, item, self.now)
            except Malformed as exc:
                self._refused.append(self._refusal(item, str(exc)))
                continue
            if outcome is None:
                continue
            self._outcomes.append(outcome)
            if not outcome.ok:
                self._refused.append(self._refusal(item, outcome.reason or ""))

    def committed(self) -> None:
        self.hearing.applied(self._outcomes, [*self.complaints, *self._refused], self.now)

    def failed(self, cause: str) -> None:
        log.error("answer.failed", message_id=self.message.id, cause=cause)
        given = [self._refusal(item, f"this gateway failed on it ({cause})") for item in self.items]
        self.hearing.applied([], [*self.complaints, *given], self.now)

    def _refusal(self, item: Item, reason: str) -> Complaint:
        reason = reason.encode(
            "utf-8", "replace"
        ).decode()  # a stranger's half characters fit into no database
        cause = f"{item.place} of the centre's answer to {self.message.id}: {reason}; nothing was changed"
        return Complaint(subject=item.subject, cause=cause)


def _understood(message: Message, answer: Answer) -> tuple[list[Item], list[Complaint]]:
    try:
        document = understand(answer) or {}
    except ValueError as exc:
        return [], [Complaint(subject=UNREADABLE, cause=f"{exc} (answer to {message.id})")]
    items, complaints = items_of(document)
    if (items or complaints) and answer.doubt:
        cause = (
            f"the answer to {message.id} ({message.type.value}) has replies or requests in it and is not to be believed: "
            f"{answer.doubt}; nothing was applied. Somebody on the way forges answers, or the centre's signing is wrong"
        )
        return [], [Complaint(subject=DOUBTFUL, cause=cause)]
    return items, [replace(c, cause=f"{c.cause} (answer to {message.id})") for c in complaints]


def _name(value: object) -> str | None:
    """An alarm's id as it came, if it can be one."""
    if isinstance(value, str) and 0 < len(value) <= MOST_ALARM_ID and value.isprintable():
        return value
    return None

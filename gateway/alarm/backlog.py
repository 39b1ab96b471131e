"""Messages that the centre has not received: when each is due, and which goes before which.

Three rules beside the schedule. *Order*: a message of a lower class never goes ahead of a higher one that waits, neither
while the centre is away (it goes after a further failure of the higher one) nor when it is back (it goes when every higher
one has been tried).
*Once*: that a path is back brings a message forward, and one failure puts it back to its schedule. *Rate*: what is tried again is
bounded in all, and what was brought forward begins with a few at once, more with each answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from heapq import nsmallest

from gateway.domain.message import (
    CLASS_OF,
    RETRY_EVERY_S,
    SECOND_PATH_AFTER_S,
    Message,
    MessageClass,
    MessageType,
    next_due_s,
    scheduled_s,
)
from gateway.ports.clock import Clock

REMEMBERED = 4096
#: How long order is kept once a path is back: an attempt may take 10 s, and one alert that hangs must not hold up all else.
IN_ORDER_S = 12.0
BACK_SPACING_S = 1.0  # a path that comes and goes must not make a storm of attempts
#: A message is brought forward by an answer to another kind at most so often.
COURTESY_EVERY_S = RETRY_EVERY_S
#: Something of a class was received so lately: what fails now is too much at once rather than refused.
TAKES_SOME_S = 2.0
ASKED_AGAIN = 2
AT_FIRST = 8  # brought forward at once; one more with each that is received
RETRIES_PER_S = 50.0  # attempts at messages that failed before, over all paths; as many may wait for it
PACED_S = 0.2  # how often what waits for its turn is looked at


@dataclass(slots=True)
class Waiting:
    """A message not yet received: when it is due next, and how far it is in its schedule.

    ``first_s`` is where the schedule began, ``rounds`` how many attempts have been started (one over each path that is
    tried). ``further`` says that the further paths are tried as well, ``further_too`` that they are due at once.
    ``not_before_s`` is what the centre asked for by ``Retry-After`` for this message, which its answer to another one does
    not take back. ``planned_s`` is when it is due by its schedule, while it is brought forward. ``ended_s`` is the end of
    the last round.
    ``answered`` says that a 2xx is here and only the rest of that answer is awaited. ``may_be_there``: an attempt was sent whole
    and not answered. ``closed``: paths by name that answered 2xx in somebody else's words, and are not used again.
    """

    message: Message
    due_s: float
    body: bytes | None = None
    first_s: float = 0.0
    started_s: float | None = None
    ended_s: float | None = None
    planned_s: float | None = None
    courtesy_s: float | None = None
    rounds: int = 0
    further: bool = False
    further_too: bool = False
    not_before_s: float = 0.0
    failed: bool = False
    refused: bool = False
    answered: bool = False
    may_be_there: bool = False
    closed: set[str] = field(default_factory=set)
    class_: MessageClass = field(init=False)

    def __post_init__(self) -> None:
        self.class_ = CLASS_OF[self.message.type]

    def answering(self, status: int) -> None:
        """A status line has come: after a 2xx nothing goes out again, however long the rest of the answer takes."""
        self.answered = self.answered or 200 <= status < 300


class Backlog:
    """All that waits, by message id."""

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._waiting: dict[str, Waiting] = {}
        #: The newest received, so that a reading begun before does not revive them.
        self._done: dict[str, None] = {}
        self._failed: set[str] = set()  # of those that wait, the ones that failed before
        self._received_s: dict[MessageClass, float] = {}
        self._failed_s: dict[MessageClass, float] = {}
        self._back_s = 0.0
        self._in_order_until_s = 0.0
        self._window = AT_FIRST
        self._forward = 0
        self._tokens, self._tokens_at_s = RETRIES_PER_S, clock.monotonic()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, message: str) -> bool:
        return message in self._waiting or message in self._done

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    @property
    def kinds(self) -> frozenset[MessageClass | None]:
        """The classes of which something waits."""
        return frozenset(waiting.class_ for waiting in self._waiting.values())

    def add(self, message: Message) -> Waiting:
        """A message due now. After a restart it goes on in its schedule from where it stood.

        The body is kept for the first attempt only: a long outage must not fill the memory.
        """
        now_s = self._clock.monotonic()
        if message.type is MessageType.SITE_PLAN:
            for old in [i for i, w in self._waiting.items() if w.message.type is MessageType.SITE_PLAN]:
                del self._waiting[old]
                self._failed.discard(old)
        waiting = self._waiting[message.id] = Waiting(
            replace(message, body=b""),
            now_s,
            body=message.body,
            first_s=now_s - scheduled_s(message.attempts),
            rounds=message.attempts,
        )
        return waiting

    def received(self, message: str) -> None:
        """The centre has it."""
        waiting = self._waiting.pop(message, None)
        self._failed.discard(message)
        if waiting is not None:
            self._received_s[waiting.class_] = self._clock.monotonic()
        self._done[message] = None
        while len(self._done) > REMEMBERED:
            del self._done[next(iter(self._done))]
        self._window += 1

    # What goes first.

    def due(self, now_s: float) -> list[Waiting]:
        """What may start now, in order; see :meth:`may_start` for each."""
        found = [w for w in self._waiting.values() if (w.due_s <= now_s or w.further_too) and not w.answered]
        found.sort(key=lambda w: w.message.rank)
        return found

    def held_below(self, now_s: float) -> dict[MessageClass, float]:
        """Of each class that is held back now for the sake of higher ones: until when a message of it must have been due to go
        all the same, since a higher one has failed after that."""
        held: dict[MessageClass, float] = {}
        in_order = now_s < self._in_order_until_s
        if not in_order and not self._failed:
            return held
        untried = failing = False
        failed_s = float("-inf")
        by_class: dict[MessageClass, list[Waiting]] = {}
        for waiting in self._waiting.values():
            if not waiting.refused:
                by_class.setdefault(waiting.class_, []).append(waiting)
        for class_ in MessageClass:
            if untried:
                held[class_] = float("-inf")
            elif failing:
                held[class_] = failed_s
            of_class = by_class.get(class_, [])
            untried = untried or (in_order and any((w.ended_s or 0.0) < self._back_s for w in of_class))
            failing = failing or any(w.failed and not w.answered for w in of_class)
            failed_s = max(failed_s, self._failed_s.get(class_, float("-inf")))
        return held

    def may_start(self, waiting: Waiting, held: dict[MessageClass, float]) -> bool:
        """Whether order and rate let a message start that is due."""
        due_s = self._back_s if waiting.further_too else waiting.due_s
        if due_s > held.get(waiting.class_, float("inf")):
            return False
        if waiting.planned_s is not None:
            return self._forward < self._window
        return not waiting.failed or self._token()

    def started(self, waiting: Waiting, now_s: float, *, on_first: bool) -> bool:
        """A round of attempts begins; ``on_first``: its turn in the schedule has come. Whether it was brought forward."""
        forward = waiting.planned_s is not None
        if on_first:
            if waiting.started_s is None:
                waiting.first_s = now_s - scheduled_s(waiting.rounds)
            waiting.rounds += 1
            waiting.due_s = next_due_s(waiting.first_s, waiting.rounds, now_s, self._chance)
            waiting.started_s, waiting.planned_s = now_s, None
        waiting.further_too = False
        self._forward += forward
        return forward

    def ended(self, waiting: Waiting, *, failed: bool, forward: bool) -> None:
        """A round of attempts is over."""
        now_s = self._clock.monotonic()
        self._forward -= forward
        waiting.ended_s = now_s
        if failed:
            waiting.failed = True
            if waiting.message.id in self._waiting:
                self._failed.add(waiting.message.id)
            if not waiting.refused:
                self._failed_s[waiting.class_] = now_s
                self._put_back(waiting.class_)

    def _put_back(self, class_: MessageClass) -> None:
        """What was brought forward of a class goes by its schedule again: one of it has failed. A centre that takes some at a
        time is asked again in a second, with a few."""
        self._window = AT_FIRST
        now_s = self._clock.monotonic()
        of_class = [
            w for w in self._waiting.values() if w.class_ is class_ and not w.refused and not w.answered
        ]
        for waiting in of_class:
            if waiting.planned_s is not None:
                waiting.due_s, waiting.planned_s = waiting.planned_s, None
        if now_s - self._received_s.get(class_, float("-inf")) > TAKES_SOME_S:
            return
        for waiting in nsmallest(ASKED_AGAIN, of_class, key=lambda w: w.message.rank):
            due_s = max(now_s + BACK_SPACING_S, waiting.not_before_s)
            if due_s < waiting.due_s:
                waiting.planned_s, waiting.due_s = waiting.due_s, due_s

    def back(self, kind: MessageClass | None, now_s: float) -> None:
        """A path is back by an answer to a message of ``kind`` (``None``: a heartbeat): what waits is due at once, in order of
        class. That an attempt is under way is no reason to wait: it may hang on a connection of before."""
        self.in_order(now_s)
        self._window = AT_FIRST
        for waiting in self._waiting.values():
            if waiting.refused or waiting.answered or waiting.planned_s is not None:
                continue
            if waiting.class_ is not kind:
                if waiting.courtesy_s is not None and now_s - waiting.courtesy_s < COURTESY_EVERY_S:
                    continue
                waiting.courtesy_s = now_s
            earliest_s = now_s if waiting.started_s is None else waiting.started_s + BACK_SPACING_S
            due_s = max(now_s, earliest_s, waiting.not_before_s)
            if due_s < waiting.due_s:
                waiting.planned_s, waiting.due_s = waiting.due_s, due_s

    def in_order(self, now_s: float) -> None:
        """From now on, for a while, no class goes before every higher one has been tried."""
        self._back_s, self._in_order_until_s = now_s, now_s + IN_ORDER_S

    # Time.

    def soonest_s(self, now_s: float, *, further: bool) -> float | None:
        """When something may be due of itself; ``None`` if nothing is. ``further``: there are further paths."""
        if not self._waiting:
            return None
        turns = [w.due_s for w in self._waiting.values() if w.due_s > now_s and not w.answered]
        if self._in_order_until_s > now_s:
            turns.append(self._in_order_until_s)
        if self._tokens < 1:
            turns.append(now_s + PACED_S)
        if further:
            second = (w.first_s + SECOND_PATH_AFTER_S for w in self._waiting.values() if not w.further)
            turns += [turn for turn in second if turn > now_s]
        return min(turns, default=None)

    def _token(self) -> bool:
        now_s = self._clock.monotonic()
        grown = self._tokens + (now_s - self._tokens_at_s) * RETRIES_PER_S
        self._tokens, self._tokens_at_s = min(RETRIES_PER_S, grown), now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

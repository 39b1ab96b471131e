"""Flood: one contact that says more than any contact says must not hold up the others.

The broker hands over a few messages at a time and waits until they are acknowledged, so what one contact sends a thousand times a
second stands before everybody else's press. Of a topic in flood, messages that mean the same are folded into the newest of them,
which is admitted a moment later for all; the others are acknowledged at once. So nothing new a contact says is lost: each meaning
is admitted, the last one of each in the order in which they were last said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.domain.contact import Signal, SignalKind, Telling
from gateway.domain.fault import FaultKind
from gateway.domain.plan import Point
from gateway.domain.words import PUSHES
from gateway.ports.contacts import ContactMessage

#: More messages than this within a second are a flood. Ours: a hand makes ten pushes a second at most, of three messages each;
#: ten times as many devices' worth of messages as one has.
MOST_IN_A_SECOND = 100
#: How long messages are gathered before the newest of each meaning is admitted.
FOLD_S = 0.25
#: Who invents meanings in a flood gets no more than these.
MOST_MEANINGS = 16
#: The fault stands this long after the last flood.
HELD_S = 60.0

CAUSE = (
    "more than {most} messages a second come on {topic} (so far {total}): they are counted together, and others' presses go "
    "first; take the contact off the network, and look for a stuck button, a loop in an automation, or a stranger who "
    "publishes there"
)


@dataclass(slots=True)
class Folded:
    """The newest of several messages that mean the same, and how many they are."""

    message: ContactMessage
    times: int = 1


class Flood:
    """What the topics send, and what is folded of those that send too much."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._came_s: dict[str, deque[float]] = {}
        self._folded: dict[str, dict[Hashable, Folded]] = {}
        self._last_s: dict[str, float] = {}
        self._totals: dict[str, int] = {}

    def over(self, topic: str) -> bool:
        """Count one message of the topic; whether it is one too many, or such are still gathered."""
        now_s = self._monotonic()
        came_s = self._came_s.setdefault(topic, deque(maxlen=MOST_IN_A_SECOND))
        over = len(came_s) == MOST_IN_A_SECOND and now_s - came_s[0] < 1.0
        came_s.append(now_s)
        if over:
            self._last_s[topic] = now_s
        return over or topic in self._folded

    def fold(self, message: ContactMessage, meaning: Hashable) -> tuple[bool, ContactMessage | None]:
        """Keep the message as the newest of its meaning. Returns whether it is the first that is gathered of its topic, and
        the message in whose place it stands now, which nobody needs any more."""
        is_first = message.topic not in self._folded
        folded = self._folded.setdefault(message.topic, {})
        self._totals[message.topic] = self._totals.get(message.topic, 0) + 1
        if meaning not in folded and len(folded) >= MOST_MEANINGS:
            meaning = "the rest"
        before = folded.pop(meaning, None)
        folded[meaning] = Folded(message, 1 if before is None else before.times + 1)
        return is_first, None if before is None else before.message

    def take(self, topic: str) -> list[Folded]:
        """What was gathered of the topic, in order; empty, and nothing is gathered any more, once it is quiet."""
        folded = list(self._folded[topic].values())
        if folded:
            self._folded[topic] = {}
        else:
            del self._folded[topic]
        return folded

    def found(self, points: Mapping[str, Sequence[Point]]) -> Iterator[tuple[tuple[FaultKind, str], str]]:
        """The points whose topic was in flood lately, as faults."""
        now_s = self._monotonic()
        for topic, last_s in self._last_s.items():
            if now_s - last_s < HELD_S:
                cause = CAUSE.format(most=MOST_IN_A_SECOND, topic=topic, total=self._totals.get(topic, 0))
                for point in points.get(topic, ()):
                    yield (FaultKind.CONTACT, f"{point.id} flood"), cause


def meaning_of(signals: Sequence[Signal], unreadable: str | None) -> Hashable:
    """What two messages have in common that mean the same: what is reported of which input, whatever the numbers. Words of a push
    are kept apart: a point may count only some of them."""
    if unreadable is not None:
        return "unreadable"
    return frozenset((s.kind, s.input, s.word.lower() if _is_named(s) else "") for s in signals)


def _is_named(signal: Signal) -> bool:
    return signal.kind in PUSHES or signal.kind is SignalKind.LOWERED or signal.telling is Telling.EVENT

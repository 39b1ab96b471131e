"""Flood: a contact that says more than any contact says, or several that do together, must not hold up the others.

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
from gateway.ports import ContactMessage

#: More messages than this within a second are a flood. Ours: a hand makes ten pushes a second at most, of three messages each;
#: ten times as many devices' worth of messages as one has.
MOST_IN_A_SECOND = 100
#: More than this from all contacts within a second is a crowd: more was tried, and delays everybody's alerts on a small box. In a
#: crowd each contact has only :data:`FEW_IN_A_SECOND` (two pushes) before it is folded.
CROWD_IN_A_SECOND = 300
FEW_IN_A_SECOND = 6
#: What waited at the broker while the gateway was away comes as a crowd too. Who makes one for longer is a fault.
CROWD_S = 30.0
#: How long messages are gathered before the newest of each meaning is admitted.
FOLD_S = 0.25
#: Who invents meanings in a flood gets no more than these.
MOST_MEANINGS = 16
#: The fault stands this long after the last flood.
HELD_S = 60.0

CAUSE = (
    "more than {most} messages a second come on {topic}{crowd} (so far {total}): they are counted together, and others' presses "
    "go first; take the contact off the network, and look for a stuck button, a loop in an automation, or a stranger who "
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
        self._all_s: deque[float] = deque(maxlen=CROWD_IN_A_SECOND)
        self._crowd_s: tuple[float, float] | None = None  # since when, and until when it was last seen
        #: When a topic was last in flood, and of how many messages a second that was.
        self._last_s: dict[str, tuple[float, int]] = {}
        self._totals: dict[str, int] = {}

    def over(self, topic: str) -> bool:
        """Count one message of the topic; whether it is one too many, or such are still gathered."""
        now_s = self._monotonic()
        came_s = self._came_s.setdefault(topic, deque(maxlen=MOST_IN_A_SECOND))
        crowd_lasts_s = self._crowd(now_s)
        alone = _within_a_second(came_s, MOST_IN_A_SECOND, now_s)
        crowded = crowd_lasts_s is not None and _within_a_second(came_s, FEW_IN_A_SECOND, now_s)
        came_s.append(now_s)
        if alone:
            self._last_s[topic] = now_s, MOST_IN_A_SECOND
        elif crowded and crowd_lasts_s is not None and crowd_lasts_s >= CROWD_S:
            self._last_s[topic] = now_s, FEW_IN_A_SECOND
        return alone or crowded or topic in self._folded

    def _crowd(self, now_s: float) -> float | None:
        """Count one message of all; since how many seconds they have been a crowd, ``None`` if they are none."""
        crowded = _within_a_second(self._all_s, CROWD_IN_A_SECOND, now_s)
        self._all_s.append(now_s)
        if not crowded:
            return None
        since_s, last_s = self._crowd_s or (now_s, now_s)
        self._crowd_s = (since_s if now_s - last_s <= 1.0 else now_s), now_s
        return now_s - self._crowd_s[0]

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
        for topic, (last_s, most) in self._last_s.items():
            if now_s - last_s < HELD_S:
                crowd = (
                    "" if most == MOST_IN_A_SECOND else f", and {CROWD_IN_A_SECOND} of all contacts together"
                )
                total = self._totals.get(topic, 0)
                cause = CAUSE.format(most=most, topic=topic, crowd=crowd, total=total)
                for point in points.get(topic, ()):
                    yield (FaultKind.CONTACT, f"{point.id} flood"), cause


def _within_a_second(came_s: Sequence[float], messages: int, now_s: float) -> bool:
    return len(came_s) >= messages and now_s - came_s[-messages] < 1.0


def meaning_of(signals: Sequence[Signal], unreadable: str | None) -> Hashable:
    """What two messages have in common that mean the same: what is reported of which input, whatever the numbers. Words of a push
    are kept apart: a point may count only some of them."""
    if unreadable is not None:
        return "unreadable"
    return frozenset((s.kind, s.input, s.word.lower() if _is_named(s) else "") for s in signals)


def _is_named(signal: Signal) -> bool:
    return signal.kind in PUSHES or signal.kind is SignalKind.LOWERED or signal.telling is Telling.EVENT

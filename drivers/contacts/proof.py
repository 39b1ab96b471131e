"""Proof that presses would come: the gateway's own message on each topic of presses has to come back from the broker.

A subscription that is granted is no right to read: mosquitto answers it with success and delivers nothing where the access list
forbids. Only a message on the very topic shows it, since a list may allow or deny each one by itself. The message is empty, at
QoS 0 and not retained: no format of a contact reads a press from an empty payload, the broker keeps none of it, and the feed
passes it on to nobody (:func:`is_proof`). What it cannot show is that the contact publishes there and may: press each contact.

A broker may also end the connection of whoever publishes where he must not (mosquitto 2.0.11 does so in some configurations). So
when a connection ends during a round, what has not come back is tried one by one on the next ones, and a topic at which the
connection ends twice is taken as not delivered and left alone for five minutes. Such ends are no sign of a stranger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

import structlog

from gateway.ports.clock import Clock
from gateway.ports.contacts import ContactMessage

log = structlog.get_logger(__name__)

#: With two answers waited for, a change of the broker's permissions is known within 25 + 2 * 10 s, which is below a minute.
EVERY_S = 25.0
AGAIN_S = 10.0  # while something is not delivered: soon well again once it is mended
ANSWER_S = 10.0
SINGLE_S = 2.0  # for one message by itself
RETRY_S = 300.0  # for topics at which the broker ends the connection: each try costs one
CUTS = 2  # a connection can end by chance just then, hardly twice
MOST_CUTTING = 3  # after so many topics the others that are open are taken for the same
AT_ONCE = 50  # messages before the loop and the broker get their breath
BREATH_S = 0.05
POLL_S = 0.1
OWN_DOING_S = 2.0


def is_proof(message: ContactMessage) -> bool:
    """Whether it can be the gateway's own: such a one says nothing, whoever sent it."""
    return not message.payload and not message.retained and message.qos == 0


class Proof:
    """Knows of which topics the broker delivers nothing. On the event loop only."""

    def __init__(self, topics: Sequence[str], clock: Clock, publish: Callable[[str], bool]) -> None:
        """``publish`` sends the empty message on a topic and says whether it went out."""
        self._topics = tuple(topics)
        self._clock = clock
        self._publish = publish
        self._expected: set[str] = set()
        self._published_s = float("-inf")
        self._suspects: list[str] = []  # open when a connection ended
        self._cuts: Counter[str] = Counter()
        self._cutting: set[str] = set()
        self._retry_s = 0.0
        #: Topics whose message did not come back at the last try.
        self.undelivered: frozenset[str] = frozenset()

    @property
    def own_doing(self) -> bool:
        """Whether a connection that ends now may have been ended because of these messages."""
        return bool(self._expected) and self._clock.monotonic() - self._published_s < OWN_DOING_S

    def came(self, topic: str) -> None:
        """Something was delivered on a topic: whatever it is, it proves as much as the gateway's own."""
        self._expected.discard(topic)
        if topic in self.undelivered:
            self.undelivered -= {topic}
            self._cutting.discard(topic)

    async def run(self, connection: Callable[[], int | None]) -> None:
        """Prove every topic at each new connection and every 25 s, until cancelled. ``connection`` is a number for the one that
        stands, ``None`` while there is none."""
        proved: int | None = None
        next_s = 0.0
        while True:
            number = connection()
            if number is not None and (number != proved or self._clock.monotonic() >= next_s):

                def stands(number: int = number) -> bool:
                    return connection() == number

                missing = await self._round(stands)
                if missing is not None:
                    proved = number
                    self._conclude(missing)
                    next_s = self._clock.monotonic() + (AGAIN_S if missing - self._cutting else EVERY_S)
            await self._clock.sleep(POLL_S)

    async def _round(self, stands: Callable[[], bool]) -> set[str] | None:
        """The topics of which nothing comes; ``None`` if the connection ended and they are not known yet."""
        missing = await self._one_by_one(stands)
        if missing is None:
            return None
        if self._cutting and self._clock.monotonic() >= self._retry_s:
            one = min(self._cutting)
            self._retry_s = self._clock.monotonic() + RETRY_S
            left = await self._missing([one], SINGLE_S, stands)
            if not stands():
                return None
            if not left:
                self._cutting.clear()  # mended; the others are tried with all
        together: set[str] = set(self._topics) - self._cutting - missing
        for _ in range(2):
            together = await self._missing(together, ANSWER_S, stands)
            if not stands():
                self._suspects = sorted(together)
                return None
        return together | missing | self._cutting

    async def _one_by_one(self, stands: Callable[[], bool]) -> set[str] | None:
        missing: set[str] = set()
        while self._suspects:
            topic = self._suspects[0]
            left = await self._missing([topic], SINGLE_S, stands)
            if left and not stands():
                self._cuts[topic] += 1
                if self._cuts[topic] < CUTS:
                    return None
                self._cutting.add(topic)
                if len(self._cutting) >= MOST_CUTTING:
                    self._cutting.update(self._suspects)
                    self._suspects.clear()
                self._retry_s = self._clock.monotonic() + RETRY_S
            missing |= left - self._cutting
            self._suspects = self._suspects[1:]
            if not stands():
                return None
        self._cuts.clear()
        return missing

    def _conclude(self, missing: Collection[str]) -> None:
        if self.undelivered != frozenset(missing):
            log.warning("mqtt.delivery", undelivered=len(missing), topics=len(self._topics))
        self.undelivered = frozenset(missing)

    async def _missing(
        self, topics: Collection[str], within_s: float, stands: Callable[[], bool]
    ) -> set[str]:
        """Those of which nothing came within the time, or before the connection ended."""
        self._expected = set(topics)
        for number, topic in enumerate(topics, 1):
            self._published_s = self._clock.monotonic()
            self._publish(topic)
            if number % AT_ONCE == 0:
                await self._clock.sleep(BREATH_S)
        until_s = self._clock.monotonic() + within_s
        while self._expected and stands() and self._clock.monotonic() < until_s:
            await self._clock.sleep(POLL_S)
        missing, self._expected = self._expected, set()
        return missing

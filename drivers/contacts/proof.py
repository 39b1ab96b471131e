"""Proof that presses would come: the gateway's own message on each topic of presses has to come back from the broker.

A subscription that is granted is no right to read: mosquitto answers it with success and delivers nothing where the access list
forbids. Only a message on the very topic shows it, since a list may allow or deny each one by itself. The message is empty, at
QoS 0 and not retained: no format of a contact reads a press from an empty payload, the broker keeps none of it, and the feed
passes it on to nobody (:func:`is_proof`). What it cannot show is that the contact publishes there and may: press each contact.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import structlog

from gateway.ports import Clock, ContactMessage

log = structlog.get_logger(__name__)

#: With two answers waited for, a change of the broker's permissions is known within 25 + 2 * 10 s, which is below a minute.
EVERY_S = 25.0
AGAIN_S = 10.0  # while something is not delivered: soon well again once it is mended
ANSWER_S = 10.0
AT_ONCE = 50  # messages before the loop and the broker get their breath
BREATH_S = 0.05
POLL_S = 0.1


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
        #: Topics whose message did not come back at the last try.
        self.undelivered: frozenset[str] = frozenset()

    def came(self, topic: str) -> None:
        """Something was delivered on a topic: whatever it is, it proves as much as the gateway's own."""
        self._expected.discard(topic)

    async def run(self, connection: Callable[[], int | None]) -> None:
        """Prove every topic at each new connection and every 25 s, until cancelled. ``connection`` is a number for the one that
        stands, ``None`` while there is none: nothing is concluded from a message that was cut off."""
        proved: int | None = None
        next_s = 0.0
        while True:
            number = connection()
            if number is not None and (number != proved or self._clock.monotonic() >= next_s):
                missing = await self._missing(self._topics)
                if missing and connection() == number:
                    missing = await self._missing(missing)
                if connection() == number:
                    proved = number
                    self._conclude(missing)
                    next_s = self._clock.monotonic() + (AGAIN_S if missing else EVERY_S)
            await self._clock.sleep(POLL_S)

    def _conclude(self, missing: Collection[str]) -> None:
        if self.undelivered != frozenset(missing):
            log.warning("mqtt.delivery", undelivered=len(missing), topics=len(self._topics))
        self.undelivered = frozenset(missing)

    async def _missing(self, topics: Collection[str]) -> list[str]:
        self._expected = set(topics)
        for number, topic in enumerate(topics, 1):
            self._publish(topic)
            if number % AT_ONCE == 0:
                await self._clock.sleep(BREATH_S)
        until_s = self._clock.monotonic() + ANSWER_S
        while self._expected and self._clock.monotonic() < until_s:
            await self._clock.sleep(POLL_S)
        missing, self._expected = sorted(self._expected), set()
        return missing

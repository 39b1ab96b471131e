"""The broker: what contacts publish, and what is published for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactMessage:
    """One message of a contact as the transport brought it, unread.

    ``mid`` and ``redelivered`` are MQTT's packet id and DUP flag; ``arrived_at`` is our clock. Calling ``acknowledge`` tells the
    transport that the message is safe: only after the commit, from the loop's thread, harmless when repeated
    or when the connection is gone. ``connected`` says whether the connection that brought it still stands. ``qos`` is that of
    its publish, at most that of our subscription (1). ``connected_at`` is when that connection was made, ``None`` if unknown:
    before it, the message may have waited at the transport.
    """

    topic: str
    payload: bytes
    retained: bool
    redelivered: bool
    mid: int
    arrived_at: datetime
    acknowledge: Callable[[], None]
    connected: Callable[[], bool] = lambda: False
    qos: int = 1
    connected_at: datetime | None = None


class Publisher(Protocol):
    """Tells something in the school: the same broker the contacts publish to."""

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Publish once; returns when the broker has it (at QoS 1 by its word). ``Unavailable`` if it is not connected or has not
        answered within 5 s: then the message may have arrived all the same. Nothing is queued for later.
        Cancellation-safe."""


class ContactFeed(Protocol):
    """Where contact messages come from: one broker connection with a session that outlives it."""

    async def run(self, receive: Callable[[ContactMessage], None]) -> None:
        """Stay connected and hand every message to ``receive`` (which must not block) until cancelled.
        Reconnects for ever; raises only what a person must mend."""

    @property
    def armed(self) -> bool:
        """Whether every topic is subscribed on a live connection (at least once confirmed by the broker)."""

    @property
    def cause(self) -> str:
        """Why it is not connected now; empty when it is."""

"""Starts: when a contact's device, and the program that speaks for all of its contacts, was last heard starting.

A device that starts tells its inputs before they have settled, and a bridge tells what it kept: neither is a push. Only live
words are taken; the broker's kept copy says that something is there, and not since when. Nothing is kept over a restart of ours,
and what is not known makes nothing less of a press.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from gateway.domain.errors import Malformed
from gateway.domain.plan import ContactSource, Point
from gateway.ports.contacts import ContactMessage

#: A device that has just started is believed an opening only if it still stands after :data:`SETTLES_S`.
JUST_STARTED = timedelta(seconds=10)
SETTLES_S = 1.0


class Starts:
    """Hears the messages on :attr:`topics`, and is asked by intake."""

    def __init__(
        self, points: Sequence[Point] = (), decode: Callable[[bytes], bool | None] = lambda _payload: None
    ) -> None:
        """``decode`` reads a liveness payload: whether it says *online*."""
        self._decode = decode
        self._words: set[str] = set()
        self._announced: dict[str, str] = {}
        for point in points:
            source = point.source
            if source is None:
                continue
            self._words |= {t for t in (source.liveness_topic, source.bridge_topic) if t is not None}
            for topic in source.announce_topics:
                self._announced[topic] = source.device
        #: Where a device announces itself, beside the topics of liveness.
        self.announce_topics: frozenset[str] = frozenset(self._announced)
        self._at: dict[str, datetime] = {}

    def hear(self, message: ContactMessage) -> None:
        """Take note of a message on any topic; it may be for others as well."""
        topic = message.topic
        if message.retained:
            return
        if topic in self._words:
            try:
                if self._decode(message.payload):
                    self._at[topic] = message.arrived_at
            except Malformed:
                return
        elif topic in self._announced:
            device = _named(message.payload) or self._announced[topic]
            if device:
                self._at[f"device {device}"] = message.arrived_at

    def bridge_online_at(self, source: ContactSource) -> datetime | None:
        """When the bridge that speaks for the contact last came online."""
        return None if source.bridge_topic is None else self._at.get(source.bridge_topic)

    def device_at(self, source: ContactSource) -> datetime | None:
        """When the contact's own device last came online or announced itself. Never of one that a bridge speaks for: the bridge
        calls it online because it said something, which may be that it was pressed."""
        if source.bridge_topic is not None:
            return None
        keys = (source.liveness_topic or "", f"device {source.device}")
        return max((self._at[key] for key in keys if key in self._at), default=None)

    def just(self, source: ContactSource, at: datetime) -> bool:
        """Whether the device had just started at that moment."""
        since = self.device_at(source)
        return since is not None and timedelta(0) <= at - since <= JUST_STARTED


def _named(payload: bytes) -> str:
    """The name in an announcement, where it has one."""
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    name = document.get("id") if isinstance(document, dict) else None
    return name if isinstance(name, str) else ""

"""Doubting: what contacts said that may keep a press of them from being heard becomes a fault, and a word on the point.

What is remembered of a contact lies in the database, written with its messages; this looks at it every few seconds and stands
nowhere on the way of a press.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import structlog

from gateway.domain.contact import Memory
from gateway.domain.doubt import doubts
from gateway.domain.errors import Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.plan import ContactSource, Point
from gateway.domain.words import unpressing
from gateway.ports.clock import Clock
from gateway.ports.store import Store

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0

Found = tuple[tuple[FaultKind, str], str]


class Doubting:
    """The stage. ``run`` looks until cancelled; ``found`` and ``words`` are asked by others."""

    def __init__(
        self, *, store: Store, clock: Clock, points: Sequence[Point], stamp: Callable[..., str]
    ) -> None:
        """``stamp`` writes a moment as people of the school read it."""
        self._store = store
        self._clock = clock
        self._points = [point for point in points if point.source is not None]
        self._stamp = stamp
        self._causes: dict[str, list[tuple[str, str]]] = {}
        self._words: dict[str, list[str]] = {}
        self._copied: dict[str, datetime] = {}

    def found(self) -> Iterator[Found]:
        """Every doubt there is now, as a fault of its contact."""
        for causes in self._causes.values():
            for subject, cause in causes:
                yield (FaultKind.CONTACT, subject), cause

    def causes(self, point: str) -> list[str]:
        """The same of one point, for the API."""
        return [cause for _, cause in self._causes.get(point, ())]

    def words(self, point: str) -> list[str]:
        """The words that were heard of the point and are no press, newest first."""
        return self._words.get(point, [])

    def copied_at(self, point: str) -> datetime | None:
        """When a press of the point was last taken for a copy."""
        return self._copied.get(point)

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except Unavailable as exc:
                log.error("doubting.cannot_look", cause=exc.reason)
            await self._clock.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look at all that is remembered."""
        memories, opened = await self._store.read(
            lambda tx: (tx.inbox.memories(), {alarm.point for alarm in tx.alarms.open()})
        )
        now = self._clock.now()
        causes: dict[str, list[tuple[str, str]]] = {}
        words: dict[str, list[str]] = {}
        copied: dict[str, datetime] = {}
        on_topics = by_topic(self._points)
        for point in self._points:
            assert point.source is not None
            on_topic = on_topics[point.source.topic]
            mine = remembered_of(point.source, memories)
            causes[point.id] = [
                doubt
                for memory in mine
                for doubt in doubts(
                    point,
                    memory,
                    now=now,
                    alarm_open=point.id in opened,
                    stamp=self._stamp,
                    on_topic=on_topic,
                )
            ]
            words[point.id] = words_of(mine, point, on_topic)
            dropped = [memory.dropped[1] for memory in mine if memory.dropped is not None]
            if dropped:
                copied[point.id] = max(dropped)
        self._causes, self._words, self._copied = causes, words, copied


def remembered_of(source: ContactSource, memories: Mapping[str, Memory]) -> list[Memory]:
    """What is remembered of a source and of each input of its device that it hears."""
    return [
        memory for key, memory in memories.items() if key == source.key or key.startswith(f"{source.key}\n")
    ]


def by_topic(points: Iterable[Point]) -> dict[str, list[Point]]:
    """The points on each topic, in their order."""
    on_topics: dict[str, list[Point]] = {}
    for point in points:
        if point.source is not None:
            on_topics.setdefault(point.source.topic, []).append(point)
    return on_topics


def words_of(memories: Sequence[Memory], point: Point, on_topic: Sequence[Point]) -> list[str]:
    """Words that are no press of the point by the site file of now, newest first."""
    said = {w: at for memory in memories for w, at in unpressing(memory, point, on_topic).items()}
    return sorted(said, key=lambda word: said[word], reverse=True)

"""Watching: whether each contact would be heard. Liveness topics, silence, batteries and opened housings become faults.

It stands beside the way of a press and never on it: intake tells what it heard after it has acknowledged, and what comes on
liveness topics never reaches intake. Such a message may be the broker's kept copy: it is a state, used as one, and nothing
here can raise an alarm. What contacts told is kept in the database, a minute late at most, since it only saves asking again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

import structlog

from gateway.domain.contact import Signal
from gateway.domain.errors import Malformed
from gateway.domain.fault import FaultKind
from gateway.domain.liveness import NEVER_HEARD, SETTLED_S, UNTOLD, Hearing, Seen, Word, wrong
from gateway.domain.plan import Point
from gateway.ports.clock import Clock
from gateway.ports.contacts import ContactMessage
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

TICK_S = 1.0
KEEP_EVERY_S = 60.0
LONGEST_TICK_S = 10.0  # a process that stood still was not listening meanwhile
MOST_NAMED = 10  # points that a fault names
#: What a broker keeps comes at once; ours: after a power cut a bridge or a device is back within this.
UNTOLD_S = 300.0
#: Subscriptions are answered, and what is kept comes, before the connection counts as standing.
BEFORE_ARMED_S = 30.0

Found = tuple[FaultKind, str]


class Watching:
    """The stage. ``saw`` and ``receive`` take what arrives, ``found`` is asked by supervising, ``run`` keeps the time."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        points: Sequence[Point],
        decode: Callable[[bytes], bool | None],
        armed: Callable[[], bool],
        refused: Callable[[], Collection[str]],
        undelivered: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """``undelivered`` are topics of presses of which the broker delivers nothing to the gateway."""
        self._store = store
        self._clock = clock
        self._points = {point.id: point for point in points if point.source is not None}
        self._unread = [point.id for point in points if point.source is None]
        self._decode = decode
        self._armed = armed
        self._refused = refused
        self._undelivered = undelivered
        self._at_topic: dict[str, list[str]] = defaultdict(list)
        presses = {p.source.topic for p in points if p.source is not None}
        for point in self._points.values():
            assert point.source is not None
            for topic in (point.source.liveness_topic, point.source.bridge_topic):
                if topic is not None and topic not in presses:  # where both are meant, the press wins
                    self._at_topic[topic].append(point.id)
        #: Where liveness is told. A message on one of these is for :meth:`receive`.
        self.topics: frozenset[str] = frozenset(self._at_topic)
        self._words: dict[str, Word] = {}
        self._told_s: dict[str, float] = {}  # when anything came, by topic
        self._seen: dict[str, Seen] = {}
        self._changed: set[str] = set()
        self._early: list[Callable[[], None]] = []
        self._ready = False
        self._held: dict[Found, str] = {}
        self._listened_s = 0.0
        self._armed_since_s: float | None = None
        self._settled = False

    # What arrives.

    def saw(
        self,
        points: Sequence[Point],
        signals: Sequence[Signal],
        message: ContactMessage,
        unreadable: str | None = None,
        elsewhere: bool = False,
    ) -> None:
        """A contact's message was admitted. Of the broker's kept copy only the QoS of its publish is of use. ``unreadable`` is
        why nothing of the message could be understood; ``elsewhere``: all of it tells of other inputs of the device."""
        if not self._ready:
            self._early.append(partial(self.saw, points, signals, message, unreadable, elsewhere))
            return
        if not message.payload:
            return  # it says nothing, not even that the contact publishes as it should
        for point in points:
            before = self._seen[point.id]
            if message.retained:
                after = before.retained(at=message.arrived_at, qos=message.qos, unreadable=unreadable)
            else:
                after = before.heard(
                    signals,
                    at=message.arrived_at,
                    qos=message.qos,
                    listened_s=self._listened_s,
                    unreadable=unreadable,
                    elsewhere=elsewhere,
                )
            if after != before:
                self._note(point.id, after, before)

    def receive(self, message: ContactMessage) -> None:
        """Take a message on one of :attr:`topics`; never blocks. Nothing is committed, so it is acknowledged at once: the
        broker keeps the state and tells it again at every connection."""
        message.acknowledge()
        if message.payload:
            self._told_s[message.topic] = self._clock.monotonic()
        try:
            online = self._decode(message.payload)
        except Malformed as exc:
            log.warning("contact.liveness_unreadable", topic=message.topic, cause=str(exc))
            return
        before = self._words.get(message.topic)
        if online is None:
            self._words.pop(message.topic, None)
        elif before is None or before.online is not online:
            self._words[message.topic] = Word(
                online=online, since_s=self._clock.monotonic(), at=message.arrived_at
            )
            log.info("contact.liveness", topic=message.topic, online=online, kept=message.retained)
        if online and not message.retained:
            self._alive(message)

    def _alive(self, message: ContactMessage) -> None:
        """A word of the contact itself, said now, ends its silence; a bridge speaks for nobody's battery."""
        if not self._ready:
            self._early.append(partial(self._alive, message))
            return
        for id_ in self._at_topic[message.topic]:
            source = self._points[id_].source
            if source is not None and source.liveness_topic == message.topic:
                before = self._seen[id_]
                self._note(id_, before.alive(message.arrived_at, self._listened_s), before)

    def _note(self, point: str, after: Seen, before: Seen) -> None:
        self._seen[point] = after
        self._changed.add(point)
        now = self._clock.now()
        if _states(after, now) != _states(before, now):
            self._keep()

    # What is asked.

    def found(self) -> Iterator[tuple[Found, str]]:
        """Every fault of a contact there is now."""
        if not self._settled:
            yield from self._held.items()
        if not self._ready:
            return
        for point in self._points.values():
            for subject, cause in self._wrong(point):
                yield (FaultKind.CONTACT, subject), cause
        unheard = self.hearing()[Hearing.UNHEARD]
        if unheard and self._stands():
            more = f" and {len(unheard) - MOST_NAMED} more" if len(unheard) > MOST_NAMED else ""
            yield (
                (FaultKind.CONTACT, "unheard"),
                f"{len(unheard)} of {len(self._points)} contacts were never heard when this was found "
                f"({', '.join(unheard[:MOST_NAMED])}{more}): nobody knows whether a press of them arrives; press each once, or "
                "its test; which are left, GET /api/v1/points says (health.state)",
            )
        untold = self._untold()
        if untold:
            more = f" and {len(untold) - MOST_NAMED} more" if len(untold) > MOST_NAMED else ""
            yield (
                (FaultKind.CONTACT, "untold"),
                f"{len(untold)} of {len(self._points)} contacts ({', '.join(list(untold)[:MOST_NAMED])}{more}): "
                + UNTOLD.format(topics=next(iter(untold.values()))),
            )
        refused = sorted(self.topics & set(self._refused()))
        if refused:
            yield (
                (FaultKind.BROKER, "liveness"),
                f"the broker refuses subscriptions to {len(refused)} liveness topics ({refused[0]} …): whether those "
                "contacts are there is not known; check its access list",
            )

    def _untold(self) -> dict[str, str]:
        """Points of which nothing came on any of their liveness topics since the connection stands, with those topics: nothing is
        kept there, or the broker's list hides it, which a subscription that is granted does not show."""
        since_s = self._armed_since_s
        if since_s is None or self._clock.monotonic() - since_s < UNTOLD_S:
            return {}
        refused, found = set(self._refused()), {}
        for id_, point in self._points.items():
            assert point.source is not None
            topics = [
                t for t in (point.source.liveness_topic, point.source.bridge_topic) if t in self._at_topic
            ]
            told = any(self._told_s.get(str(t), float("-inf")) >= since_s - BEFORE_ARMED_S for t in topics)
            if topics and not told and not refused.issuperset(topics):
                found[id_] = ", ".join(map(str, topics))
        return found

    def hearing(self) -> dict[Hearing, list[str]]:
        """Points by what their topics brought. One whose source this version does not read is never heard."""
        found: dict[Hearing, list[str]] = {state: [] for state in Hearing}
        now = self._clock.now()
        for id_ in self._points:
            found[self._seen.get(id_, Seen()).hearing(now)].append(id_)
        found[Hearing.UNHEARD] += self._unread
        return found

    def health(self) -> dict[str, Mapping[str, object]]:
        """Per point what is known of it now, for the API."""
        told: dict[str, Mapping[str, object]] = {
            id_: {
                "causes": ["this version does not read its source: none of its presses is heard"],
                "state": Hearing.UNHEARD.value,
            }
            for id_ in self._unread
        }
        undelivered, untold, now = self._undelivered(), self._untold(), self._clock.now()
        for id_, point in self._points.items():
            assert point.source is not None
            word, seen = self._word(point.source.liveness_topic), self._seen.get(id_, Seen())
            causes = [cause for _, cause in self._wrong(point)]
            if point.source.topic in undelivered:
                causes.append(
                    f"the broker delivers nothing of {point.source.topic} to the gateway (fault broker:delivery)"
                )
            if id_ in untold:
                causes.append(UNTOLD.format(topics=untold[id_]))
            if seen.hearing(now) is Hearing.UNHEARD:
                causes.append(NEVER_HEARD.format(topic=point.source.topic))
            told[id_] = {
                "causes": causes,
                "state": seen.hearing(now).value,
                "unreadable": None
                if seen.unread_at is None
                else {"at": seen.unread_at, "reason": seen.unread},
                "online": word.online if word else None,
                "online_since": word.at if word else None,
                "qos": seen.qos,
            }
        return told

    def last_seen(self) -> dict[str, Mapping[str, object]]:
        """Per point what it last told of itself, for the API."""
        return {
            id_: {
                "at": seen.at,
                "battery": seen.battery,
                "tamper": None if seen.tamper_at is None else seen.tampered,
                "test": seen.test_at,
            }
            for id_, seen in self._seen.items()
        }

    def _wrong(self, point: Point) -> Iterator[tuple[str, str]]:
        assert point.source is not None
        return wrong(
            point,
            self._seen.get(point.id, Seen()),
            device=self._word(point.source.liveness_topic),
            bridge=self._word(point.source.bridge_topic),
            now=self._clock.now(),
            now_s=self._clock.monotonic(),
            listened_s=self._listened_s if self._stands() else None,
        )

    def _word(self, topic: str | None) -> Word | None:
        return None if topic is None else self._words.get(topic)

    def _stands(self) -> bool:
        """Whether the broker's connection has stood long enough for what waited there to have arrived."""
        since_s = self._armed_since_s
        return since_s is not None and self._clock.monotonic() - since_s >= SETTLED_S

    # The time.

    async def run(self) -> None:
        """Count the time that is listened, and keep what was seen, until cancelled."""
        await self._load()
        last_s = kept_s = self._clock.monotonic()
        try:
            while True:
                await self._clock.sleep(TICK_S)
                now_s = self._clock.monotonic()
                if not self._armed():
                    self._armed_since_s = None
                elif self._armed_since_s is None:
                    self._armed_since_s = now_s
                else:
                    self._listened_s += min(now_s - last_s, LONGEST_TICK_S)
                self._settled = self._settled or self._stands()
                last_s = now_s
                if now_s - kept_s >= KEEP_EVERY_S:
                    kept_s = now_s
                    self._keep()
        finally:
            self._keep()

    async def _load(self) -> None:
        """What is known from before. Faults of before stand until the broker was listened to for a moment: a gateway that
        starts beside a dead broker knows nothing better."""
        if self._ready:
            return
        seen, self._listened_s, faults = await self._store.read(
            lambda tx: (tx.contacts.seen(), tx.contacts.listened_s(), tx.faults.open())
        )
        for id_, point in self._points.items():
            assert point.source is not None
            # One never heard of, or not from where it is heard now, is silent from the day that is first in the plan.
            before = seen.get(id_) or Seen(heard_s=self._listened_s)
            self._seen[id_] = before.of(point.source, self._listened_s)
        self._changed = {id_ for id_, told in self._seen.items() if told != seen.get(id_)}
        self._held = {(f.kind, f.subject): f.cause for f in faults if f.kind is FaultKind.CONTACT}
        self._ready = True
        early, self._early = self._early, []
        for tell in early:
            tell()
        self._keep()

    def _keep(self) -> None:
        if not self._ready:
            return
        seen = {id_: self._seen[id_] for id_ in self._changed}
        self._changed.clear()
        if seen or any(p.source and p.source.silent_after_s for p in self._points.values()):
            self._store.write_later(partial(_kept, seen=seen, listened_s=self._listened_s))


def _states(seen: Seen, now: datetime) -> tuple[object, ...]:
    """What of it is worth a write at once."""
    return seen.battery_low, seen.tampered, seen.hearing(now)


def _kept(tx: Transaction, *, seen: Mapping[str, Seen], listened_s: float) -> None:
    tx.contacts.keep(seen, listened_s)


def not_yet_told(hearing: Mapping[Hearing, Sequence[str]]) -> frozenset[Found]:
    """What will be a fault once the broker was listened to for a moment: contacts that were never heard. A start does not say
    meanwhile that all is well."""
    return frozenset({(FaultKind.CONTACT, "unheard")} if hearing[Hearing.UNHEARD] else ())

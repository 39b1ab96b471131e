"""Intake: a contact's message becomes an alarm, or is told apart from one, before the broker hears that it arrived.

Order of every admission, in one transaction: is it the same press again? — is it a press at all? — alarm, evidence
wanted, message due. Commit. Then acknowledge, then wake the other stages. A crash before the commit: the broker
sends again. After it: identity, or the redelivery rule, stops the second.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

import structlog

from gateway.alarm.admission import Outcome, admit
from gateway.alarm.decision import Incoming, PointSignals, Verdict, signals_of
from gateway.alarm.edges import Edges
from gateway.alarm.flood import FOLD_S, Flood, meaning_of
from gateway.alarm.starts import SETTLES_S, Starts
from gateway.domain.contact import Signal, SignalKind
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import Malformed, Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.message import Message
from gateway.domain.misread import reads_as
from gateway.domain.plan import Point
from gateway.domain.words import counted
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.ports.contacts import ContactMessage
from gateway.ports.store import Store, Transaction

log = structlog.get_logger(__name__)

RETRY_COMMIT_S = 1.0
NOTHING = b"\0 \t\r\n"
SEED_BYTES = 32
HELD_BACK_MOST = (
    12  # of the 20 that brokers send before one is acknowledged, where nobody has configured more
)
HEARD_AFTER_S = (
    60.0  # a connection that stands so long after an acknowledgement has carried it: keep-alive is 15 s
)


Saw = Callable[[Sequence[Point], Sequence[Signal], ContactMessage, str | None, bool], None]


class _Rehearsed(Exception):
    """Takes back what a rehearsal wrote."""


class Intake:
    """The stage. ``receive`` is the contact feed's door; ``run`` does the work until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        envelopes: Envelopes,
        cameras: CameraBank,
        codecs: Mapping[str, Callable[..., list[Signal]]],
        points: Sequence[Point],
        offer: Callable[[Message], None],
        wake_gathering: Callable[[], None],
        armed: Callable[[str], bool] = lambda point: False,
        saw: Saw = lambda *_: None,
        starts: Starts | None = None,
    ) -> None:
        """``armed`` says of a point whether there may be a drill window for it: no press pays a look-up otherwise. ``saw`` hears
        of every message once it is acknowledged, then why nothing of it could be understood, or ``None``, and whether all of it
        is of other inputs than the point's: what is watched of a contact is none of a press's business. ``starts`` knows when
        devices and bridges started."""
        self._store = store
        self._clock = clock
        self._starts = starts or Starts()
        self._envelopes = envelopes
        self._cameras = cameras
        self._armed = armed
        self._codecs = codecs
        self._offer = offer
        self._wake_gathering = wake_gathering
        self._saw = saw
        self._at_topic: dict[str, list[Point]] = {}
        for point in points:
            if point.source is not None:
                self._at_topic.setdefault(point.source.topic, []).append(point)
        self._edges = Edges()
        self._flood = Flood(clock.monotonic)
        self._early: list[ContactMessage] = []
        self._admissions: asyncio.TaskGroup | None = None
        # Packet ids under which a message is kept. An acknowledgement can be lost on the way, so a DUP is only known to be
        # another message once the broker has used the id again.
        self._kept_mids: set[int] = set()
        self._acknowledged: dict[int, tuple[float, ContactMessage]] = {}
        self._held_back: deque[ContactMessage] = deque()
        self.admitted_total = 0
        self.quarantined_total = 0

    @property
    def topics(self) -> list[str]:
        """Every topic a point is wired to."""
        return list(self._at_topic)

    def receive(self, message: ContactMessage) -> None:
        """Take a message for admission; never blocks. The broker's in-flight limit bounds how many are under way."""
        if self._admissions is None:
            self._early.append(message)
        elif self._flood.over(message.topic) and message.topic in self._at_topic:
            self._fold(self._admissions, message)
        else:
            self._admissions.create_task(self._admit(message))

    def found(self) -> Iterator[tuple[tuple[FaultKind, str], str]]:
        """Contacts that say more than contacts do."""
        return self._flood.found(self._at_topic)

    def _fold(self, admissions: asyncio.TaskGroup, message: ContactMessage) -> None:
        """Of a topic in flood: acknowledge at once what a newer message of the same meaning stands for."""
        points = self._at_topic[message.topic]
        signals, unreadable = self._read(points, message)
        is_first, replaced = self._flood.fold(message, meaning_of(signals, unreadable))
        if replaced is not None:
            self._used_again(replaced)
            replaced.acknowledge()
        if is_first:
            admissions.create_task(self._unfold(message.topic))

    def _used_again(self, message: ContactMessage) -> None:
        """The broker used the packet id of a message that is kept, so that one was heard."""
        if message.mid in self._kept_mids:
            self._kept_mids.discard(message.mid)
            self._store.write_later(partial(_settled, mid=message.mid))

    async def _unfold(self, topic: str) -> None:
        """Admit what is gathered of a topic in flood, every :data:`FOLD_S`, until nothing is."""
        while True:
            await self._clock.sleep(FOLD_S)
            folded = self._flood.take(topic)
            if not folded:
                return
            for one in folded:
                await self._admit(one.message, one.times)

    async def run(self) -> None:
        """Admit messages in their order. Several admissions may wait for the disk together and share a commit."""
        self._kept_mids = await self._store.read(lambda tx: tx.inbox.unsettled())
        async with asyncio.TaskGroup() as admissions:
            admissions.create_task(self._rehearse(), name="rehearse")
            early, self._early = self._early, []
            self._admissions = admissions
            for message in early:
                self.receive(message)
            try:
                await self._settle()
            finally:
                self._admissions = None  # what comes now is not acknowledged, and so comes again

    async def _rehearse(self) -> None:
        """Go the way of a press once and take it back, so that the first real one does not wait for statements to be
        compiled and time zones to be read: a tenth of a second on a small box."""
        points = next(iter(self._at_topic.values()), None)
        if points is None:
            return
        now = self._clock.now()
        presses = [
            self._incoming(
                ContactMessage(
                    topic="",
                    payload=payload,
                    retained=False,
                    redelivered=True,
                    mid=0,
                    arrived_at=now,
                    acknowledge=lambda: None,
                ),
                points[:1],
                [Signal(kind=SignalKind.PRESSED)],
            )
            for payload in (b"an alarm", b"its repetition")
        ]
        with suppress(_Rehearsed, Unavailable):
            await self._store.write(partial(_rehearse, presses=presses, envelopes=self._envelopes))

    async def _settle(self) -> None:
        """What was acknowledged long ago on a connection that still stands has been heard: a DUP under its packet id is
        another message, even if the broker lost count of its ids meanwhile."""
        while True:
            await self._clock.sleep(HEARD_AFTER_S)
            now = self._clock.monotonic()
            for mid, (at, message) in list(self._acknowledged.items()):
                if now - at < HEARD_AFTER_S:
                    continue
                del self._acknowledged[mid]
                if message.connected():
                    self._kept_mids.discard(mid)
                    self._store.write_later(partial(_settled, mid=mid))

    async def _admit(self, message: ContactMessage, times: int = 1) -> None:
        points = self._at_topic.get(message.topic)
        if not points:
            message.acknowledge()  # a subscription of an earlier site file that the broker still keeps
            log.info("contact.unknown_topic", topic=message.topic)
            return
        signals, unreadable = self._read(points, message)
        self._edges.hear(message.topic, signals)
        if self._must_stand(points, message, signals):
            signals = await self._what_stands(message, signals)
        outcome = await self._commit(message, points, signals, unreadable, times)
        # First the alert, then the broker: both are due, and the alert is what somebody waits for.
        await self._publish(outcome)
        self._remember_id(message, outcome)
        if self._store.durable:
            message.acknowledge()
        else:
            self._hold_back(message)
        if outcome.messages:
            self._wake_gathering()
        self._report(message, points, signals, unreadable)
        if outcome.verdict is Verdict.PRESS:
            self.admitted_total += len(outcome.messages)
        elif outcome.verdict is Verdict.QUARANTINED:
            self.quarantined_total += 1
        log.info(
            "contact.message",
            topic=message.topic,
            outcome=outcome.verdict.value,
            alarm_id=outcome.alarm.id if outcome.alarm else None,
        )

    async def _commit(
        self,
        message: ContactMessage,
        points: Sequence[Point],
        signals: Sequence[Signal],
        unreadable: str | None,
        times: int,
    ) -> Outcome:
        """Decide and write, until the database takes it."""
        seed = secrets.token_bytes(
            SEED_BYTES
        )  # decided again after a commit that failed, it is the same alarm
        while True:
            incoming = self._incoming(message, points, signals, unreadable=unreadable, times=times)
            try:
                return await self._store.write(
                    partial(admit, incoming=incoming, envelopes=self._envelopes, seed=seed)
                )
            except Unavailable as exc:
                # Not acknowledged: the broker keeps it too. We keep trying, since the disk may come back.
                log.error("intake.cannot_commit", topic=message.topic, cause=exc.reason)
                await self._clock.sleep(RETRY_COMMIT_S)

    def _incoming(
        self,
        message: ContactMessage,
        points: Sequence[Point],
        signals: Sequence[Signal],
        *,
        unreadable: str | None = None,
        times: int = 1,
    ) -> Incoming:
        """The message and all that is known beside it now, as values: it is decided on the database's thread."""
        return Incoming(
            message=message,
            signals=signals,
            at=[
                PointSignals(
                    point=point,
                    source=point.source,
                    signals=counted(part, point.source.presses),
                    maybe_armed=self._armed(point.id),
                    bridge_online_at=self._starts.bridge_online_at(point.source),
                    started_at=self._starts.device_at(point.source),
                )
                for point, part in zip(points, signals_of(points, signals), strict=True)
                if point.source is not None
            ],
            unreadable=unreadable,
            mid_in_use=message.mid in self._kept_mids,
            times=times,
            read_at=self._clock.now(),
            health=self._cameras.health(),
        )

    async def _publish(self, outcome: Outcome) -> None:
        """Offer the alert to delivering; its attempt begins before anything else is done here."""
        for message in outcome.messages:
            self._offer(message)
        await self._clock.sleep(0)

    def _remember_id(self, message: ContactMessage, outcome: Outcome) -> None:
        if outcome.stored:
            self._kept_mids.add(message.mid)
            self._acknowledged[message.mid] = (self._clock.monotonic(), message)
        elif outcome.verdict is not Verdict.REDELIVERED:
            self._kept_mids.discard(message.mid)

    def _report(
        self,
        message: ContactMessage,
        points: Sequence[Point],
        signals: Sequence[Signal],
        unreadable: str | None,
    ) -> None:
        """Report to whoever watches the contacts what was heard of each."""
        for point, mine in zip(points, signals_of(points, signals), strict=True):
            told = [signal for signal in signals if signal.input is None or signal in mine]
            elsewhere = bool(signals) and not told
            self._saw([point], signals, message, unreadable or self._unread(point, message, told), elsewhere)

    def _hold_back(self, message: ContactMessage) -> None:
        """The alert is on its way and its alarm is in memory only: the broker keeps the press until it is on disk. No more of
        them than leave room among the messages that a broker sends before the first is acknowledged."""
        assert self._admissions is not None
        self._held_back.append(message)
        if len(self._held_back) == 1:
            self._admissions.create_task(self._acknowledge_when_durable(), name="until durable")
        elif len(self._held_back) > HELD_BACK_MOST:
            self._held_back.popleft().acknowledge()

    async def _acknowledge_when_durable(self) -> None:
        await self._store.until_durable()
        while self._held_back:
            self._held_back.popleft().acknowledge()

    def _must_stand(
        self, points: Sequence[Point], message: ContactMessage, signals: Sequence[Signal]
    ) -> bool:
        """An input that has not settled reads open, so only an opening that would be a press has to stand. A short closing of a
        normally open contact is a push, also just after its device came online."""
        source = points[0].source
        assert source is not None
        opens = any(signal.kind is SignalKind.OPENED for signal in signals)
        return (
            opens
            and any(point.source is not None and not point.source.normally_open for point in points)
            and not message.retained
            and Edges.only(signals)
            and self._starts.just(source, message.arrived_at)
        )

    async def _what_stands(self, message: ContactMessage, signals: list[Signal]) -> list[Signal]:
        """What of a device that has just started still stands a moment later. Not acknowledged meanwhile: should we end, it
        comes again."""
        held = self._edges.hold(message.topic, signals)
        try:
            await self._clock.sleep(SETTLES_S)
        finally:
            self._edges.release(message.topic, held)
        return held.standing()

    def _read(self, points: Sequence[Point], message: ContactMessage) -> tuple[list[Signal], str | None]:
        source = points[0].source
        assert source is not None
        if not message.payload.strip(NOTHING) and not message.retained:
            return [], None  # an empty payload clears a retained one, or a word of before: it says nothing
        try:
            codec = self._codecs[source.format]
            if source.attribute is not None:
                return codec(message.payload, source.attribute), None
            return codec(message.payload), None
        except Malformed as exc:
            return [], reads_as(message.payload, source.format, self._codecs) + str(exc)
        except Exception as exc:
            # A fault of ours. Raised, it would end the process, and the broker would send the same message again for ever.
            log.exception("contact.codec_failed", topic=message.topic, format=source.format)
            return [], f"the codec {source.format} failed: {exc!r}"

    def _unread(self, point: Point, message: ContactMessage, signals: Sequence[Signal]) -> str | None:
        """What a message looks like of which nothing was understood; ``None`` if anything was."""
        forms = [s.word for s in signals if s.kind is SignalKind.UNREAD]
        if not forms or len(forms) != len(signals) or point.source is None:
            return None
        return reads_as(message.payload, point.source.format, self._codecs) + forms[0]


def _settled(tx: Transaction, *, mid: int) -> None:
    tx.inbox.settle(mid)


def _rehearse(tx: Transaction, *, presses: Sequence[Incoming], envelopes: Envelopes) -> None:
    for press in presses:
        admit(tx, incoming=press, envelopes=envelopes, seed=secrets.token_bytes(SEED_BYTES))
    raise _Rehearsed

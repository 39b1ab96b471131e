"""Intake: a contact's message becomes an alarm, or is told apart from one, before the broker hears that it arrived.

Order of every admission, in one transaction: is it the same press again? — is it a press at all? — alarm, evidence
wanted, message due. Commit. Then acknowledge, then wake the other stages. A crash before the commit: the broker
sends again. After it: identity, or the redelivery rule, stops the second.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from gateway.domain.alarm import Alarm, Drill, plausible
from gateway.domain.contact import BOUNCE, NO_PRESS, Signal, SignalKind, heard_by, judge
from gateway.domain.drill import DrillWindow, counts_as_drill
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import InvariantBroken, Malformed, Unavailable
from gateway.domain.ids import ids_drawn_from
from gateway.domain.message import Message, MessageType
from gateway.domain.opening import open_alarm
from gateway.domain.plan import ContactSource, Point
from gateway.ports import CameraBank, Clock, ContactMessage, InboxEntry, Store, Transaction
from gateway.raising import raise_alarm

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


@dataclass(frozen=True, slots=True)
class _Admission:
    """What became of one message."""

    outcome: str
    alarm: Alarm | None = None
    kept: bool = False
    said: tuple[Message, ...] = ()


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
        codecs: Mapping[str, Callable[[bytes], list[Signal]]],
        points: Sequence[Point],
        offer: Callable[[Message], None],
        wake_gathering: Callable[[], None],
        armed: Callable[[str], bool] = lambda point: False,
        saw: Callable[[Sequence[Point], Sequence[Signal], ContactMessage, str | None], None] = lambda *_: (
            None
        ),
    ) -> None:
        """``armed`` says of a point whether there may be a drill window for it: no press pays a look-up otherwise. ``saw`` hears
        of every message once it is acknowledged, last why nothing of it could be understood, or ``None``: what is watched of a
        contact is none of a press's business."""
        self._store = store
        self._clock = clock
        self._envelopes = envelopes
        self._cameras = cameras
        self._codecs = codecs
        self._offer = offer
        self._wake_gathering = wake_gathering
        self._armed = armed
        self._saw = saw
        self._at_topic: dict[str, list[Point]] = {}
        for point in points:
            if point.source is not None:
                self._at_topic.setdefault(point.source.topic, []).append(point)
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
        else:
            self._admissions.create_task(self._admit(message))

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
        press = Signal(kind=SignalKind.PRESSED)

        def work(tx: Transaction) -> None:
            for payload in (b"an alarm", b"its repetition"):
                message = ContactMessage(
                    topic="",
                    payload=payload,
                    retained=False,
                    redelivered=True,
                    mid=0,
                    arrived_at=now,
                    acknowledge=lambda: None,
                )
                self._decide(tx, message, points[:1], [press], None)
            raise _Rehearsed

        with suppress(_Rehearsed, Unavailable):
            await self._store.write(work)

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

    async def _admit(self, message: ContactMessage) -> None:
        points = self._at_topic.get(message.topic)
        if not points:
            message.acknowledge()  # a subscription of an earlier site file that the broker still keeps
            log.info("contact.unknown_topic", topic=message.topic)
            return
        signals, unreadable = self._read(points, message)
        seed = secrets.token_bytes(
            SEED_BYTES
        )  # decided again after a commit that failed or hung, it is the same alarm

        def decided(tx: Transaction) -> _Admission:
            with ids_drawn_from(seed):
                return self._decide(tx, message, points, signals, unreadable)

        while True:
            try:
                done = await self._store.write(decided)
                break
            except Unavailable as exc:
                # Not acknowledged: the broker keeps it too. We keep trying, since the disk may come back.
                log.error("intake.cannot_commit", topic=message.topic, cause=exc.reason)
                await self._clock.sleep(RETRY_COMMIT_S)
        # First the alert, then the broker: both are due, and the alert is what somebody waits for.
        for said in done.said:
            self._offer(said)
        await self._clock.sleep(0)  # the alert's attempt begins before anything else is done here
        if done.kept:
            self._kept_mids.add(message.mid)
            self._acknowledged[message.mid] = (self._clock.monotonic(), message)
        elif done.outcome != "redelivered":
            self._kept_mids.discard(message.mid)
        if self._store.durable:
            message.acknowledge()
        else:
            self._hold_back(message)
        if done.said:
            self._wake_gathering()
        self._saw(points, signals, message, unreadable or _unread(signals))
        if done.outcome == "press":
            self.admitted_total += len(done.said)
        elif done.outcome == "quarantined":
            self.quarantined_total += 1
        alarm = done.alarm
        log.info(
            "contact.message",
            topic=message.topic,
            outcome=done.outcome,
            alarm_id=alarm.id if alarm else None,
        )

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

    def _read(self, points: Sequence[Point], message: ContactMessage) -> tuple[list[Signal], str | None]:
        source = points[0].source
        assert source is not None
        if not message.payload.strip(NOTHING) and not message.retained:
            return [], None  # an empty payload clears a retained one, or a word of before: it says nothing
        try:
            return self._codecs[source.format](message.payload), None
        except Malformed as exc:
            return [], str(exc)
        except Exception as exc:
            # A fault of ours. Raised, it would end the process, and the broker would send the same message again for ever.
            log.exception("contact.codec_failed", topic=message.topic, format=source.format)
            return [], f"the codec {source.format} failed: {exc!r}"

    def _decide(
        self,
        tx: Transaction,
        message: ContactMessage,
        points: Sequence[Point],
        signals: Sequence[Signal],
        unreadable: str | None,
    ) -> _Admission:
        digest = hashlib.sha256(message.payload).hexdigest()
        if message.redelivered and tx.inbox.redelivery(message.topic, digest, message.mid):
            return _Admission("redelivered")
        if message.redelivered or message.mid in self._kept_mids:
            tx.inbox.settle(message.mid)
        if unreadable is not None:
            tx.inbox.quarantine(message.topic, message.payload, unreadable, self._clock.now())
            return _Admission("quarantined")
        if all(s.kind in NO_PRESS for s in signals):
            return _Admission("no press")
        # Not asked of a retained copy, which never counts anyway. Both ways, since the clock may have been set back.
        bounce = (
            not any(s.event_id for s in signals)
            and not message.retained
            and tx.inbox.bounced(
                message.topic, digest, message.arrived_at - BOUNCE, message.arrived_at + BOUNCE
            )
        )
        alarm: Alarm | None = None
        said: list[Message] = []
        moved = False
        for point, mine in zip(points, self._heard(points, signals), strict=True):
            presses, changed = self._judge(tx, message, point, mine)
            moved = moved or changed
            for press in () if bounce else presses:
                pressed, told = self._press(tx, message, point, press, digest)
                if pressed is not None and told is not None:
                    alarm = pressed
                    said.append(told)
        kept = alarm is not None
        if moved and not kept and message.mid and not message.retained:
            # A DUP of it must not move the memory once more: it would tell of a state that is past.
            tx.inbox.admit(self._entry(message, digest, None, None))
            kept = True
        outcome = "press" if alarm else "bounce" if bounce else "no press"
        return _Admission(outcome, alarm, kept and message.mid != 0, tuple(said))

    @staticmethod
    def _heard(points: Sequence[Point], signals: Sequence[Signal]) -> list[Sequence[Signal]]:
        """What each of the points hears of one message."""
        inputs = [p.source.input if p.source else None for p in points]
        if inputs == [None]:
            return [signals]
        heard = [(heard_by(inputs, signal), signal) for signal in signals]
        return [[signal for numbers, signal in heard if n in numbers] for n in range(len(points))]

    @staticmethod
    def _judge(
        tx: Transaction, message: ContactMessage, point: Point, mine: Sequence[Signal]
    ) -> tuple[Sequence[Signal], bool]:
        """The signals that are presses of this point, and whether what is remembered has changed. That moves on even
        where a bounce is not counted."""
        source = point.source
        assert source is not None
        if all(s.kind is SignalKind.PRESSED for s in mine):
            # By the hardware's own word: needs no past, and spares the hot path a look-up.
            return ([] if message.retained else mine[:1]), False
        presses: Sequence[Signal] = ()
        moved = False
        for key, told in _by_memory(source, mine).items():
            before = tx.inbox.memory(key)
            judged = judge(
                before,
                told,
                normally_open=source.normally_open,
                retained=message.retained,
                arrived_at=message.arrived_at,
            )
            if judged.memory != before:
                moved = True
                tx.inbox.remember(key, judged.memory)
            presses = presses or judged.presses
        if not message.retained:
            # What a push says of itself besides the press must not count as another one when it comes once more.
            for signal in mine:
                if signal.event_id is not None and signal not in presses:
                    tx.inbox.note(_identity(source, signal.event_id), message.topic, message.arrived_at)
        return presses, moved

    def _press(
        self,
        tx: Transaction,
        message: ContactMessage,
        point: Point,
        press: Signal,
        digest: str,
    ) -> tuple[Alarm, Message] | tuple[None, None]:
        assert point.source is not None
        source = point.source
        identity = None if press.event_id is None else _identity(source, press.event_id)
        now = message.arrived_at
        pressed_at = plausible(press.at, now)
        windows = tx.windows.standing(now, point.id) if self._armed(point.id) else []
        drill = self._drilled(tx, windows, message, point, pressed_at)
        alarm = open_alarm(self._envelopes.site, point, pressed_at, now, drill)
        # The database's own unique indexes decide whether it is a new press and a new alarm: nothing is asked first.
        number = tx.inbox.admit(self._entry(message, digest, identity, alarm.id))
        if number is None:
            return None, None
        detail = {"word": press.word, "topic": message.topic}
        said = raise_alarm(tx, self._envelopes, self._cameras.health(), alarm, point, detail)
        if said is None:
            alarm, said = self._repeat(tx, point, press, alarm.pressed_at, now)
            tx.inbox.belongs(number, alarm.id)
        for window in windows:
            tx.windows.end(window.id, alarm.id)
        return alarm, said

    @staticmethod
    def _drilled(
        tx: Transaction,
        windows: Sequence[DrillWindow],
        message: ContactMessage,
        point: Point,
        pressed_at: datetime,
    ) -> Drill | None:
        """Whether the press is one a technician has announced. Every window of the point ends with it, whatever it became."""
        counts = any(
            counts_as_drill(
                window,
                pressed_at=pressed_at,
                arrived_at=message.arrived_at,
                redelivered=message.redelivered,
                connected_at=message.connected_at,
                alarm_open=tx.alarms.open_at(point.id) is not None,
            )
            for window in windows
        )
        return Drill.DRILL if counts else None

    @staticmethod
    def _entry(message: ContactMessage, digest: str, identity: str | None, alarm: str | None) -> InboxEntry:
        return InboxEntry(
            identity=identity,
            topic=message.topic,
            digest=digest,
            mid=message.mid,
            arrived_at=message.arrived_at,
            alarm=alarm,
        )

    def _repeat(
        self, tx: Transaction, point: Point, press: Signal, pressed_at: datetime, now: datetime
    ) -> tuple[Alarm, Message]:
        alarm = tx.alarms.open_at(point.id)
        if alarm is None:
            raise InvariantBroken(f"{point.id} has an open alarm and has none")
        alarm = alarm.pressed_again(pressed_at)
        data = self._envelopes.repeated(alarm, point, pressed_at, now, durable=tx.durable)
        alarm, said = self._envelopes.about_alarm(
            alarm, MessageType.ALARM_REPEATED, data, at=pressed_at, now=now
        )
        tx.alarms.save(alarm)
        tx.alarms.note(alarm.id, now, "repeated", {"word": press.word, "presses": alarm.presses})
        tx.messages.add(said)
        return alarm, said


def _unread(signals: Sequence[Signal]) -> str | None:
    """What a message looks like of which nothing was understood; ``None`` if anything was."""
    forms = [s.word for s in signals if s.kind is SignalKind.UNREAD]
    return forms[0] if forms and len(forms) == len(signals) else None


def _identity(source: ContactSource, event_id: str) -> str:
    return f"{source.key}\n{event_id}"


def _by_memory(source: ContactSource, signals: Sequence[Signal]) -> dict[str, list[Signal]]:
    """The signals of one point by where what was last seen of them is remembered.

    A point that names no input hears all of a device, whose inputs have a past each: one that is open does not open another.
    """
    told: dict[str, list[Signal]] = {}
    for signal in signals:
        whole = source.input is not None or signal.input is None
        told.setdefault(source.key if whole else f"{source.key}\n{signal.input}", []).append(signal)
    return told


def _settled(tx: Transaction, *, mid: int) -> None:
    tx.inbox.settle(mid)

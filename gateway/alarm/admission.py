"""Admission: what one message of a contact becomes, decided and written in one transaction.

Is it the same press again? Is it a press at all? Then alarm, evidence wanted and message due, all in the commit whose end the
broker is told of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.alarm.first_work import raise_alarm
from gateway.alarm.starts import Starts
from gateway.domain.alarm import Alarm, Drill, plausible
from gateway.domain.contact import (
    BOUNCE,
    NO_PRESS,
    Beside,
    Memory,
    Signal,
    SignalKind,
    heard_by,
    judge,
    pushed,
    told_again,
)
from gateway.domain.drill import DrillWindow, counts_as_drill
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import InvariantBroken
from gateway.domain.identity import Earlier, used_anew
from gateway.domain.inbox import InboxEntry
from gateway.domain.message import Message, MessageType
from gateway.domain.opening import open_alarm
from gateway.domain.plan import ContactSource, Point
from gateway.domain.words import PUSHES, as_word, counted, is_wanted, noted, of_no_point
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.ports.contacts import ContactMessage
from gateway.ports.store import Transaction


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message."""

    what: str
    alarm: Alarm | None = None
    kept: bool = False
    said: tuple[Message, ...] = ()


class Admission:
    """Decides over messages; keeps nothing itself."""

    def __init__(
        self,
        *,
        clock: Clock,
        envelopes: Envelopes,
        cameras: CameraBank,
        armed: Callable[[str], bool],
        starts: Starts,
    ) -> None:
        self._clock = clock
        self._envelopes = envelopes
        self._cameras = cameras
        self._armed = armed
        self._starts = starts

    def decide(
        self,
        tx: Transaction,
        message: ContactMessage,
        points: Sequence[Point],
        signals: Sequence[Signal],
        *,
        unreadable: str | None = None,
        maybe_kept: bool = False,
        times: int = 1,
    ) -> Outcome:
        """Decide over a message and write what follows. ``maybe_kept``: another message is kept under its packet id. ``times``:
        for how many like it, of a flood, it stands."""
        digest = hashlib.sha256(message.payload).hexdigest()
        if message.redelivered and tx.inbox.redelivery(message.topic, digest, message.mid):
            return Outcome("redelivered")
        if message.redelivered or maybe_kept:
            tx.inbox.settle(message.mid)
        if unreadable is not None:
            tx.inbox.quarantine(message.topic, message.payload, unreadable, self._clock.now())
            return Outcome("quarantined")
        if all(s.kind in NO_PRESS and s.kind is not SignalKind.OTHER_USE and not s.values for s in signals):
            return Outcome("no press")
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
        for point, mine in zip(points, self.heard(points, signals), strict=True):
            presses, changed = self._judge(tx, message, point, mine)
            moved = moved or changed
            for press in () if bounce else presses:
                pressed, told = self._press(tx, message, point, press, digest, times)
                if pressed is not None and told is not None:
                    alarm = pressed
                    said.append(told)
        kept = alarm is not None
        if moved and not kept and message.mid and not message.retained:
            # A DUP of it must not move the memory once more: it would tell of a state that is past.
            tx.inbox.admit(self._entry(message, digest, None, None))
            kept = True
        outcome = "press" if alarm else "bounce" if bounce else "no press"
        return Outcome(outcome, alarm, kept and message.mid != 0, tuple(said))

    @staticmethod
    def heard(points: Sequence[Point], signals: Sequence[Signal]) -> list[Sequence[Signal]]:
        """What each of the points hears of one message."""
        inputs = [p.source.input if p.source else None for p in points]
        if inputs == [None]:
            return [signals]
        heard = [(heard_by(inputs, signal), signal) for signal in signals]
        # Of an input that no point names the word is left, on record at each.
        words = [word for numbers, signal in heard if not numbers for word in of_no_point(signal)]
        return [[*(signal for numbers, signal in heard if n in numbers), *words] for n in range(len(points))]

    def _judge(
        self, tx: Transaction, message: ContactMessage, point: Point, mine: Sequence[Signal]
    ) -> tuple[Sequence[Signal], bool]:
        """The signals that are presses of this point, and whether what is remembered has changed. That moves on even
        where a bounce is not counted."""
        source = point.source
        assert source is not None
        mine = counted(mine, source.presses)
        if all(s.kind is SignalKind.PRESSED for s in mine):
            # By the hardware's own word: needs no past, and spares the hot path a look-up.
            return ([] if message.retained else mine[:1]), False
        remembered = _Remembered(tx)
        presses: Sequence[Signal] = ()
        beside = Beside(
            bridge_online_at=self._starts.bridge_online_at(source),
            flag=source.flag,
            alarm_open=lambda: tx.alarms.open_at(point.id) is not None,
        )
        for key, told in _by_memory(source, mine).items():
            judged = judge(
                remembered.of(key),
                told,
                normally_open=source.normally_open,
                retained=message.retained,
                arrived_at=message.arrived_at,
                beside=beside,
            )
            remembered.now(key, judged.memory)
            if key != source.key and judged.presses:
                presses = presses or self._one_push(remembered, source, judged.presses, message.arrived_at)
            else:
                presses = presses or judged.presses
        if not message.retained:
            self._note(tx, message, source, mine, presses, remembered)
        return [press for press in presses if is_wanted(press, source.presses)], remembered.keep()

    @staticmethod
    def _one_push(
        remembered: _Remembered, source: ContactSource, presses: Sequence[Signal], now: datetime
    ) -> Sequence[Signal]:
        """The presses of one input of a device that the point hears as a whole: what several of its parts tell of one push is
        one press."""
        whole = remembered.of(source.key)
        if len(presses) == 1 and told_again(whole, presses[0], now):
            return ()
        remembered.now(source.key, pushed(whole, presses[-1], now))
        return presses

    @staticmethod
    def _note(
        tx: Transaction,
        message: ContactMessage,
        source: ContactSource,
        mine: Sequence[Signal],
        presses: Sequence[Signal],
        remembered: _Remembered,
    ) -> None:
        for signal in mine:
            # What a push says of itself besides the press must not count as another one when it comes once more.
            if signal.event_id is not None and signal not in presses:
                tx.inbox.note(_identity(source, signal.event_id), message.topic, message.arrived_at)
        # Two words for one push: where one of them raises the alarm, the list leaves out nothing that matters.
        if any(is_wanted(p, source.presses) for p in presses):
            mine = [s for s in mine if s.was not in PUSHES]
        left_out = [*mine, *(as_word(p) for p in presses if not is_wanted(p, source.presses))]
        if any(s.kind is SignalKind.OTHER_USE for s in left_out):
            memory = remembered.of(source.key)
            after = noted(memory, left_out, message.arrived_at)
            if after is not memory:
                remembered.now(source.key, after)

    def _press(
        self,
        tx: Transaction,
        message: ContactMessage,
        point: Point,
        press: Signal,
        digest: str,
        times: int,
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
        entry = self._entry(message, digest, identity, alarm.id)
        number = tx.inbox.admit(entry)
        if number is None and identity is not None and self._is_anew(tx, message, source, press, digest):
            number = tx.inbox.admit(entry)
        if number is None:
            return None, None
        detail = {"word": press.word, "topic": message.topic}
        said = raise_alarm(tx, self._envelopes, self._cameras.health(), alarm, point, detail)
        if said is None:
            alarm, said = self._repeat(tx, point, press, alarm.pressed_at, now, times)
            tx.inbox.belongs(number, alarm.id)
        for window in windows:
            tx.windows.end(window.id, alarm.id)
        return alarm, said

    def _is_anew(
        self, tx: Transaction, message: ContactMessage, source: ContactSource, press: Signal, digest: str
    ) -> bool:
        """Whether a press under an identity that was used is another one all the same; if it is not, the point says so."""
        assert press.event_id is not None
        prefix = _identity(source, "")
        identity = _identity(source, press.event_id)
        found = tx.inbox.admitted(identity)
        if found is None:
            return False
        newest = tx.inbox.last_identity(prefix)
        is_anew, counts_anew = used_anew(
            press,
            Earlier(digest=found[0], at=found[1]),
            digest=digest,
            now=message.arrived_at,
            newest=newest.removeprefix(prefix) if newest else None,
            started_at=self._starts.device_at(source),
        )
        if counts_anew:
            tx.inbox.release_all(prefix)
        elif is_anew:
            tx.inbox.release(identity)
        elif found[0]:
            memory = tx.inbox.memory(source.key)
            dropped = (press.event_id[:80], message.arrived_at, found[1])
            tx.inbox.remember(source.key, replace(memory, dropped=dropped))
        return is_anew

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
        self,
        tx: Transaction,
        point: Point,
        press: Signal,
        pressed_at: datetime,
        now: datetime,
        times: int,
    ) -> tuple[Alarm, Message]:
        alarm = tx.alarms.open_at(point.id)
        if alarm is None:
            raise InvariantBroken(f"{point.id} has an open alarm and has none")
        alarm = alarm.pressed_again(pressed_at, times)
        data = self._envelopes.repeated(alarm, point, pressed_at, now, durable=tx.durable)
        alarm, said = self._envelopes.about_alarm(
            alarm, MessageType.ALARM_REPEATED, data, at=pressed_at, now=now
        )
        tx.alarms.save(alarm)
        tx.alarms.note(alarm.id, now, "repeated", {"word": press.word, "presses": alarm.presses})
        tx.messages.add(said)
        return alarm, said


class _Remembered:
    """What is remembered of the sources one message speaks of, read once each and written once where it changed."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._before: dict[str, Memory] = {}
        self._after: dict[str, Memory] = {}

    def of(self, key: str) -> Memory:
        if key not in self._after:
            self._before[key] = self._after[key] = self._tx.inbox.memory(key)
        return self._after[key]

    def now(self, key: str, memory: Memory) -> None:
        self._after[key] = memory

    def keep(self) -> bool:
        changed = [key for key, memory in self._after.items() if memory != self._before[key]]
        for key in changed:
            self._tx.inbox.remember(key, self._after[key])
        return bool(changed)


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

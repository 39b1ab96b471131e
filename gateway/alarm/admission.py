"""Admission: what one message of a contact becomes, decided and written in one transaction.

:func:`admit` is the whole of it: :func:`read_record` reads what is on record, :func:`gateway.alarm.decision.decide` decides (a
pure function), :func:`write_admission` writes. Whether an identity is new and whether its point has an open alarm is decided by
the database's own unique indexes, as the press is written: nothing is asked first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from gateway.alarm.decision import Admission, Incoming, OnRecord, Press, Verdict, decide
from gateway.alarm.opening import write_opening
from gateway.domain.alarm import Alarm
from gateway.domain.contact import BOUNCE, asks_open_alarm
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import InvariantBroken
from gateway.domain.identity import Earlier, used_anew
from gateway.domain.ids import ids_drawn_from
from gateway.domain.inbox import InboxEntry
from gateway.domain.message import Message, MessageType
from gateway.ports.store import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one message: ``messages`` are due to the centre, ``stored`` says that it is kept under its packet id, so
    that a DUP of it is told."""

    verdict: Verdict
    alarm: Alarm | None = None
    messages: tuple[Message, ...] = ()
    stored: bool = False


def admit(tx: Transaction, *, incoming: Incoming, envelopes: Envelopes, seed: bytes) -> Outcome:
    """Read, decide, write. With the same ``seed`` it makes the same ids: decided again after a commit that failed or hung, it is
    the same alarm."""
    with ids_drawn_from(seed):
        return write_admission(tx, decide(incoming, read_record(tx, incoming), envelopes), envelopes)


def read_record(tx: Transaction, incoming: Incoming) -> OnRecord:
    """What is on record of the message and of what it reports. Only what can matter is read: a press by the hardware's own word
    under an identity reads nothing."""
    message = incoming.message
    if message.redelivered and tx.inbox.redelivery(message.topic, incoming.digest, message.mid):
        return OnRecord(redelivered=True)
    if incoming.unreadable is not None or incoming.is_idle:
        return OnRecord()
    # Not asked of a retained copy, which never counts anyway. Both ways, since the clock may have been set back.
    bounced = (
        not any(s.event_id for s in incoming.signals)
        and not message.retained
        and tx.inbox.bounced(
            message.topic,
            incoming.digest,
            message.arrived_at - BOUNCE,
            message.arrived_at + BOUNCE,
        )
    )
    keys = {key for at in incoming.at for key in at.memory_keys}
    memories = {key: tx.inbox.memory(key) for key in keys}
    windows = {
        at.point.id: tx.windows.standing(message.arrived_at, at.point.id)
        for at in incoming.at
        if at.maybe_armed
    }
    with_open_alarm = {
        at.point.id
        for at in incoming.at
        if windows.get(at.point.id)
        or any(asks_open_alarm(memories[key], at.signals, at.source.flag) for key in at.memory_keys)
        if tx.alarms.open_at(at.point.id) is not None
    }
    return OnRecord(
        bounced=bounced,
        memories=memories,
        windows=windows,
        with_open_alarm=frozenset(with_open_alarm),
        durable=tx.durable,
    )


def write_admission(tx: Transaction, admission: Admission, envelopes: Envelopes) -> Outcome:
    """Write what was decided. The last word is the database's: a press under an identity that was used comes to nothing, and one
    of a point with an open alarm repeats that."""
    incoming = admission.incoming
    message = incoming.message
    if admission.settles:
        tx.inbox.settle(message.mid)
    if admission.verdict is Verdict.QUARANTINED:
        tx.inbox.quarantine(message.topic, message.payload, incoming.unreadable or "", incoming.read_at)
    for key, memory in admission.memories.items():
        tx.inbox.remember(key, memory)
    alarm: Alarm | None = None
    messages: list[Message] = []
    for at in admission.at:
        for identity in at.noted:
            tx.inbox.note(identity, message.topic, message.arrived_at)
        windows = at.windows
        for press in at.presses:
            written = _write_press(tx, incoming, press, envelopes)
            if written is None:
                continue
            alarm, about = written
            messages.append(about)
            for window in windows:
                tx.windows.end(window, alarm.id)
            windows = ()
    stored = alarm is not None
    if admission.stores_message and not stored:
        tx.inbox.admit(_entry(incoming, None, None))
        stored = True
    verdict = admission.verdict
    if verdict is Verdict.PRESS and alarm is None:
        verdict = Verdict.NO_PRESS
    return Outcome(verdict=verdict, alarm=alarm, messages=tuple(messages), stored=stored and message.mid != 0)


def _write_press(
    tx: Transaction, incoming: Incoming, press: Press, envelopes: Envelopes
) -> tuple[Alarm, Message] | None:
    """The alarm that it opens or repeats and the message about it; ``None``, and nothing written, if it is a copy."""
    opened = press.opening.alarm
    entry = _entry(incoming, press.identity, opened.id)
    id_ = tx.inbox.admit_press(entry, press.point.id)
    if id_ is None and _is_another(tx, incoming, press):
        id_ = tx.inbox.admit_press(entry, press.point.id)
    if id_ is None:
        return None
    if id_ != opened.id:
        return _write_repeat(tx, incoming, press, envelopes)
    if not write_opening(tx, press.opening):
        raise InvariantBroken(f"{press.point.id} has an open alarm and has none")
    return opened, press.opening.message


def _write_repeat(
    tx: Transaction, incoming: Incoming, press: Press, envelopes: Envelopes
) -> tuple[Alarm, Message]:
    point, pressed_at, now = press.point, press.opening.alarm.pressed_at, incoming.message.arrived_at
    alarm = tx.alarms.open_at(point.id)
    if alarm is None:
        raise InvariantBroken(f"{point.id} has an open alarm and has none")
    alarm = alarm.pressed_again(pressed_at, incoming.times)
    data = envelopes.repeated(alarm, point, pressed_at, now, durable=tx.durable)
    alarm, message = envelopes.about_alarm(alarm, MessageType.ALARM_REPEATED, data, at=pressed_at, now=now)
    tx.alarms.save(alarm)
    tx.alarms.note(alarm.id, now, "repeated", {"word": press.signal.word, "presses": alarm.presses})
    tx.messages.add(message)
    return alarm, message


def _is_another(tx: Transaction, incoming: Incoming, press: Press) -> bool:
    """Whether a press under an identity that was used is another one all the same, its identity then free again; if it is not,
    that is remembered, and its point says so."""
    source, event_id = press.source, press.signal.event_id
    if press.identity is None or event_id is None:
        return False
    used = tx.inbox.admitted(press.identity)
    if used is None:
        return False
    digest, at = used
    prefix = press.identity.removesuffix(event_id)
    newest = tx.inbox.last_identity(prefix)
    is_another, counts_anew = used_anew(
        press.signal,
        Earlier(digest=digest, at=at),
        digest=incoming.digest,
        now=incoming.message.arrived_at,
        newest=newest.removeprefix(prefix) if newest else None,
        started_at=press.started_at,
    )
    if counts_anew:
        tx.inbox.release_all(prefix)
    elif is_another:
        tx.inbox.release(press.identity)
    elif digest:
        memory = tx.inbox.memory(source.key)
        dropped: tuple[str, datetime, datetime] = (event_id[:80], incoming.message.arrived_at, at)
        tx.inbox.remember(source.key, replace(memory, dropped=dropped))
    return is_another


def _entry(incoming: Incoming, identity: str | None, alarm: str | None) -> InboxEntry:
    message = incoming.message
    return InboxEntry(
        identity=identity,
        topic=message.topic,
        digest=incoming.digest,
        mid=message.mid,
        arrived_at=message.arrived_at,
        alarm=alarm,
    )

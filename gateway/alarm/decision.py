"""Decision: what a message of a contact is, by what it reports and what is on record. No I/O; nothing is kept between two calls.

Is it the same message again? Is it a press at all, and of which points? Is it an alarm or a drill?
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gateway.alarm.opening import Opening, open_alarm
from gateway.domain.alarm import Drill, plausible
from gateway.domain.camera import CameraHealth
from gateway.domain.contact import (
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
from gateway.domain.plan import ContactSource, Point
from gateway.domain.words import PUSHES, as_word, is_wanted, noted, of_no_point
from gateway.ports.contacts import ContactMessage


class Verdict(StrEnum):
    """What a message is."""

    REDELIVERED = "redelivered"  # committed before; only its acknowledgement was lost
    QUARANTINED = "quarantined"  # unreadable
    BOUNCE = "bounce"  # of a press of just before
    PRESS = "press"
    NO_PRESS = "no press"


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSignals:
    """What one point hears of a message, as its list of presses leaves it.

    ``maybe_armed``: there may be a drill window for it. ``bridge_online_at`` and ``started_at`` say when the bridge that speaks
    for the contact, and its own device, were last heard starting.
    """

    point: Point
    source: ContactSource
    signals: Sequence[Signal]
    maybe_armed: bool = False
    bridge_online_at: datetime | None = None
    started_at: datetime | None = None

    @property
    def by_hardware(self) -> bool:
        """Whether all of it is a press by the hardware's own word: that needs no past, and spares the hot path a look-up."""
        return all(s.kind is SignalKind.PRESSED for s in self.signals)

    @property
    def memory_keys(self) -> list[str]:
        """Where what is remembered of these signals stands, and of the source as a whole."""
        return [] if self.by_hardware else list(dict.fromkeys((*self.by_memory, self.source.key)))

    @property
    def by_memory(self) -> dict[str, list[Signal]]:
        """The signals by where what was last seen of them is remembered.

        A point that names no input hears all of a device, whose inputs have a past each: one that is open does not open another.
        """
        source = self.source
        parts: dict[str, list[Signal]] = {}
        for signal in self.signals:
            whole = source.input is not None or signal.input is None
            parts.setdefault(source.key if whole else f"{source.key}\n{signal.input}", []).append(signal)
        return parts

    def identity(self, event_id: str) -> str:
        """The hardware's identity of an event, as one among those of all contacts."""
        return f"{self.source.key}\n{event_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One message of a contact and what the gateway knew beside it when it was read.

    ``signals`` is all of it and ``at`` what each of the topic's points hears; ``unreadable`` says why there is none of either.
    ``mid_in_use``: another message is stored under its packet id. ``times``: for how many like it, of a flood, it stands.
    ``health`` is that of the cameras.
    """

    message: ContactMessage
    signals: Sequence[Signal]
    at: Sequence[PointSignals]
    unreadable: str | None = None
    mid_in_use: bool = False
    times: int = 1
    read_at: datetime
    health: Mapping[str, CameraHealth]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.message.payload).hexdigest())

    @property
    def is_idle(self) -> bool:
        """Whether it reports nothing that could be a press or is remembered."""
        return all(
            s.kind in NO_PRESS and s.kind is not SignalKind.OTHER_USE and not s.values for s in self.signals
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRecord:
    """What the database knows of a message before it is decided.

    ``redelivered``: this very message was committed before. ``bounced``: a press of the same topic and payload lies within a
    second of it. ``memories`` by their keys, drill ``windows`` by point. ``with_open_alarm``: points with an open alarm, of those
    where it matters. ``durable``: whether a commit outlives the box's power now.
    """

    redelivered: bool = False
    bounced: bool = False
    memories: Mapping[str, Memory] = field(default_factory=dict)
    windows: Mapping[str, Sequence[DrillWindow]] = field(default_factory=dict)
    with_open_alarm: frozenset[str] = frozenset()
    durable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """One press of one point: under ``identity`` where the hardware names one; what it opens if its point has no open alarm."""

    point: Point
    source: ContactSource
    signal: Signal
    identity: str | None
    started_at: datetime | None
    opening: Opening


@dataclass(frozen=True, slots=True, kw_only=True)
class AtPoint:
    """What a message is at one point. ``noted`` are identities of events that are no press and are never to become one;
    ``windows`` the ids of drill windows that end with the first of the presses."""

    noted: Sequence[str]
    presses: Sequence[Press]
    windows: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What is to be written of a message.

    ``settles``: its packet id is no longer that of an earlier message. ``memories`` are those that have changed.
    ``stores_message``: it moved a memory, so a DUP of it must not move that once more and tell of a state that is past.
    """

    incoming: Incoming
    verdict: Verdict
    settles: bool = False
    memories: Mapping[str, Memory] = field(default_factory=dict)
    at: Sequence[AtPoint] = ()
    stores_message: bool = False


def decide(incoming: Incoming, record: OnRecord, envelopes: Envelopes) -> Admission:
    """What ``incoming`` is, by what is on ``record``. Pure but for the ids of what is new: those are drawn from the seed in force
    (:func:`gateway.domain.ids.ids_drawn_from`)."""
    message = incoming.message
    if record.redelivered:
        return Admission(incoming=incoming, verdict=Verdict.REDELIVERED)
    settles = message.redelivered or incoming.mid_in_use
    if incoming.unreadable is not None:
        return Admission(incoming=incoming, verdict=Verdict.QUARANTINED, settles=settles)
    if incoming.is_idle:
        return Admission(incoming=incoming, verdict=Verdict.NO_PRESS, settles=settles)
    memories = _Memories(record.memories)
    moved = False
    at = []
    for part in incoming.at:
        memories.begin()
        signals = _presses(part, message, record, memories)
        identities = _noted(part, message, signals, memories) if not part.by_hardware else ()
        moved = moved or memories.moved
        # What is remembered moves on even where a bounce is not counted.
        wanted = () if record.bounced else [s for s in signals if is_wanted(s, part.source.presses)]
        windows = record.windows.get(part.point.id, ())
        presses = [
            _press(part, signal, incoming, record, windows if number == 0 else (), envelopes)
            for number, signal in enumerate(wanted)
        ]
        at.append(AtPoint(noted=identities, presses=presses, windows=[w.id for w in windows]))
    is_press = any(part.presses for part in at)
    return Admission(
        incoming=incoming,
        verdict=Verdict.PRESS if is_press else Verdict.BOUNCE if record.bounced else Verdict.NO_PRESS,
        settles=settles,
        memories=memories.changed(),
        at=at,
        stores_message=moved and bool(message.mid) and not message.retained,
    )


def signals_of(points: Sequence[Point], signals: Sequence[Signal]) -> list[Sequence[Signal]]:
    """What each of the points on one topic hears of a message."""
    inputs = [p.source.input if p.source else None for p in points]
    if inputs == [None]:
        return [signals]
    heard = [(heard_by(inputs, signal), signal) for signal in signals]
    # Of an input that no point names the word is left, on record at each.
    words = [word for numbers, signal in heard if not numbers for word in of_no_point(signal)]
    return [[*(signal for numbers, signal in heard if n in numbers), *words] for n in range(len(points))]


class _Memories:
    """The memories one message is decided by, moved on as it is read."""

    def __init__(self, before: Mapping[str, Memory]) -> None:
        self._before = before
        self._now = dict(before)
        self._at_point = self._now

    def begin(self) -> None:
        """The next point's turn."""
        self._at_point = dict(self._now)

    @property
    def moved(self) -> bool:
        """Whether any has changed at this point."""
        return self._now != self._at_point

    def of(self, key: str) -> Memory:
        return self._now[key]

    def now(self, key: str, memory: Memory) -> None:
        self._now[key] = memory

    def changed(self) -> dict[str, Memory]:
        return {key: memory for key, memory in self._now.items() if memory != self._before[key]}


def _presses(
    part: PointSignals, message: ContactMessage, record: OnRecord, memories: _Memories
) -> Sequence[Signal]:
    """The signals that are presses at one point, those that its list leaves out included."""
    if part.by_hardware:
        return () if message.retained else part.signals[:1]
    source = part.source
    presses: Sequence[Signal] = ()
    beside = Beside(
        bridge_online_at=part.bridge_online_at,
        flag=source.flag,
        alarm_open=lambda: part.point.id in record.with_open_alarm,
    )
    for key, signals in part.by_memory.items():
        judged = judge(
            memories.of(key),
            signals,
            normally_open=source.normally_open,
            retained=message.retained,
            arrived_at=message.arrived_at,
            beside=beside,
        )
        memories.now(key, judged.memory)
        if key != source.key and judged.presses:
            presses = presses or _one_push(memories, source, judged.presses, message.arrived_at)
        else:
            presses = presses or judged.presses
    return presses


def _one_push(
    memories: _Memories, source: ContactSource, presses: Sequence[Signal], now: datetime
) -> Sequence[Signal]:
    """The presses of one input of a device that the point hears as a whole: what several of its parts report of one push is
    one press."""
    whole = memories.of(source.key)
    if len(presses) == 1 and told_again(whole, presses[0], now):
        return ()
    memories.now(source.key, pushed(whole, presses[-1], now))
    return presses


def _noted(
    part: PointSignals, message: ContactMessage, presses: Sequence[Signal], memories: _Memories
) -> Sequence[str]:
    """Put on record the words that are no press; returns the identities of events that are none."""
    if message.retained:
        return ()
    source, signals = part.source, part.signals
    # What a push says of itself besides the press must not count as another one when it comes once more.
    identities = [part.identity(s.event_id) for s in signals if s.event_id is not None and s not in presses]
    # Two words for one push: where one of them raises the alarm, the list leaves out nothing that matters.
    if any(is_wanted(p, source.presses) for p in presses):
        signals = [s for s in signals if s.was not in PUSHES]
    left_out = [*signals, *_as_words(presses, source)]
    if any(s.kind is SignalKind.OTHER_USE for s in left_out):
        memories.now(source.key, noted(memories.of(source.key), left_out, message.arrived_at))
    return identities


def _as_words(presses: Iterable[Signal], source: ContactSource) -> list[Signal]:
    return [as_word(p) for p in presses if not is_wanted(p, source.presses)]


def _press(
    part: PointSignals,
    signal: Signal,
    incoming: Incoming,
    record: OnRecord,
    windows: Sequence[DrillWindow],
    envelopes: Envelopes,
) -> Press:
    message = incoming.message
    now = message.arrived_at
    pressed_at = plausible(signal.at, now)
    # Whether it is a press that a technician has announced. Every window of the point ends with it, whatever it became.
    is_drill = any(
        counts_as_drill(
            window,
            pressed_at=pressed_at,
            arrived_at=now,
            redelivered=message.redelivered,
            connected_at=message.connected_at,
            alarm_open=part.point.id in record.with_open_alarm,
        )
        for window in windows
    )
    opening = open_alarm(
        envelopes,
        part.point,
        pressed_at=pressed_at,
        now=now,
        health=incoming.health,
        detail={"word": signal.word, "topic": message.topic},
        drill=Drill.DRILL if is_drill else None,
        durable=record.durable,
    )
    return Press(
        point=part.point,
        source=part.source,
        signal=signal,
        identity=None if signal.event_id is None else part.identity(signal.event_id),
        started_at=part.started_at,
        opening=opening,
    )

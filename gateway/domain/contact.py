"""What a contact said, and whether it was a press: CONTRACT §2, "One press, one alarm", as pure functions.

A codec turns a payload into :class:`Signal` values without knowing what was said before. :func:`judge` adds what is remembered
of the source and decides. The memory is kept in the database in the same transaction as the alarm, so an edge
that happens while the gateway is down still counts when the next report tells of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

#: One push of a button publishes several things (down, up, single). What follows a push within this time is its tail.
#: Zigbee and Tasmota buttons decide between single, double and hold within about a second of the release.
TAIL = timedelta(seconds=2)

#: CONTRACT §2: where the hardware gives no identity, the same topic and payload within 1 s is the same press.
BOUNCE = timedelta(seconds=1)


class SignalKind(StrEnum):
    """What one report can mean."""

    PRESSED = "pressed"  # a complete press by the hardware's own word, or an active sos/emergency/panic flag
    DOWN = "down"  # a momentary button goes down
    UP = "up"  # … and up again
    GESTURE = "gesture"  # … and what it made of it: single, double, long, hold
    CLOSED = "closed"  # a state: the circuit is closed; may be repeated by telemetry
    OPENED = "opened"  # a state: the circuit is open
    ALIVE = "alive"
    TEST = "test"
    TAMPER = "tamper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One thing a contact reported. ``input`` names which contact of a device with several; ``event_id`` is
    the hardware's own identity of a physical event; ``at`` its own time."""

    kind: SignalKind
    input: str | None = None
    event_id: str | None = None
    at: datetime | None = None
    battery: int | None = None
    word: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What was last seen of one source. ``closed`` is the last state (``None``: never seen); ``down`` that a push has begun
    and not ended; ``tail_until`` until when a gesture or release still belongs to the last push."""

    closed: bool | None = None
    down: bool = False
    tail_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """``press`` is the signal that counts as a press, if any; ``memory`` is what to remember."""

    press: Signal | None
    memory: Memory


def judge(
    memory: Memory, signals: Sequence[Signal], *, normally_open: bool, retained: bool, arrived_at: datetime
) -> Judgement:
    """Decide over one message. A message is at most one press, whatever it reports.

    A retained copy is the broker's memory, not the contact's word: it is never a press, and it only serves as
    the first sight of a state where nothing is remembered, so that the first real change counts.
    """
    press: Signal | None = None
    for signal in signals:
        if retained:
            closed = _closed(signal)
            if closed is not None and memory.closed is None:
                memory = replace(memory, closed=closed)
            continue
        memory, is_press = _step(memory, signal, normally_open, arrived_at)
        if is_press and press is None:
            press = signal
    return Judgement(press=press, memory=memory)


def _closed(signal: Signal) -> bool | None:
    return {SignalKind.CLOSED: True, SignalKind.OPENED: False}.get(signal.kind)


def _step(memory: Memory, signal: Signal, normally_open: bool, now: datetime) -> tuple[Memory, bool]:
    in_tail = memory.tail_until is not None and now <= memory.tail_until
    match signal.kind:
        case SignalKind.PRESSED:
            return memory, True
        case SignalKind.DOWN:
            return replace(memory, down=True, tail_until=None), True
        case SignalKind.UP:
            # An up whose down never arrived is all we hear of that push, so it counts.
            same_push = memory.down or in_tail
            return replace(memory, down=False, tail_until=now + TAIL), not same_push
        case SignalKind.GESTURE:
            if memory.down:
                return memory, False
            # One gesture ends the tail: the next one within the time is a new push.
            return replace(memory, tail_until=None), not in_tail
        case SignalKind.CLOSED | SignalKind.OPENED:
            closed = signal.kind is SignalKind.CLOSED
            is_edge = memory.closed is not None and closed is not memory.closed
            return replace(memory, closed=closed), is_edge and closed is normally_open
        case _:
            return memory, False

"""What a contact said, and whether it was a press: API.md, "Presses", as pure functions.

A codec turns a payload into :class:`Signal` values without knowing what was said before. :func:`judge` adds what is remembered
of the source and decides. The memory is kept in the database in the same transaction as the alarm, so an edge
that happens while the gateway is down still counts when the next report tells of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.domain.flag import Flag, FlagIs, Report, flag_lowered, flag_told, flags_left_out, reported

#: One push of a button publishes several things (down, up, single). What follows a push within this time is its tail.
#: Zigbee and Tasmota buttons decide between single, double and hold within about a second of the release.
TAIL = timedelta(seconds=2)

#: What comes this soon after a gesture and only says that the button is free again (HS1EB: ``off``) belongs to that gesture.
FREED = timedelta(seconds=10)

#: The longest a gesture may trail the going down it belongs to, after which the release is taken for lost on the air:
#: a contact whose last release never arrived must not be deaf to its next gesture.
LONGEST_PUSH = timedelta(seconds=60)

#: API.md, "Presses": where the hardware gives no identity, the same topic and payload within 1 s is the same press.
BOUNCE = timedelta(seconds=1)

#: A device that was not answered sends its last messages again after it has connected anew, and brokers do not pass on that
#: it did. So a counter a little below the last one, and soon after it, is a copy; any other lower one is a device that began
#: to count anew. Connecting anew takes the known devices less than a minute, and few pushes fit into one.
COPIED_WITHIN = timedelta(seconds=60)
COPIED_AT_MOST = 5


class SignalKind(StrEnum):
    """What one report can mean."""

    PRESSED = "pressed"  # a complete press by the hardware's own word
    DOWN = "down"  # a momentary button goes down
    UP = "up"  # … and up again
    GESTURE = "gesture"  # … and what it made of it: single, double, long, hold
    CLOSED = "closed"  # a state: the circuit is closed; may be repeated by telemetry
    OPENED = "opened"  # a state: the circuit is open
    COUNTED = "counted"  # how many pushes the hardware has counted; may be repeated by telemetry
    RAISED = "raised"  # an sos, emergency or panic flag says true
    LOWERED = "lowered"  # … and false
    ALIVE = "alive"
    TEST = "test"
    TAMPER = "tamper"
    OTHER_USE = "other use"  # a word by which the device is used otherwise (a keypad arms), or that the site file leaves out
    UNREAD = "unread"  # a form that this version does not read: ``word`` says what it looks like


#: What is never a press, whatever is remembered.
NO_PRESS = frozenset(
    {SignalKind.ALIVE, SignalKind.TEST, SignalKind.TAMPER, SignalKind.OTHER_USE, SignalKind.UNREAD}
)
#: Words for the same gesture: a device may call it by one in its action and by another in its flag.
_ALARM_WORDS = frozenset({"sos", "emergency", "panic"})


class Telling(StrEnum):
    """Why a state or a counter is told."""

    STATE = "state"  # for whatever reason, telemetry among them: the first sight of it is a baseline
    CHANGE = "change"  # because something changed: its first sight counts, its repetition does not
    EVENT = "event"  # it is the edge, or the push, itself: always counts, whatever was seen before (a counter: once)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One thing a contact reported. ``input`` names which contact of a device with several; ``event_id`` is
    the hardware's own identity of a physical event; ``at`` its own time; ``held`` marks a gesture whose release is
    reported later, however long it takes; ``telling`` belongs to a state or a ``counter``. ``gesture`` is the word without
    the name of the button. ``values`` is what else a device with flags told of itself, value by value as text. ``was`` is the
    kind of a push or state that is left as a word only, by the site file."""

    kind: SignalKind
    input: str | None = None
    event_id: str | None = None
    at: datetime | None = None
    battery: int | None = None
    word: str = ""
    held: bool = False
    telling: Telling = Telling.STATE
    counter: int | None = None
    gesture: str = ""
    values: tuple[tuple[str, str], ...] = ()
    was: SignalKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """The last push of a source: its gesture (empty: a flag, which goes with any), when its first message came, and the
    hardware's own identity of it, if any, on which input."""

    gesture: str
    at: datetime
    event_id: str | None = None
    input: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What was last seen of one source.

    ``closed`` is the last state (``None``: never seen). ``down``: a push has begun and its release has not been heard.
    ``tail_until``: until when a gesture or release belongs to the last going down or up. ``freed_until``: until when a
    release belongs to the last gesture. ``counter``: the hardware's count of pushes as last told, first at ``counted_at``.
    ``push`` is the last one. ``flags``, the other ``values`` of a device that has some, and when it was last heard
    (``heard_at``). ``words``: those it said that are no press, with when; ``left_out`` is what
    was told by those that were none only by the site file of then. ``dropped``: the identity of the last press that was
    taken for a copy, when it came, and when the one before it.
    """

    closed: bool | None = None
    down: bool = False
    tail_until: datetime | None = None
    freed_until: datetime | None = None
    counter: int | None = None
    counted_at: datetime | None = None
    push: Push | None = None
    flags: Mapping[str, Flag] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    heard_at: datetime | None = None
    words: Mapping[str, datetime] = field(default_factory=dict)
    left_out: Mapping[str, Signal] = field(default_factory=dict)
    dropped: tuple[str, datetime, datetime] | None = None

    @property
    def was_heard(self) -> bool:
        """Whether a push, a state or a count of the source itself was ever heard."""
        traces = (self.closed, self.tail_until, self.freed_until, self.counter, self.push)
        return self.down or bool(self.flags) or any(trace is not None for trace in traces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What else is known when a message is judged: when the bridge that speaks for the contact was last heard coming online, what
    the site file says its flags are, and whether an alarm of the point is open (asked only where it decides)."""

    bridge_online_at: datetime | None = None
    flag: FlagIs | None = None
    alarm_open: Callable[[], bool] = lambda: False


NOTHING_BESIDE = Beside()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """``presses`` are the signals that count as presses, in their order; ``memory`` is what to remember."""

    presses: tuple[Signal, ...]
    memory: Memory

    @property
    def press(self) -> Signal | None:
        """The first press, if any."""
        return self.presses[0] if self.presses else None


def judge(
    memory: Memory,
    signals: Sequence[Signal],
    *,
    normally_open: bool,
    retained: bool,
    arrived_at: datetime,
    beside: Beside = NOTHING_BESIDE,
) -> Judgement:
    """Decide over one message. It is at most one press, whatever it reports, unless it reports of times that lie apart:
    a device that sleeps saves up what happened.

    A retained copy is the broker's memory, not the contact's word: it is never a press, and it only serves as
    the first sight of a state where nothing is remembered, so that the first real change counts.
    """
    presses: list[Signal] = []
    pressed_at: datetime | None = None
    newest = max((signal.at for signal in signals if signal.at is not None), default=None)
    report, memory = _report(memory, signals, retained, arrived_at, beside)
    for signal in signals:
        if retained:
            memory = _first_sight(memory, signal, arrived_at)
            continue
        # The device's clock may be wrong, but not the time between two of its own reports.
        now = arrived_at if newest is None or signal.at is None else arrived_at - (newest - signal.at)
        if signal.kind is SignalKind.RAISED:
            memory, is_press = _flag_raised(memory, signal, now, report, beside)
        else:
            memory, is_press = _step(memory, signal, normally_open, now)
        if is_press and (pressed_at is None or now - pressed_at > TAIL):
            presses.append(signal)
            pressed_at = now
    return Judgement(presses=tuple(presses), memory=memory)


def _first_sight(memory: Memory, signal: Signal, at: datetime) -> Memory:
    closed = _closed(signal)
    if closed is not None and memory.closed is None:
        memory = replace(memory, closed=closed)
    if signal.counter is not None and memory.counter is None:
        memory = replace(memory, counter=signal.counter, counted_at=at)
    flag = memory.flags.get(signal.word)
    if signal.kind is SignalKind.LOWERED:
        # Kept by the broker it is as true: a release that we missed must not make the contact deaf.
        memory = _with_flag(memory, signal.word, flag_lowered(flag, at))
    elif signal.kind is SignalKind.RAISED and flag is None:
        memory = _with_flag(memory, signal.word, Flag(up=True, since=at))
    return memory


def _report(
    memory: Memory, signals: Sequence[Signal], retained: bool, now: datetime, beside: Beside
) -> tuple[Report, Memory]:
    """What a message of a device with flags shows of being a report, and the memory with its values taken in."""
    told = frozenset(s.word for s in signals if s.kind in (SignalKind.RAISED, SignalKind.LOWERED))
    values = dict(pair for signal in signals for pair in signal.values)
    if not told and (not memory.flags or not values):
        return Report(), memory
    if retained:
        return Report(), replace(memory, values=values | dict(memory.values))
    report = reported(
        memory.values, values, heard_at=memory.heard_at, now=now, bridge_online_at=beside.bridge_online_at
    )
    if report.kept and any(
        (memory.flags[s.word].up if s.word in memory.flags else None) is not (s.kind is SignalKind.RAISED)
        for s in signals
        if s.word in told
    ):
        report = replace(report, kept=False)
    memory = replace(memory, values={**memory.values, **values}, heard_at=now)
    return report, replace(memory, flags=flags_left_out(memory.flags, told))


def _with_flag(memory: Memory, name: str, flag: Flag) -> Memory:
    return replace(memory, flags={**memory.flags, name: flag})


def _flag_raised(
    memory: Memory, signal: Signal, now: datetime, report: Report, beside: Beside
) -> tuple[Memory, bool]:
    before = memory.flags.get(signal.word)
    stands = before is not None and before.up and beside.flag is None and not before.was_down
    alarm_open = stands and report.changed and beside.alarm_open()
    after, is_press = flag_told(before, now, report, is_=beside.flag, alarm_open=alarm_open)
    memory = _with_flag(memory, signal.word, after)
    if not is_press or told_again(memory, signal, now):
        return memory, False
    return pushed(memory, signal, now), True


def asks_open_alarm(memory: Memory, signals: Sequence[Signal], is_: FlagIs | None) -> bool:
    """Whether :func:`judge` may ask if an alarm of the point is open: a flag is raised that was up already."""
    raised = [signal.word for signal in signals if signal.kind is SignalKind.RAISED]
    if is_ is not None or not raised:
        return False
    return len(set(raised)) < len(raised) or any(
        name in memory.flags and memory.flags[name].up for name in raised
    )


def told_again(memory: Memory, signal: Signal, now: datetime) -> bool:
    """Whether it is the push of just before, told in one more message, under whatever key and beside whatever telemetry."""
    push = memory.push
    if push is None or not push.at <= now <= push.at + TAIL:
        return False
    if signal.event_id is not None and push.event_id is not None and signal.input == push.input:
        return False  # by the hardware's own word another, or the same: its identity decides
    gesture = gesture_of(signal)
    return not gesture or not push.gesture or gesture == push.gesture


def pushed(memory: Memory, signal: Signal, now: datetime) -> Memory:
    """The memory after a push."""
    push = Push(gesture=gesture_of(signal), at=now, event_id=signal.event_id, input=signal.input)
    return replace(memory, push=push)


def gesture_of(signal: Signal) -> str:
    """What tells two pushes of one moment apart; empty for a flag."""
    if signal.kind is SignalKind.RAISED:
        return ""
    word = (signal.gesture or signal.word).lower()
    return "emergency" if word in _ALARM_WORDS else word


def heard_by(inputs: Sequence[str | None], signal: Signal) -> list[int]:
    """Which of the points on one topic, by their ``input`` of the site file, a signal belongs to.

    An input is named as the device names it (``left`` for ``left_single`` and ``single_left``, ``Switch2``, ``input:2``), by
    its number alone, or by the whole action word; capitals and the character before a number make no difference.
    A device that names none means all of itself; as that is one press and must not be lost, the first point hears it
    where every point names an input.
    """
    mine = [n for n, wanted in enumerate(inputs) if wanted is None or _names(wanted, signal)]
    return mine or ([0] if inputs and signal.input is None else [])


#: ``Switch2``, ``button_2``, ``input:2``, ``2``: what it is, where that is said, and its number.
_NUMBERED = re.compile(r"(?:(button|switch|input|bthomedevice|bthomesensor)[ _:]?)?0*([0-9]+)")


def _names(wanted: str, signal: Signal) -> bool:
    wanted = wanted.strip().lower().replace("-", "_")
    if signal.input is None or signal.input in ("both", "all"):
        # Keys of a keypad are told apart by their words of alarm alone: `fire`, and `fire_release` after it.
        word = _plain(signal.word)
        return signal.input is not None or wanted == word or word.startswith(f"{wanted}_")
    said = _plain(signal.input)
    if wanted in (said, _plain(signal.word)):
        return True
    mine, theirs = _NUMBERED.fullmatch(wanted), _NUMBERED.fullmatch(said)
    if mine is None or theirs is None or mine[2] != theirs[2]:
        return False
    return mine[1] == theirs[1] or None in (mine[1], theirs[1])


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _closed(signal: Signal) -> bool | None:
    return {SignalKind.CLOSED: True, SignalKind.OPENED: False}.get(signal.kind)


def _step(memory: Memory, signal: Signal, normally_open: bool, now: datetime) -> tuple[Memory, bool]:
    match signal.kind:
        case SignalKind.PRESSED:
            return memory, True
        case SignalKind.DOWN:
            again = memory.down and told_again(memory, signal, now)
            memory = replace(memory, down=True, tail_until=now + LONGEST_PUSH, freed_until=None)
            return (memory, False) if again else (pushed(memory, signal, now), True)
        case SignalKind.UP:
            # An up whose down never arrived is all we hear of that push, so it counts.
            of_gesture = _within(memory.freed_until, now, FREED) or (
                memory.down and memory.tail_until is None
            )
            same_push = of_gesture or memory.down or _in_tail(memory, now)
            tail_until = None if of_gesture else now + TAIL
            return replace(memory, down=False, tail_until=tail_until, freed_until=None), not same_push
        case SignalKind.GESTURE:
            if _in_tail(memory, now):
                # One gesture ends the tail of a release: the next one is a new push.
                memory = pushed(memory, signal, now)
                return (memory if memory.down else replace(memory, tail_until=None)), False
            if told_again(memory, signal, now):
                return memory, False
            freed_until = None if signal.held else now + FREED
            memory = replace(memory, down=signal.held, tail_until=None, freed_until=freed_until)
            return pushed(memory, signal, now), True
        case SignalKind.LOWERED:
            return _with_flag(memory, signal.word, flag_lowered(memory.flags.get(signal.word), now)), False
        case SignalKind.CLOSED | SignalKind.OPENED:
            closed = signal.kind is SignalKind.CLOSED
            is_first = memory.closed is None
            is_edge = signal.telling is not Telling.STATE if is_first else closed is not memory.closed
            is_edge = is_edge or signal.telling is Telling.EVENT
            return replace(memory, closed=closed), is_edge and closed is normally_open
        case SignalKind.COUNTED:
            return _counted(memory, signal, now)
        case _:
            return memory, False


def _counted(memory: Memory, signal: Signal, now: datetime) -> tuple[Memory, bool]:
    """A count never seen before is a press; a lower one too, unless it is a copy, since the device then counts anew."""
    counter, last = signal.counter, memory.counter
    if counter is None:
        return memory, signal.telling is Telling.EVENT
    if counter == last:
        return memory, False
    told = replace(memory, counter=counter, counted_at=now)
    if last is None:
        return told, signal.telling is not Telling.STATE
    counted_at = memory.counted_at
    if counted_at is not None and copied(counter, last, counted_at, now):
        return replace(memory, dropped=(str(counter), now, counted_at)), False
    # Nought told by a report is a device that has started and was not pushed since.
    return told, counter > 0 or signal.telling is not Telling.STATE


def copied(number: int, last: int, last_at: datetime, now: datetime) -> bool:
    """Whether a number below the last one is a message sent again rather than a device that counts anew."""
    return 0 < number < last <= number + COPIED_AT_MOST and last_at <= now <= last_at + COPIED_WITHIN


def _in_tail(memory: Memory, now: datetime) -> bool:
    return _within(memory.tail_until, now, LONGEST_PUSH if memory.down else TAIL)


def _within(until: datetime | None, now: datetime, at_most: timedelta) -> bool:
    """Whether ``until`` is still to come, and no further away than it was set: else the clock went back, and what we
    cannot place counts as a press of its own."""
    return until is not None and now <= until <= now + at_most

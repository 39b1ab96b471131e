"""Which of a contact's words are presses of a point, and which it said besides.

A keypad tells under the same key that it arms and that somebody calls for help. What is left out is never silent: the words are
remembered, and shown where a technician looks. What is remembered is judged by the site file of now, not by that of then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.contact import Memory, Signal, SignalKind, heard_by
from gateway.domain.plan import Point

#: Words remembered of one source; a keypad has some fifteen.
MOST_WORDS = 20
#: A word that is said again is put on record again after this, so that arming costs no write each time.
NOTED_EVERY = timedelta(days=1)

#: By which somebody calls for help, whatever else a device says: left out by a list, that is a fault. A gesture (single, hold)
#: may be left out on purpose.
ALARM = re.compile(
    r"(?:^|[_: ])(?:panic|sos|emergency|fire|duress|medical|police|help|alarm|holdup|hold_up|robbery)(?:[_: ]|$)"
)

PUSHES = frozenset(
    {SignalKind.PRESSED, SignalKind.DOWN, SignalKind.UP, SignalKind.GESTURE, SignalKind.RAISED}
)
_STATES = frozenset({SignalKind.CLOSED, SignalKind.OPENED, SignalKind.COUNTED})


def counted(signals: Sequence[Signal], presses: Sequence[str]) -> Sequence[Signal]:
    """The signals as a point hears them whose site file names the words that are ``presses``: of a push in other words only the
    word is left. States and counters are left as they are, since their past goes on: see :func:`is_wanted`."""
    if not presses:
        return signals
    return [
        as_word(signal) if signal.kind in PUSHES and not _named(signal, presses) else signal
        for signal in signals
    ]


def as_word(signal: Signal) -> Signal:
    """What the site file leaves of a push or a state that is no press of the point."""
    return replace(signal, kind=SignalKind.OTHER_USE, was=signal.kind)


def is_wanted(signal: Signal, presses: Sequence[str]) -> bool:
    """Whether a state or a counter that is a press counts at a point that names its words."""
    return not presses or signal.kind not in _STATES or _named(signal, presses)


def of_no_point(signal: Signal) -> list[Signal]:
    """What is left of a signal of an input that no point of the site file names: the word of its push, or the input's name."""
    if signal.kind not in PUSHES | _STATES | {SignalKind.OTHER_USE}:
        return []
    word = signal.word if signal.kind in PUSHES else f"input {signal.input}"
    was = None if signal.kind is SignalKind.OTHER_USE else signal.kind
    gesture = signal.gesture or signal.word.partition(" ")[0]
    return [
        Signal(kind=SignalKind.OTHER_USE, word=word[:40], was=was, input=signal.input, gesture=gesture[:40])
    ]


def noted(memory: Memory, signals: Sequence[Signal], now: datetime) -> Memory:
    """The memory with the words of a message on record; the same object where nothing is to be written."""
    said = {s.word.lower(): s for s in signals if s.kind is SignalKind.OTHER_USE and s.word}
    words = memory.words
    new = {
        word: now
        for word, signal in said.items()
        if word not in words
        or not timedelta(0) <= now - words[word] < NOTED_EVERY
        or (signal.was is not None and word not in memory.left_out)
    }
    if not new:
        return memory
    newest = dict(sorted({**words, **new}.items(), key=lambda pair: pair[1], reverse=True)[:MOST_WORDS])
    told = {
        word: Signal(kind=signal.was, input=signal.input, word=signal.word, gesture=signal.gesture)
        for word, signal in said.items()
        if word in new and signal.was is not None
    }
    kept = {word: signal for word, signal in {**memory.left_out, **told}.items() if word in newest}
    return replace(memory, words=newest, left_out=kept)


def unpressing(memory: Memory, point: Point, on_topic: Sequence[Point]) -> dict[str, datetime]:
    """The words on record that are no press of ``point`` by the site file of now. ``on_topic`` are all points on its topic."""
    source = point.source
    presses = source.presses if source is not None else ()
    return {
        word: at
        for word, at in memory.words.items()
        if (signal := memory.left_out.get(word)) is None
        or not _hearers(signal, on_topic)
        or (_hears(signal, point, on_topic) and left_out(signal, presses))
    }


def alarms_left_out(memory: Memory, point: Point, on_topic: Sequence[Point]) -> list[str]:
    """Words by which somebody called for help at ``point`` and which its list of presses leaves out now, in order."""
    source = point.source
    return sorted(
        word
        for word in memory.words
        if (signal := memory.left_out.get(word)) is not None
        and signal.kind in PUSHES
        and source is not None
        and _hears(signal, point, on_topic)
        and left_out(signal, source.presses)
        and ALARM.search(_plain(word))
    )


def left_out(signal: Signal, presses: Sequence[str]) -> bool:
    """Whether a point's list of presses leaves it out."""
    return bool(presses) and not _named(signal, presses)


def _hearers(signal: Signal, on_topic: Sequence[Point]) -> list[int]:
    return heard_by([p.source.input if p.source else None for p in on_topic], signal)


def _hears(signal: Signal, point: Point, on_topic: Sequence[Point]) -> bool:
    return any(on_topic[n].id == point.id for n in _hearers(signal, on_topic))


def _named(signal: Signal, presses: Sequence[str]) -> bool:
    word, gesture = _plain(signal.word), _plain(signal.gesture)
    said = {word, gesture, word.partition(" ")[0]}
    return any(_plain(press) in said for press in presses)


def _plain(word: str) -> str:
    return word.strip().lower().replace("-", "_")

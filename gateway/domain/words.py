"""Which of a contact's words are presses of a point, and which it said besides.

A keypad tells under the same key that it arms and that somebody calls for help. What is left out is never silent: the words are
remembered, and shown where a technician looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.contact import Signal, SignalKind

#: Words remembered of one source; a keypad has some fifteen.
MOST_WORDS = 20
#: A word that is said again is put on record again after this, so that arming costs no write each time.
NOTED_EVERY = timedelta(days=1)

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
        replace(signal, kind=SignalKind.OTHER_USE)
        if signal.kind in PUSHES and not _named(signal, presses)
        else signal
        for signal in signals
    ]


def is_wanted(signal: Signal, presses: Sequence[str]) -> bool:
    """Whether a state or a counter that is a press counts at a point that names its words."""
    return not presses or signal.kind not in _STATES or _named(signal, presses)


def of_no_point(signal: Signal) -> list[Signal]:
    """What is left of a signal of an input that no point of the site file names: the word of its push, or the input's name."""
    if signal.kind not in PUSHES | _STATES | {SignalKind.OTHER_USE}:
        return []
    word = signal.word if signal.kind in PUSHES else f"input {signal.input}"
    return [Signal(kind=SignalKind.OTHER_USE, word=word[:40])]


def noted(words: Mapping[str, datetime], signals: Sequence[Signal], now: datetime) -> Mapping[str, datetime]:
    """The words on record after a message; the same object where nothing is to be written."""
    said = {s.word.lower() for s in signals if s.kind is SignalKind.OTHER_USE and s.word}
    new = {w: now for w in said if w not in words or not timedelta(0) <= now - words[w] < NOTED_EVERY}
    if not new:
        return words
    newest = sorted({**words, **new}.items(), key=lambda pair: pair[1], reverse=True)
    return dict(newest[:MOST_WORDS])


def _named(signal: Signal, presses: Sequence[str]) -> bool:
    word, gesture = _plain(signal.word), _plain(signal.gesture)
    said = {word, gesture, word.partition(" ")[0]}
    return any(_plain(press) in said for press in presses)


def _plain(word: str) -> str:
    return word.strip().lower().replace("-", "_")

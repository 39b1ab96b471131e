"""Openings that are believed only if they stand: what a device that has just started tells of its inputs, not settled yet."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.contact import Signal, SignalKind

_OPPOSITE = {SignalKind.CLOSED: SignalKind.OPENED, SignalKind.OPENED: SignalKind.CLOSED}


class Held:
    """One message whose states are waited for. What contradicts it meanwhile takes them back."""

    def __init__(self, signals: Sequence[Signal]) -> None:
        self._signals = signals
        self._gone: set[tuple[SignalKind, str | None]] = set()

    def contradict(self, signals: Sequence[Signal]) -> None:
        """A later message of the same topic says this."""
        for signal in signals:
            opposite = _OPPOSITE.get(signal.kind)
            if opposite is not None:
                self._gone.add((opposite, signal.input))

    def standing(self) -> list[Signal]:
        """What of the message still stands; a sign of life in place of all the rest."""
        left = [s for s in self._signals if (s.kind, s.input) not in self._gone]
        return left or [Signal(kind=SignalKind.ALIVE)]


class Edges:
    """The messages that are held, by topic."""

    def __init__(self) -> None:
        self._held: dict[str, list[Held]] = {}

    @staticmethod
    def only(signals: Sequence[Signal]) -> bool:
        """Whether a message tells of states only, and of no push that would have to wait with them."""
        return {s.kind for s in signals} <= {*_OPPOSITE, SignalKind.ALIVE, SignalKind.TAMPER}

    def hear(self, topic: str, signals: Sequence[Signal]) -> None:
        """Every message of a topic, in the order in which they come."""
        for held in self._held.get(topic, ()):
            held.contradict(signals)

    def hold(self, topic: str, signals: Sequence[Signal]) -> Held:
        """Begin to wait."""
        held = Held(signals)
        self._held.setdefault(topic, []).append(held)
        return held

    def release(self, topic: str, held: Held) -> None:
        """The wait is over."""
        self._held[topic].remove(held)
        if not self._held[topic]:
            del self._held[topic]

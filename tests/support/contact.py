"""A contact that tells its story in the words of its make, and how many presses are heard of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from drivers.contacts.formats import CODECS
from gateway.domain.contact import Memory, Signal, judge
from tests.support.clock import MORNING

Codec = Callable[[bytes], list[Signal]]


class Contact:
    """One contact of a format, heard as the intake hears a point that names no input: payload, codec, and a judgement and
    a memory for each input the device names."""

    def __init__(self, format_: str, *, normally_open: bool = True) -> None:
        self.decode: Codec = CODECS[format_]
        self.memories: dict[str | None, Memory] = {}
        self.normally_open = normally_open
        self.at: datetime = MORNING

    def says(self, payload: str | bytes, *, after_s: float = 0.0, retained: bool = False) -> bool:
        """Whether this message is a press."""
        self.at += timedelta(seconds=after_s)
        told: dict[str | None, list[Signal]] = {}
        for signal in self.decode(payload.encode() if isinstance(payload, str) else payload):
            told.setdefault(signal.input, []).append(signal)
        pressed = False
        for input_, signals in told.items():
            judged = judge(
                self.memories.get(input_, Memory()),
                signals,
                normally_open=self.normally_open,
                retained=retained,
                arrived_at=self.at,
            )
            self.memories[input_] = judged.memory
            pressed = pressed or judged.press is not None
        return pressed

    def tells(self, steps: Sequence[tuple[str, float]]) -> list[bool]:
        """Which of these messages, each so many seconds after the last, is a press."""
        return [self.says(payload, after_s=after_s) for payload, after_s in steps]

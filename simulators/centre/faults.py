"""How the simulated centre misbehaves: one object, changeable while it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

Answer = Literal["normal", "status", "truncated", "nonsense", "html", "slow", "cut", "drop", "hang"]
ANSWERS: tuple[str, ...] = get_args(Answer)
_MOST_REPEATS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong at the centre. The default is a centre that works.

    A message answered by `status`, `drop` or `hang` was not taken: it stays open until it comes again. With
    `truncated`, `nonsense`, `html`, `slow` and `cut` it was taken and only the answer is bad.
    """

    answer: Answer = "normal"
    """normal | status (answer with `status`) | truncated (200 and half a JSON) | nonsense (200 and JSON that
    means nothing) | html (200 and a login page) | slow (200 and a body that trickles) | cut (connection closed in
    mid-answer) | drop (connection reset without an answer) | hang (the connection stays open and nothing is answered
    until the faults are changed)."""
    status: int = 503
    """The HTTP status for `answer="status"`: 410, 429, 500, 503 …"""
    retry_after_s: int | None = None
    """Sent as Retry-After with `answer="status"`."""
    bytes_per_s: int = 20
    """How fast the body comes with `answer="slow"`; it is 400 bytes long."""
    delay_s: float = 0.0
    """Waited before any answer, in seconds."""
    count: int | None = None
    """How many of the next messages are treated so; None: all, until changed."""
    types: tuple[str, ...] = ()
    """Only messages whose type starts with one of these; empty: all."""
    conflict_on_duplicate: bool = False
    """Answer 409 to a message that was taken before (the normal answer is 204 again)."""
    refuse: bool = False
    """The listener is closed and every open connection reset: connecting is refused."""
    reorder_s: float = 0.0
    """Every other message is taken only after the one behind it, or after so many seconds if none comes."""
    clock_skew_s: float = 0.0
    """Seconds by which the centre's clock runs ahead where it judges and makes signatures; beyond 300 it refuses everything."""
    repeat_replies: int = 0
    """Every reply and request goes out so many times more, as from an operator who clicks again."""

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise ValueError(f"answer: found {self.answer!r}, expected one of {', '.join(ANSWERS)}")
        if not 200 <= self.status <= 599:
            raise ValueError(f"status: found {self.status}, expected 200 to 599")
        if (
            not 0 <= self.delay_s < math.inf
            or not 0 <= self.reorder_s < math.inf
            or not math.isfinite(self.clock_skew_s)
        ):
            raise ValueError(
                "delay_s and reorder_s: expected seconds, 0 or more; clock_skew_s: expected seconds"
            )
        if (self.count is not None and self.count < 0) or not 0 <= self.repeat_replies <= _MOST_REPEATS:
            raise ValueError(f"count: expected 0 or more; repeat_replies: expected 0 to {_MOST_REPEATS}")
        if self.bytes_per_s < 1:
            raise ValueError(f"bytes_per_s: found {self.bytes_per_s}, expected 1 or more")

    def applies_to(self, kind: str | None) -> bool:
        """Whether a message of this type (None: unreadable) is to be treated badly now."""
        if self.answer == "normal" and not self.delay_s:
            return False
        if self.count == 0:
            return False
        return not self.types or (kind is not None and kind.startswith(self.types))

    def after_one(self) -> Faults:
        """What is left after one message was treated badly."""
        if self.count is None:
            return self
        left = self.count - 1
        return replace(self, count=left) if left else replace(self, answer="normal", delay_s=0.0, count=None)


HEALTHY = Faults()
"""A centre that works."""


def faults_from(before: Faults, changes: dict[str, Any]) -> Faults:
    """Apply changes that came as JSON. Raises ValueError for an unknown name or a value that does not fit."""
    kinds: dict[str, tuple[type, ...]] = {
        "answer": (str,),
        "status": (int,),
        "retry_after_s": (int, type(None)),
        "bytes_per_s": (int,),
        "delay_s": (int, float),
        "count": (int, type(None)),
        "types": (list, tuple),
        "conflict_on_duplicate": (bool,),
        "refuse": (bool,),
        "reorder_s": (int, float),
        "clock_skew_s": (int, float),
        "repeat_replies": (int,),
    }
    known = {field.name for field in fields(Faults)}
    for name, value in changes.items():
        if name not in known:
            raise ValueError(f"fault {name!r}: not known; known are {', '.join(sorted(known))}")
        if not isinstance(value, kinds[name]) or (isinstance(value, bool) and bool not in kinds[name]):
            raise ValueError(f"fault {name}: {value!r} does not fit")
    if "types" in changes:
        changes = {**changes, "types": tuple(str(item) for item in changes["types"])}
    return replace(before, **changes)

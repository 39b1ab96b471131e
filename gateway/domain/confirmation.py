"""Confirmation (回显): telling a person who pressed what became of it, by a lamp or a buzzer. Pure.

Never for duress: whoever forces a person must not see that help was called. Never for a drill: it is told on its own plane.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from gateway.domain.alarm import Alarm, State
from gateway.domain.plan import Confirm, Severity

#: An older step is not told any more: a lamp that lights long after the press says the wrong thing about now.
TOLD_FOR = timedelta(minutes=10)
#: The timeline's word for a step that was told.
CONFIRMED = "confirmed"
#: The timeline's words after which there may be something to tell.
TELLING = frozenset({"received", "replied"})


class Step(StrEnum):
    """What is told, in the order in which it can happen."""

    RECEIVED = "received"  # answered by the centre's machine
    ACCEPTED = "accepted"  # an operator of the centre took it, or sent somebody at once
    CLOSED = "closed"


_STEP_OF = {State.ACCEPTED: Step.ACCEPTED, State.DISPATCHED: Step.ACCEPTED, State.CLOSED: Step.CLOSED}


def may_be_told(alarm: Alarm) -> bool:
    """Whether anything at all may be published about this alarm in the school."""
    return alarm.severity is not Severity.DURESS and alarm.drill is None


def due(alarm: Alarm, steps: Iterable[tuple[datetime, str, Mapping[str, Any]]], now: datetime) -> list[Step]:
    """What is to be told now, in order; ``steps`` are those of the alarm's timeline as (at, what, detail).

    A step is told once, not after a later one, and not when it is older than ``TOLD_FOR``. Of a closed alarm only the
    closing is told, whether or not anything was before: a lamp that was lit in a lost publish must go out too.
    """
    if not may_be_told(alarm):
        return []
    happened: dict[Step, datetime] = {}
    told: set[Step] = set()
    for at, what, detail in steps:
        if what == CONFIRMED:
            told.add(Step(detail["step"]))
        elif what == "received":
            happened.setdefault(Step.RECEIVED, at)
        elif what == "replied" and (step := _STEP_OF.get(State(detail["reply"]))) is not None:
            happened.setdefault(step, at)
    order = list(Step)
    last = max((order.index(step) for step in told), default=-1)
    wanted = order[:-1] if alarm.open else order[-1:]
    return [
        step
        for step in wanted
        if step in happened and order.index(step) > last and now - happened[step] <= TOLD_FOR
    ]


def payload(confirm: Confirm, step: Step, alarm: Alarm) -> bytes | None:
    """What is published for a step; ``None``: nothing. With no word in the site file, ours: JSON for every step."""
    words = {Step.RECEIVED: confirm.received, Step.ACCEPTED: confirm.accepted, Step.CLOSED: confirm.closed}
    if any(word is not None for word in words.values()):
        word = words[step]
        return None if word is None else word.encode()
    return json.dumps({"confirm": step.value, "alarm": alarm.id, "point": alarm.point}).encode()

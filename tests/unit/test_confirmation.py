"""Confirmation as pure functions: what is told of an alarm, in which words, and of which never."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.alarm import Drill, State
from gateway.domain.confirmation import TOLD_FOR, Step, due, payload
from gateway.domain.plan import Confirm, Severity
from tests.support.builders import alarm
from tests.support.clock import MORNING

RECEIVED = ("received", {"path": "first"})
ACCEPTED = ("replied", {"reply": "accepted"})
DISPATCHED = ("replied", {"reply": "dispatched"})
REJECTED = ("replied", {"reply": "rejected"})
CLOSED = ("replied", {"reply": "closed"})


def told(step: Step) -> tuple[str, dict[str, Any]]:
    return "confirmed", {"step": step.value, "topic": "lamp"}


@pytest.mark.parametrize(
    ("happened", "state", "steps"),
    [
        ([], State.RAISED, []),
        ([RECEIVED], State.RAISED, [Step.RECEIVED]),
        ([RECEIVED, told(Step.RECEIVED)], State.RAISED, []),
        ([RECEIVED, ACCEPTED], State.ACCEPTED, [Step.RECEIVED, Step.ACCEPTED]),
        ([RECEIVED, told(Step.RECEIVED), ACCEPTED], State.ACCEPTED, [Step.ACCEPTED]),
        ([ACCEPTED, told(Step.ACCEPTED), RECEIVED], State.ACCEPTED, []),
        ([RECEIVED, told(Step.RECEIVED), DISPATCHED], State.DISPATCHED, [Step.ACCEPTED]),
        ([RECEIVED, told(Step.RECEIVED), REJECTED], State.REJECTED, []),
        ([RECEIVED, ACCEPTED, CLOSED], State.CLOSED, [Step.CLOSED]),
        ([CLOSED, told(Step.CLOSED)], State.CLOSED, []),
    ],
)
def test_each_step_is_told_once_and_never_after_a_later_one(
    happened: list[tuple[str, dict[str, Any]]], state: State, steps: list[Step]
) -> None:
    """In order while the alarm is open, and only the end once it is closed."""
    timeline = [(MORNING, what, detail) for what, detail in happened]
    assert due(alarm(state=state), timeline, MORNING) == steps


def test_what_is_older_than_ten_minutes_is_not_told_any_more() -> None:
    """A lamp must not say of now what was true before."""
    timeline = [(MORNING, *RECEIVED)]
    assert due(alarm(), timeline, MORNING + TOLD_FOR) == [Step.RECEIVED]
    assert due(alarm(), timeline, MORNING + TOLD_FOR + timedelta(milliseconds=1)) == []


def test_nothing_is_told_of_duress_or_of_a_drill() -> None:
    """Whatever their timelines say."""
    timeline = [(MORNING, *RECEIVED), (MORNING, *ACCEPTED)]
    assert due(alarm(severity=Severity.DURESS), timeline, MORNING) == []
    assert due(alarm("drl_1", drill=Drill.DRILL), timeline, MORNING) == []
    for severity in set(Severity) - {Severity.DURESS}:
        assert due(alarm(severity=severity, state=State.ACCEPTED), timeline, MORNING), severity


def test_words_of_the_site_file_stand_as_they_are_and_alone() -> None:
    """With any word given, what has none is not published; with none, ours are."""
    lamp = Confirm(topic="cmnd/lamp/POWER", received="ON", closed="OFF")
    assert [payload(lamp, step, alarm()) for step in Step] == [b"ON", None, b"OFF"]
    ours = [payload(Confirm(topic="lamp"), step, alarm()) for step in Step]
    assert [json.loads(p or b"") for p in ours] == [
        {"confirm": word, "alarm": "alm_1", "point": "p-301"} for word in ("received", "accepted", "closed")
    ]

"""When a press is a drill, when a self-test is due, and when it has been left without an answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from gateway.domain.alarm import Drill, State
from gateway.domain.drill import DrillWindow, counts_as_drill, self_test_due, unanswered
from gateway.domain.errors import InvariantBroken
from gateway.domain.plan import SelfTest
from tests.support.builders import alarm
from tests.support.clock import MORNING

KNOWN = MORNING + timedelta(seconds=1)
UNTIL = MORNING + timedelta(seconds=60)
WINDOW = DrillWindow(id="wnd_1", point="p-301", by="维护", armed_at=MORNING, until=UNTIL, received_at=KNOWN)
PRESS = MORNING + timedelta(seconds=10)
PLAN = SelfTest(point="p-301", at=time(7, 0), answered_within_s=120)
SHANGHAI = "Asia/Shanghai"


def judged(window: DrillWindow = WINDOW, **changes: object) -> bool:
    facts = {
        "pressed_at": PRESS,
        "arrived_at": PRESS,
        "redelivered": False,
        "connected_at": MORNING,
        "alarm_open": False,
    }
    return counts_as_drill(window, **(facts | changes))  # type: ignore[arg-type]


def test_the_next_press_in_a_known_window_is_a_drill() -> None:
    """From the moment the centre knows until the window's end, its end excluded."""
    assert judged()
    assert judged(pressed_at=KNOWN, arrived_at=KNOWN)
    assert not judged(pressed_at=UNTIL, arrived_at=UNTIL)
    assert judged(arrived_at=UNTIL - timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("window", "changes"),
    [
        (replace(WINDOW, received_at=None), {}),
        (replace(WINDOW, received_at=PRESS + timedelta(seconds=1)), {}),
        (replace(WINDOW, ended_by="drl_1"), {}),
        (WINDOW, {"pressed_at": MORNING - timedelta(seconds=1)}),
        (WINDOW, {"pressed_at": KNOWN - timedelta(microseconds=1)}),
        (WINDOW, {"redelivered": True}),
        (WINDOW, {"connected_at": KNOWN + timedelta(microseconds=1)}),
        (WINDOW, {"connected_at": None}),
        (WINDOW, {"alarm_open": True}),
        (WINDOW, {"arrived_at": UNTIL + timedelta(seconds=1)}),
    ],
)
def test_every_doubt_is_an_alarm(window: DrillWindow, changes: dict[str, object]) -> None:
    """Not known to the centre, ended, pressed before, perhaps queued, beside an open alarm, too late."""
    assert not judged(window, **changes)


@pytest.mark.parametrize(("id_", "drill"), [("alm_1", Drill.DRILL), ("drl_1", None)])
def test_an_id_and_a_plane_that_disagree_stop_the_process(id_: str, drill: Drill | None) -> None:
    """What is kept as the one can never be read as the other."""
    with pytest.raises(InvariantBroken):
        alarm(id_, drill=drill)


def test_a_press_never_repeats_a_drill() -> None:
    """A second press while a drill is open is an alarm of its own."""
    with pytest.raises(InvariantBroken):
        alarm("drl_1", drill=Drill.DRILL).pressed_again(MORNING)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (None, "2026-03-02T06:00:00+08:00", "2026-03-02T07:00:00+08:00"),
        (None, "2026-03-02T08:00:00+08:00", "2026-03-03T07:00:00+08:00"),
        ("2026-03-02T07:00:01+08:00", "2026-03-02T07:00:03+08:00", "2026-03-03T07:00:00+08:00"),
        ("2026-03-01T07:00:01+08:00", "2026-03-02T06:59:59+08:00", "2026-03-02T07:00:00+08:00"),
        # Off for a week: due at once, and once.
        ("2026-02-20T07:00:01+08:00", "2026-03-02T10:00:00+08:00", "2026-03-02T07:00:00+08:00"),
        ("2026-03-02T10:00:00+08:00", "2026-03-02T10:00:02+08:00", "2026-03-03T07:00:00+08:00"),
    ],
)
def test_a_self_test_is_due_once_a_day(last: str | None, now: str, due: str) -> None:
    """At its hour of the school's day; a turn that was missed is made up for, once."""
    assert self_test_due(PLAN, at(last) if last else None, at(now), SHANGHAI) == at(due)


def test_received_is_no_answer() -> None:
    """Only the centre's reply answers a self-test; two minutes without one are too long."""
    test = alarm("drl_1", drill=Drill.SELF_TEST)
    late = MORNING + timedelta(seconds=120)
    assert not unanswered(PLAN, test, late - timedelta(microseconds=1))
    assert unanswered(PLAN, test, late)
    assert not unanswered(PLAN, replace(test, state=State.ACCEPTED), late)

"""The life of an alarm: one table, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import pytest

from gateway.domain.alarm import ALLOWED, State, plausible
from gateway.domain.errors import NotAllowed
from gateway.domain.evidence import Kind, Moment, press_evidence
from gateway.domain.ids import new_id
from tests.support.builders import alarm
from tests.support.clock import MORNING

#: Written out again from the contract, so that the table in the code cannot agree with itself only.
CONTRACT = {
    "raised": {"accepted", "rejected", "dispatched"},
    "accepted": {"dispatched", "rejected", "closed"},
    "rejected": {"accepted", "closed"},
    "dispatched": {"arrived", "closed"},
    "arrived": {"closed"},
    "closed": set(),
}


@pytest.mark.parametrize(("before", "reply"), list(product(State, State)))
def test_every_pair_is_allowed_by_the_contract_or_raises_and_changes_nothing(
    before: State, reply: State
) -> None:
    """All 36 pairs: a step, a repeat, or a refusal that leaves the alarm as it was."""
    one = replace(alarm(), state=before)
    if reply is before:
        assert one.replied(reply, MORNING) is None
    elif reply.value in CONTRACT[before.value]:
        after = one.replied(reply, MORNING)
        assert after is not None
        assert after.state is reply
        assert (after.closed_at is not None) == (reply is State.CLOSED)
    else:
        untouched = replace(one)
        with pytest.raises(NotAllowed) as refused:
            one.replied(reply, MORNING)
        assert refused.value.state == before.value
        assert one == untouched


def test_the_table_names_every_state() -> None:
    """No state is forgotten, and only closed has no way out."""
    assert set(ALLOWED) == set(State)
    assert [s for s, to in ALLOWED.items() if not to] == [State.CLOSED]


def test_closing_ends_the_during_clips_and_live_ten_minutes_later() -> None:
    """What follows from closing."""
    closed = replace(alarm(), state=State.ARRIVED).replied(State.CLOSED, MORNING)
    assert closed is not None
    assert (closed.during_next_at, closed.live_revoked_at) == (None, MORNING + timedelta(minutes=10))
    assert alarm().live_revoked_at is None


def test_a_press_again_counts_on_and_prolongs_the_during_clips() -> None:
    """The half hour begins anew at the last press; where clips had ended, they begin again."""
    later = MORNING + timedelta(minutes=50)
    again = replace(alarm(), during_next_at=None).pressed_again(later)
    assert (again.presses, again.last_press_at) == (2, later)
    assert (again.during_next_at, again.during_until) == (later, later + timedelta(minutes=30))


def test_a_press_again_without_cameras_asks_for_no_clips() -> None:
    """An alarm that has no camera has no during clips either."""
    assert replace(alarm(), cameras=(), during_next_at=None).pressed_again(MORNING).during_next_at is None


def test_during_clips_end_half_an_hour_after_the_press() -> None:
    """Sixty clips of 30 s, back to back."""
    one, count = alarm(), 0
    while one.during_next_at is not None:
        assert one.during_next_at == MORNING + timedelta(seconds=30 * count)
        one, count = one.during_taken(), count + 1
    assert count == 60


@pytest.mark.parametrize(
    ("ahead", "wanted"),
    [
        (None, timedelta(0)),
        (timedelta(0), timedelta(0)),
        (timedelta(hours=-23, minutes=-59), timedelta(hours=-23, minutes=-59)),
        (timedelta(hours=-24), timedelta(hours=-24)),
        (timedelta(hours=-24, seconds=-1), timedelta(0)),
        (timedelta(seconds=1), timedelta(0)),
        (timedelta(seconds=3), timedelta(0)),
        (timedelta(days=400), timedelta(0)),
    ],
)
def test_the_contacts_own_time_is_taken_if_it_can_be_true(ahead: timedelta | None, wanted: timedelta) -> None:
    """At most 24 h old and not in the future, else the arrival; never later than the arrival."""
    at = None if ahead is None else (MORNING + ahead).astimezone(timezone(timedelta(hours=8)))
    assert plausible(at, MORNING) == MORNING + wanted


@pytest.mark.parametrize("year", [1, 1970, 9999])
def test_a_contacts_time_at_the_ends_of_the_calendar_is_not_believed(year: int) -> None:
    """Whatever a dead battery makes of a clock, it is compared without an overflow."""
    for hours in (-14, 14):
        at = datetime(year, 6, 1, tzinfo=timezone(timedelta(hours=hours)))
        assert plausible(at, MORNING) == MORNING


def test_ids_sort_by_time_are_unique_and_say_what_they_are() -> None:
    """Ten thousand of one millisecond differ; a later millisecond sorts later."""
    same = {new_id("alm", MORNING) for _ in range(10_000)}
    assert len(same) == 10_000
    assert {i[:4] for i in same} == {"alm_"}
    assert {len(i) for i in same} == {30}
    later = new_id("alm", MORNING + timedelta(milliseconds=1))
    assert max(same) < later
    assert new_id("alm", datetime(2100, 1, 1, tzinfo=UTC)) > later


def test_what_a_press_asks_of_its_cameras() -> None:
    """Press stills of every camera first; then 2 s before and after, the clip before, the whole one."""
    asked = press_evidence(before_s=30, after_s=60, pressed_at=MORNING, cameras=["a", "b"])
    assert [
        (c, k.value, m.value, (s - MORNING).total_seconds(), (e - MORNING).total_seconds())
        for c, k, m, s, e in asked
    ] == [
        (camera, kind.value, moment.value, start, end)
        for kind, moment, start, end in [
            (Kind.STILL, Moment.PRESS, 0, 0),
            (Kind.STILL, Moment.BEFORE, -2, -2),
            (Kind.CLIP, Moment.BEFORE, -30, 0),
            (Kind.STILL, Moment.AFTER, 2, 2),
            (Kind.CLIP, Moment.WHOLE, -30, 60),
        ]
        for camera in ("a", "b")
    ]

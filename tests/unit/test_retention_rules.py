"""When something may go, by which time that is decided, and what gives way when there is no room."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.hold import MARGIN, Hold, due_before, evidence_held, kept_until, overdue_before
from gateway.domain.plan import Camera, Zone
from gateway.domain.recording import Quality
from gateway.domain.room import allowed, full_in_hours, importance, rungs, taken
from gateway.domain.trust import GRANTED_MOST, TrustedTime
from tests.support.builders import site

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STEPS = ("substream", "keyframes", "stop")
RANKS = {"yard": 0, "hall": 1, "gate": 2}
GB = 10**9


def trusted(**changes: object) -> TrustedTime:
    return TrustedTime(**({"at": NOW, "reckoned": NOW} | changes))  # type: ignore[arg-type]


@given(st.integers(0, 400), st.timedeltas(timedelta(0), timedelta(days=500)))
def test_what_is_due_is_past_its_floor_by_more_than_the_margin(days: int, age: timedelta) -> None:
    """And what is not gone a day after the period is beyond its ceiling: due comes well before overdue."""
    end = NOW - age
    if end < due_before(NOW, days):
        assert kept_until(end, days) < NOW - MARGIN
        assert age > timedelta(days=30)
    assert overdue_before(NOW, days) + timedelta(hours=20) < due_before(NOW, days)


def test_alarm_evidence_is_held_until_released_and_a_drills_never() -> None:
    """Also before anybody has written the hold down; one hold of several is enough."""
    hold = Hold(
        id="hld_1",
        reason="r",
        placed_by="gateway",
        placed_unit="",
        placed_at=NOW,
        review_at=NOW,
        alarm="alm_1",
    )
    released = Hold(**{f: getattr(hold, f) for f in hold.__slots__} | {"released_at": NOW})
    assert evidence_held([], drill=False)
    assert evidence_held([released, hold], drill=False)
    assert not evidence_held([released], drill=False)
    assert not evidence_held([hold], drill=True)


def test_a_clock_that_jumps_ahead_is_not_followed() -> None:
    """A day forward: what is trusted goes on by the clock that never jumps, until another clock says the same."""
    jumped = trusted().advanced(60, NOW + DAY)
    assert jumped.at == NOW + timedelta(seconds=60)
    assert jumped.behind(NOW + DAY) == DAY - timedelta(seconds=60)
    assert jumped.confirmed(NOW + DAY, NOW, "110") is None
    agreed = jumped.confirmed(NOW + DAY, NOW + DAY + timedelta(seconds=40), "110")
    assert agreed is not None
    assert (agreed.at, agreed.granted, agreed.behind(NOW + DAY)) == (
        NOW + DAY,
        timedelta(seconds=40),
        timedelta(0),
    )


def test_restarts_are_granted_their_minutes_but_no_more_than_the_margin_in_all() -> None:
    """Ten restarts of ten minutes without anybody's word: the first six are granted."""
    now, wall = trusted(), NOW
    for _ in range(10):
        wall += timedelta(minutes=10)
        now = now.resumed(wall).advanced(0, wall)
    assert now.granted <= GRANTED_MOST
    assert now.behind(wall) == timedelta(minutes=40)


def test_a_clock_set_back_moves_no_recordings_real_age() -> None:
    """The reckoning goes on, over a restart with a dead battery too; once the clock is right again both agree."""
    wall = NOW - 40 * DAY
    back = trusted().advanced(60, wall)
    assert back.at == wall
    assert back.reckoned == NOW + timedelta(seconds=60)
    rebooted = back.resumed(datetime(2000, 1, 1, tzinfo=UTC)).advanced(30, datetime(2000, 1, 1, tzinfo=UTC))
    assert rebooted.reckoned == NOW + timedelta(seconds=90)
    right = rebooted.confirmed(NOW + HOUR, NOW + HOUR, "110")
    assert right is not None
    assert right.at == right.reckoned == NOW + HOUR


@given(
    st.lists(
        st.tuples(st.floats(0, 7200), st.timedeltas(timedelta(days=-50), timedelta(days=50)), st.booleans()),
        max_size=30,
    )
)
def test_however_one_clock_jumps_the_trusted_time_is_never_far_ahead(
    steps: list[tuple[float, timedelta, bool]],
) -> None:
    """With a centre that tells the truth, and restarts in between, it is never later than the truth by more than the margin and
    what counts as agreeing."""
    truth, now = NOW, trusted()
    for elapsed_s, wrong_by, restarted in steps:
        truth += timedelta(seconds=elapsed_s)
        wall = truth + wrong_by
        now = now.resumed(wall).advanced(0, wall) if restarted else now.advanced(elapsed_s, wall)
        now = now.confirmed(wall, truth, "110") or now
        assert now.at <= truth + MARGIN + timedelta(minutes=5)
        assert now.at <= wall


@pytest.mark.parametrize(
    ("headroom", "hourly", "freed", "found"),
    [
        (100, 10, [], 10),
        (0, 10, [], 0),
        (100, 10, [10] * 200, None),
        (100, 10, [0] * 4 + [10] * 200, None),
        (30, 10, [0] * 4 + [10] * 200, 3),
        (10**6, 1, [], None),
        (100, 0, [], None),
    ],
)
def test_the_forecast_counts_what_comes_and_what_goes(
    headroom: int, hourly: float, freed: list[int], found: int | None
) -> None:
    """Hours until there is no room but the reserve; none if what goes by its period makes up for what comes."""
    assert full_in_hours(headroom, hourly, freed) == found


def test_gates_give_way_last() -> None:
    """All steps of cameras of no gate or passage, then of passages, then of gates; a gate stops only with nothing left."""
    assert rungs(list(RANKS.values()), STEPS)[0] == (0, "substream")
    assert rungs(list(RANKS.values()), STEPS)[-1] == (2, "stop")
    full, sub, key = Quality.FULL, Quality.SUBSTREAM, Quality.KEYFRAMES
    seen = [allowed(RANKS, STEPS, level, GB) for level in range(9)]
    assert [one["yard"] for one in seen] == [full, sub, key, *[None] * 6]
    assert [one["hall"] for one in seen] == [*[full] * 4, sub, key, *[None] * 3]
    assert [one["gate"] for one in seen] == [*[full] * 7, sub, key]
    assert allowed(RANKS, STEPS, 9, 0) == dict.fromkeys(RANKS, None)
    assert allowed(RANKS, ("substream",), 3, 0) == dict.fromkeys(RANKS, None)


def test_steps_are_taken_as_room_dwindles_and_taken_back_later_than_taken() -> None:
    """None above six hours' room, the last only at none; room that comes and goes at one step's edge moves nothing."""
    levels = [taken(headroom * GB, 10 * GB, 9, 0) for headroom in (1000, 60, 59, 30, 1, 0, -5)]
    assert levels == [0, 0, 0, 4, 8, 9, 9]
    assert taken(30 * GB, 10 * GB, 9, 4) == 4
    assert taken(34 * GB, 10 * GB, 9, 4) == 4
    assert taken(45 * GB, 10 * GB, 9, 4) < 4
    assert taken(90 * GB, 10 * GB, 9, 9) == 0


def test_importance_is_that_of_the_zone() -> None:
    """A camera that left the plan is the least."""
    kinds = {"g": "gate", "p": "passage", "c": "classroom"}
    plan = replace(
        site(),
        zones={z: Zone(id=z, name=z, kind=kind) for z, kind in kinds.items()},
        cameras={f"cam-{z}": Camera(id=f"cam-{z}", name=z, zone=z) for z in kinds},
    )
    found = {c: importance(plan, c) for c in ("cam-g", "cam-p", "cam-c", "cam-gone")}
    assert found == {"cam-g": 2, "cam-p": 1, "cam-c": 0, "cam-gone": 0}

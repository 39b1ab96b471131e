"""Until when an object is locked: its period exactly, by a clock that somebody else confirmed; else a day, made anew."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.domain.object_lock import RENEW_BEFORE, UNCONFIRMED, lacks, lock_until
from tests.support.clock import MORNING

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("days", [30, 90])
def test_by_a_confirmed_clock_it_is_the_period_after_its_end(days: int) -> None:
    """Not a second less, and not longer because it was stored late."""
    for late in (timedelta(0), MINUTE, 3 * DAY):
        assert lock_until(MORNING, MORNING + late, days, confirmed=True) == MORNING + days * DAY


def test_by_an_unconfirmed_clock_it_is_a_day() -> None:
    """A clock that is a year ahead locks nothing for a year; and nothing beyond its period either."""
    assert lock_until(MORNING, MORNING, 30, confirmed=False) == MORNING + UNCONFIRMED
    late = MORNING + 29.5 * DAY
    assert lock_until(MORNING, late, 30, confirmed=False) == MORNING + 30 * DAY


def test_what_claims_to_end_in_the_future_is_not_locked_for_longer() -> None:
    """A camera's or clock's mistake of a year costs no year of a disk."""
    assert lock_until(MORNING + 365 * DAY, MORNING, 30, confirmed=True) == MORNING + 30 * DAY


@pytest.mark.parametrize("confirmed", [True, False])
def test_what_is_past_its_period_is_locked_no_more(confirmed: bool) -> None:
    """It is to be deleted: a lock would be in the way."""
    assert lock_until(MORNING, MORNING + 30 * DAY, 30, confirmed=confirmed) is None
    assert not lacks(None, MORNING, MORNING + 30 * DAY, 30, confirmed=confirmed)


def test_a_short_lock_is_renewed_long_before_it_ends() -> None:
    """A day's lock is left alone for half of it, made anew in the other half, and made whole once the clock is confirmed."""
    short = MORNING + UNCONFIRMED
    almost = MORNING + UNCONFIRMED - RENEW_BEFORE
    assert not lacks(short, MORNING, almost - MINUTE, 30, confirmed=False)
    assert lacks(short, MORNING, almost + MINUTE, 30, confirmed=False)
    assert lacks(short, MORNING, MORNING + MINUTE, 30, confirmed=True)
    assert lacks(None, MORNING, MORNING, 30, confirmed=False)


def test_a_whole_lock_is_left_alone_to_its_end() -> None:
    """Renewed or not confirmed: what is locked for its period needs nothing, also in its last hours."""
    whole = MORNING + 30 * DAY
    for now in (MORNING, MORNING + 15 * DAY, whole - MINUTE):
        for confirmed in (True, False):
            assert not lacks(whole, MORNING, now, 30, confirmed=confirmed)

"""Keeping on a box nobody looks after: clocks without a battery, disks that go and come back, objects that will not go."""

from __future__ import annotations

import errno
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.domain.errors import Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.finding import Finding
from gateway.domain.room import Room
from gateway.fsck.ledger_audit import deletions, unexplained
from gateway.recording.deletion import BATCH
from tests.integration.test_keeping import DAY, HOUR, LI, kept
from tests.support.clock import MORNING, ManualClock, run
from tests.support.footage import recorded

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("clock_says", ["when it was switched off", "1970"])
def test_what_is_recorded_before_a_dead_clock_is_set_right_keeps_its_period(
    tmp_path: Path, clock_says: str
) -> None:
    """Forty days without current and no battery: its first minutes bear the date of before, or of 1970. NTP comes, the centre
    confirms: none of them goes before it is thirty days old."""

    async def story() -> None:
        clock = ManualClock()
        async with kept(tmp_path, clock) as k:
            k.keeping.heard_time(clock.now(), "110")
            await k.keeping.look()
        away = 40 * DAY
        off = (
            timedelta(0)
            if clock_says.startswith("when")
            else MORNING - datetime(1970, 1, 1, tzinfo=MORNING.tzinfo)
        )
        clock.step_wall(-off.total_seconds())
        async with kept(tmp_path, clock) as k:
            begun, made = clock.now(), []
            for n in range(30):
                await clock.advance(60)
                await k.keeping.look()
                made += await recorded(
                    k.store, k.objects, "cam-a", begun + n * MINUTE, 1, reckoned_end=k.keeping.reckoned()
                )
            clock.step_wall((away + off).total_seconds())
            await k.later(MINUTE)
            assert await k.keys() == sorted(one.key for one in made), "minutes old, and gone"
            await k.later(30 * DAY - HOUR)
            assert await k.keys() == sorted(one.key for one in made)
            await k.later(3 * HOUR)
            assert await k.keys() == []

    run(story())


def test_one_object_that_will_not_go_holds_up_no_other(tmp_path: Path) -> None:
    """A bad place on the disk refuses one deletion for years: everything else goes as it is due, and a fault names the one."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            (stuck, *_) = await recorded(k.store, k.objects, "cam-a", MORNING, BATCH + 5)
            await recorded(k.store, k.objects, "cam-g", MORNING, 5)
            delete = type(k.objects).delete

            async def stubborn(self: object, key: str) -> None:
                if key == stuck.key:
                    raise Unavailable(f"deleting {key}: {os.strerror(errno.EIO)}")
                await delete(k.objects, key)

            k.objects.delete = stubborn.__get__(k.objects)  # type: ignore[method-assign]
            await k.later(31 * DAY)
            assert await k.keys() == [stuck.key]
            assert stuck.key in k.keeping.causes[FaultKind.STORE, "retention"]

    run(story())


def test_a_disk_that_is_not_there_deletes_nothing_and_is_said(tmp_path: Path) -> None:
    """Its mount point is empty when the sweep comes: nothing is put on record as deleted; it comes back, and all goes its way."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            made = await recorded(k.store, k.objects, "cam-a", MORNING, 5)
            away = tmp_path / "elsewhere"
            k.objects.root.rename(away)
            k.objects.root.mkdir()
            await k.later(31 * DAY)
            assert await k.store.read(lambda tx: tx.deletions.listed(MORNING - DAY, MORNING + DAY)) == []
            assert (FaultKind.STORE, "retention") in k.keeping.causes
            k.objects.root.rmdir()
            away.rename(k.objects.root)
            assert await k.keys() == [one.key for one in made]
            await k.later(HOUR)
            assert await k.keys() == []
            (record,) = await k.store.read(lambda tx: tx.deletions.listed(MORNING - DAY, MORNING + DAY))
            assert len(record.items) == 5

    run(story())


@pytest.mark.parametrize("left", ["nothing recorded for a day", "a box that has just begun"])
def test_the_reserve_is_kept_where_there_is_no_rate_to_go_by(tmp_path: Path, left: str) -> None:
    """With the disk down to the reserve nothing is recorded, also where nothing can be forecast."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            if left.startswith("nothing"):
                await recorded(k.store, k.objects, "cam-a", MORNING, 60, size=10**8)
                await k.later(2 * HOUR)
            k.room[0] = Room(total=10**13, free=10**9 // 2)
            await k.keeping.look()
            assert [k.keeping.allowed(camera) for camera in ("cam-a", "cam-g")] == [None, None]
            await k.later(26 * HOUR)
            assert [k.keeping.allowed(camera) for camera in ("cam-a", "cam-g")] == [None, None]

    run(story())


def test_a_period_made_longer_makes_no_earlier_deletion_a_crime(tmp_path: Path) -> None:
    """The school becomes a key target: thirty days were right then, and fsck goes on finding nothing."""

    async def found(k: object, days: int) -> list[Finding]:
        checks = (deletions(k.store, days), unexplained(k.store, k.clock.now(), days))  # type: ignore[attr-defined]
        return [finding for check in checks async for finding in check]

    async def story() -> None:
        async with kept(tmp_path) as k:
            await recorded(k.store, k.objects, "cam-a", MORNING, 2 * BATCH)
            await k.store.write(lambda tx: tx.recordings.cease("cam-a", MORNING + 2 * BATCH * MINUTE))
            await k.later(31 * DAY)
            assert await k.keys() == []
            assert await found(k, 30) == []
            assert await found(k, 90) == []

    run(story())


def test_what_is_overdue_is_told_also_behind_what_is_held(tmp_path: Path) -> None:
    """A day held for a court hides nothing that follows it."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            made = await recorded(k.store, k.objects, "cam-a", MORNING, 1100)
            await k.keeping.holding.place(
                camera="cam-a", start=MORNING, end=MORNING + 1090 * MINUTE, who=LI, reason="案件 2026-17"
            )
            k.objects.refuses = frozenset(one.key for one in made[1090:])
            await k.later(32 * DAY)
            assert (FaultKind.STORE, "retention-ceiling") in k.keeping.causes

    run(story())

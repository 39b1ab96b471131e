"""The stage that keeps objects locked: tried at the start and daily, made longer in time, and loud where a store cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from gateway.domain.fault import FaultKind
from gateway.domain.object_lock import UNCONFIRMED
from gateway.domain.stored import LockProof
from gateway.recording.object_locks import (
    LOOK_EVERY_S,
    PROVE_AGAIN_S,
    PROVE_EVERY_S,
    UNTRIED_SHOWN_S,
    Locking,
)
from tests.support.clock import MORNING, ManualClock, run
from tests.support.footage import recorded
from tests.support.locking_store import LockingObjects
from tests.support.stores import WatchedStore, opened

DAYS = 30
DAY = timedelta(days=1)
HOUR_S, DAY_S = 3600.0, 86_400.0
LOCK = (FaultKind.STORE, "lock")


@dataclass(slots=True)
class Yard:
    store: WatchedStore
    clock: ManualClock
    objects: LockingObjects
    confirmed: bool = True
    stage: Locking = field(init=False)

    def __post_init__(self) -> None:
        self.stage = Locking(
            store=self.store,
            clock=self.clock,
            objects=self.objects,
            retention_days=DAYS,
            confirmed=lambda: self.confirmed,
        )

    async def days(self, days: float, step_s: float = LOOK_EVERY_S * 10) -> None:
        """So much time with the stage looking now and then."""
        for _ in range(round(days * DAY_S / step_s)):
            await self.clock.advance(step_s)
            await self.stage.look()

    async def evidence(self, end: datetime) -> Evidence:
        """A still on record as stored, not locked."""
        item = Evidence(
            id=f"evd_{end:%Y%m%d%H%M}",
            alarm="alm_1",
            camera="cam-a",
            kind=Kind.STILL,
            moment=Moment.PRESS,
            start=end,
            end=end,
            key=f"school/alarms/{end:%Y%m%d%H%M}.jpg",
            sha256="0" * 64,
            bytes=1,
        )
        await self.objects.put_bytes(item.key or "", b"x")
        stored = replace(item, state=EvidenceState.STORED, stored_at=self.clock.now())
        await self.store.write(lambda tx: tx.evidence.add([stored]))
        return stored


@asynccontextmanager
async def yard(folder: Path) -> AsyncIterator[Yard]:
    async with opened(folder) as store:
        clock = ManualClock(busy=store.busy)
        yield Yard(store=store, clock=clock, objects=LockingObjects(clock))


def test_what_was_stored_before_the_store_proved_itself_is_locked_for_its_period(tmp_path: Path) -> None:
    """Recordings and evidence without a lock get theirs, exactly, on record and in the store, and then are left alone."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            segments = await recorded(y.store, y.objects, "cam-a", MORNING - DAY, 3)
            item = await y.evidence(MORNING - DAY)
            await y.stage.look()
            for one in segments:
                assert y.objects.locks[one.key] == one.end + DAYS * DAY
                kept = await y.store.read(lambda tx, k=one.key: tx.recordings.at_key(k))  # type: ignore[misc]
                assert kept is not None
                assert (kept.locked_until, kept.version) == (one.end + DAYS * DAY, "v1")
            assert y.objects.locks[item.key or ""] == item.end + DAYS * DAY
            row = await y.store.read(lambda tx: tx.evidence.get(item.id))
            assert row is not None
            assert (row.locked_until, row.version) == (item.end + DAYS * DAY, "v1")
            asked = len(y.objects.asked)
            assert asked == 4
            await y.days(29.5)
            assert len(y.objects.asked) == asked
            assert y.stage.causes == {}

    run(story(), 60)


def test_an_unconfirmed_clock_locks_for_a_day_and_never_lets_it_end(tmp_path: Path) -> None:
    """Over five days no instant finds the object unlocked, and none finds it locked for more than a day ahead."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.confirmed = False
            (one,) = await recorded(y.store, y.objects, "cam-a", MORNING, 1)
            await y.stage.look()
            for _ in range(5 * 24):
                left = y.objects.locks[one.key] - y.clock.now()
                assert timedelta(hours=11) < left <= UNCONFIRMED
                await y.clock.advance(HOUR_S)
                await y.stage.look()
            assert 9 <= len(y.objects.asked) <= 11
            y.confirmed = True
            await y.clock.advance(LOOK_EVERY_S)
            await y.stage.look()
            assert y.objects.locks[one.key] == one.end + DAYS * DAY

    run(story(), 60)


def test_what_is_put_is_locked_by_the_word_of_the_clock(tmp_path: Path) -> None:
    """The stage says until when: the period if the clock is confirmed, a day if not, not at all for what is past it."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            assert y.stage.until(MORNING) == MORNING + DAYS * DAY
            assert y.stage.until(MORNING - 31 * DAY) is None
            y.confirmed = False
            assert y.stage.until(MORNING) == MORNING + UNCONFIRMED

    run(story())


def test_a_reckoned_end_later_than_its_own_decides(tmp_path: Path) -> None:
    """Recorded while the clock was set back: the lock lasts as long as the floor does, from when it really was."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.clock.step_wall(60.0)
            (one,) = await recorded(y.store, y.objects, "cam-a", MORNING - 20 * DAY, 1, reckoned_end=MORNING)
            await y.stage.look()
            assert y.objects.locks[one.key] == MORNING + DAYS * DAY

    run(story())


def test_the_trial_is_made_at_the_start_and_daily(tmp_path: Path) -> None:
    """Once at the first look, then once a day, while it holds."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.stage.look()
            assert y.objects.trials == 1
            await y.days(3, HOUR_S)
            assert y.objects.trials == 4

    run(story())


def test_a_store_that_does_not_lock_is_loud_and_asked_again(tmp_path: Path) -> None:
    """The fault says why and what it means; nothing is asked of the store; once it locks, all is made up for."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.objects.proof = LockProof(holds=False, cause="it deleted a locked object")
            segments = await recorded(y.store, y.objects, "cam-a", MORNING, 2)
            await y.stage.look()
            assert "it deleted a locked object; whoever has the store's keys" in y.stage.causes[LOCK]
            assert y.objects.asked == []
            await y.clock.advance(PROVE_AGAIN_S)
            y.objects.proof = LockProof(holds=True)
            await y.stage.look()
            assert y.stage.causes == {}
            assert set(y.objects.locks) == {one.key for one in segments}

    run(story())


def test_a_store_that_stops_locking_is_found_within_a_day(tmp_path: Path) -> None:
    """It held yesterday: what was true once is no proof."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.stage.look()
            y.objects.proof = LockProof(holds=False, cause="the lock was taken off")
            await y.days(1, HOUR_S)
            assert "the lock was taken off" in y.stage.causes[LOCK]

    run(story())


def test_a_store_that_is_away_is_no_store_without_lock(tmp_path: Path) -> None:
    """It has a fault of its own; that nobody knows about its lock is told an hour later, or a day after the last proof."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.objects.away = "the store is away"
            await y.stage.look()
            assert y.stage.causes == {}
            await y.days(UNTRIED_SHOWN_S / DAY_S)
            assert "could not be tried: the store is away" in y.stage.causes[LOCK]
            y.objects.away = ""
            await y.days(PROVE_AGAIN_S / DAY_S)
            assert y.stage.causes == {}
            y.objects.away = "the store is away"
            await y.clock.advance(PROVE_EVERY_S)
            await y.stage.look()
            assert y.stage.causes == {}
            await y.days(UNTRIED_SHOWN_S / DAY_S)
            assert "could not be tried: the store is away" in y.stage.causes[LOCK]

    run(story())


def test_one_object_that_cannot_be_locked_holds_up_no_other(tmp_path: Path) -> None:
    """It is named in a fault, and the rest is locked; once it can be, the fault goes."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            segments = await recorded(y.store, y.objects, "cam-a", MORNING, 5)
            y.objects.refusing = {segments[2].key}
            await y.stage.look()
            assert set(y.objects.locks) == {s.key for s in segments} - y.objects.refusing
            cause = y.stage.causes[FaultKind.STORE, "lock-renewal"]
            assert cause.startswith("1 object(s)")
            assert segments[2].key in cause
            y.objects.refusing = set()
            await y.days(1 / 24)
            assert y.stage.causes == {}
            assert len(y.objects.locks) == 5

    run(story())


def test_of_what_is_on_record_without_a_version_no_stranger_is_locked(tmp_path: Path) -> None:
    """It was put before the bucket kept versions, and something lies over it by now: whose, nobody can tell."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            segments = await recorded(y.store, y.objects, "cam-a", MORNING, 3)
            y.objects.covered = {segments[1].key}
            await y.stage.look()
            assert set(y.objects.locks) == {segments[0].key, segments[2].key}
            cause = y.stage.causes[FaultKind.STORE, "lock-renewal"]
            assert f"{segments[1].key}: no version is on record" in cause
            assert "which of 2 there" in cause

    run(story())


def test_a_trial_object_that_never_goes_is_told(tmp_path: Path) -> None:
    """What is locked for an hour and cannot be deleted after it means that nothing will go after its period."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.objects.proof = LockProof(holds=True, stuck="canary/1.txt: AccessDenied")
            await y.stage.look()
            assert "canary/1.txt" in y.stage.causes[FaultKind.STORE, "lock-end"]
            assert LOCK not in y.stage.causes

    run(story())


def test_more_than_a_batch_is_locked_in_one_look(tmp_path: Path) -> None:
    """Five hundred minutes of a store that has just proved itself."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await recorded(y.store, y.objects, "cam-a", MORNING - DAY, 500)
            await y.stage.look()
            assert len(y.objects.locks) == len(y.objects.asked) == 500

    run(story(), 60)

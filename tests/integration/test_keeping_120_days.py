"""A school's 120 days in a minute: every evening the ledger is whole, the floor holds and so does the ceiling.

Eight cameras, real database, real store, a clock held in the hand. The recorder is played by the test (segments of six hours,
tiny objects). Beside the gateway's own checks runs a model that knows the true time of everything.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.domain.alarm import Drill, State
from gateway.domain.errors import Unavailable
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from gateway.domain.fault import FaultKind
from gateway.domain.ids import new_id
from gateway.domain.plan import Camera, Site, Zone
from gateway.domain.recording import Gap, GapCause, Quality, Segment
from gateway.domain.register import Act, Who
from gateway.domain.room import Room
from gateway.fsck.ledger_audit import ceiling, deletions, sums, unexplained
from gateway.fsck.object_audit import OnRecord
from gateway.fsck.object_audit import objects as audited
from gateway.ports.store import Transaction
from gateway.recording.deletion import CRASH_POINTS
from gateway.recording.retention import Keeping
from storage.objects.local import LocalObjects
from tests.support import builders
from tests.support.clock import MORNING, ManualClock, run
from tests.support.footage import SITE, segment
from tests.support.stores import WatchedStore, opened

SEED, DAYS = 20260302, 120
SLOT, DAY, HOUR = timedelta(hours=6), timedelta(days=1), timedelta(hours=1)
START = MORNING.replace(minute=0, second=0, microsecond=0)
PERIOD = timedelta(days=30)
LI = Who(name="李老师", unit="第三中学", right="technician")
KINDS = ("gate", "gate", "passage", "corridor", "corridor", "classroom", "canteen", "playground")
FULL, PLENTY = 0.5, 1000.0  # GB free


class Killed(BaseException):
    """The process ends here."""


class AwayObjects(LocalObjects):
    """A real store that can be away."""

    away = False

    async def put_bytes(self, key: str, data: bytes) -> None:
        if self.away:
            raise Unavailable("the store is away")
        await super().put_bytes(key, data)

    async def delete(self, key: str) -> None:
        if self.away:
            raise Unavailable("the store is away")
        await super().delete(key)


def plan(cameras: list[str]) -> Site:
    zones = {f"z{n}": Zone(id=f"z{n}", name=kind, kind=kind) for n, kind in enumerate(KINDS)}
    known = {c: Camera(id=c, name=c, zone=f"z{n}", continuous=True) for n, c in enumerate(cameras)}
    return replace(builders.site(), zones=zones, cameras=known)


@dataclass(slots=True)
class School:
    """The box, what happens to it, and what is true of it."""

    folder: Path
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    cameras: list[str] = field(default_factory=lambda: [f"cam-{n}" for n in range(8)])
    free_gb: float = PLENTY
    die_at: str = ""
    centre_answers: bool = True
    at: dict[str, datetime] = field(default_factory=dict)  # recorded or explained up to here
    spool: list[tuple[Segment, bytes]] = field(default_factory=list)
    made: dict[str, Segment] = field(default_factory=dict)  # every object ever stored, with its true end
    gaps: dict[GapCause, int] = field(default_factory=dict)
    looked_at: int = 0  # the last deletion that was looked at in an earlier evening
    hold: tuple[str, datetime, datetime] | None = None
    store: WatchedStore = field(init=False)
    objects: AwayObjects = field(init=False)
    keeping: Keeping = field(init=False)

    def passed(self, point: str) -> None:
        if point == self.die_at:
            self.die_at = ""
            raise Killed

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The gateway from a start to its end."""
        async with opened(self.folder) as store:
            self.store, self.clock.busy = store, store.busy
            self.objects = AwayObjects(self.folder / "objects")
            await self.objects.start()
            self.keeping = Keeping(
                store=store,
                clock=self.clock,
                objects=self.objects,
                site=plan(self.cameras),
                steps=("substream", "keyframes", "stop"),
                reserve_bytes=10**9,
                room=lambda: Room(total=10**13, free=round(self.free_gb * 1e9)),
                passed=self.passed,
            )
            now, back = self.clock.now(), list(self.at)

            def begin(tx: Transaction) -> None:
                for camera in self.cameras:
                    tx.recordings.begin(camera, self.at.setdefault(camera, now))
                for camera in set(self.at) - set(self.cameras):
                    tx.recordings.cease(camera, self.at[camera])

            await store.write(begin)
            for camera in [c for c in back if c in self.cameras and self.at[c] < now]:
                await self.gap(camera, now, GapCause.GATEWAY)
            yield
            await store.write(lambda tx: None)  # what may wait goes with it

    async def gap(self, camera: str, end: datetime, cause: GapCause) -> None:
        one = Gap(id=new_id("gap", end), camera=camera, start=self.at[camera], end=end, cause=cause)
        assert await self.store.write(lambda tx: tx.recordings.open_gap(one))
        self.gaps[cause] = self.gaps.get(cause, 0) + 1
        self.at[camera] = end

    async def slot(self, out: dict[str, GapCause] | None = None) -> None:
        """Six hours with the box running; ``out`` are cameras of which nothing comes."""
        await self.clock.advance(SLOT.total_seconds())
        for number, camera in enumerate(self.cameras):
            end = self.clock.now() - timedelta(seconds=10 * number)
            cause = (out or {}).get(camera)
            if cause is None and self.chance.random() < 0.01:
                cause = self.chance.choice((GapCause.CAMERA, GapCause.NETWORK))
            if self.keeping.allowed(camera) is None:
                cause = GapCause.STORE
            if cause is not None:
                await self.gap(camera, end, cause)
                continue
            start = self.at[camera]
            self.spool.append(
                segment(
                    camera,
                    start,
                    end - start,
                    reckoned_end=self.keeping.reckoned(),
                    quality=self.keeping.allowed(camera) or Quality.FULL,
                )
            )
            self.at[camera] = end
        await self.empty_spool()
        if self.centre_answers:
            self.keeping.heard_time(self.clock.now(), "110")
        await self.keeping.look()

    async def empty_spool(self) -> None:
        while self.spool:
            one, data = self.spool[0]
            try:
                await self.objects.put_bytes(one.key, data)
            except Unavailable:
                return
            assert await self.store.write(lambda tx, one=one: tx.recordings.add(one))  # type: ignore[misc]
            self.made[one.key] = one
            del self.spool[0]

    async def evening(self, *, whole: bool) -> None:
        """Everything is as it should be, by the gateway's own checks and by the model; ``whole`` looks at sums too."""
        now = self.clock.now()
        for check in (
            unexplained(self.store, now, 30),
            audited(OnRecord.RECORDINGS, self.store, self.objects, SITE),
            ceiling(self.store, now, 30),
            deletions(self.store, 30, self.looked_at),
            *((sums(self.store),) if whole else ()),
        ):
            assert [finding async for finding in check] == [], now
        if new := await self.store.read(lambda tx: tx.deletions.after(self.looked_at, 10_000)):
            self.looked_at = new[-1][0]
        there = set(await self.objects.keys(f"{SITE}/recordings/"))
        for key in [k for k in self.made if k not in there]:
            gone = self.made.pop(key)
            assert now - gone.end > PERIOD, f"{key} went before its floor"
            assert not self.held(gone), f"{key} was held"
        assert there == set(self.made)
        for key, one in self.made.items():
            assert self.held(one) or now - one.end < PERIOD + DAY, f"{key} is beyond its ceiling"

    def held(self, one: Segment) -> bool:
        if self.hold is None:
            return False
        camera, start, end = self.hold
        return one.camera == camera and one.start < end and one.end > start

    async def alarm(self, id_: str) -> str:
        now = self.clock.now()
        key = f"{SITE}/{'drills' if id_.startswith('drl') else 'alarms'}/{id_}/cam-0/evd_{id_}.jpg"
        await self.objects.put_bytes(key, id_.encode())
        drill = Drill.DRILL if id_.startswith("drl_") else None
        raised = replace(
            builders.alarm(id_, at=now, drill=drill, point=id_), state=State.CLOSED, closed_at=now
        )
        item = Evidence(
            id=f"evd_{id_}",
            alarm=id_,
            camera="cam-0",
            kind=Kind.STILL,
            moment=Moment.PRESS,
            start=now,
            end=now,
            state=EvidenceState.STORED,
            key=key,
            bytes=len(id_),
            stored_at=now,
        )

        def work(tx: Transaction) -> None:
            tx.alarms.add(raised)
            tx.evidence.add([item])

        await self.store.write(work)
        return key


@dataclass(slots=True)
class Days:
    """Goes from one day to the next."""

    school: School
    day: int = 0

    async def until(self, day: int, each: Callable[[int, int], dict[str, GapCause]] | None = None) -> None:
        while self.day < day:
            for slot in range(4):
                await self.school.slot(each(self.day, slot) if each else None)
            await self.school.evening(whole=self.day % 10 == 0)
            self.day += 1


@pytest.mark.slow
def test_every_evening_of_120_days_is_clean(tmp_path: Path) -> None:
    """Outages, restarts, a full disk, a store away, a wrong clock, a kill, a camera replaced, a hold and its release."""
    run(_days(School(tmp_path)), timeout_s=170)


async def _days(s: School) -> None:
    days = Days(s)
    async with s.running():
        await days.until(3)
        alarm, drill = await s.alarm("alm_1"), await s.alarm("drl_1")
        await days.until(12, lambda d, n: {"cam-2": GapCause.CAMERA} if d in (5, 6) else {})
        await days.until(14, lambda d, n: dict.fromkeys(("cam-3", "cam-4"), GapCause.NETWORK))
        await days.until(20)
    await s.clock.advance(5 * 3600)  # switched off for five hours
    async with s.running():
        await days.until(25)
        span = START + 23 * DAY, START + 24 * DAY
        placed, _ = await s.keeping.holding.place(
            camera="cam-1", start=span[0], end=span[1], who=LI, reason="案件"
        )
        s.hold = "cam-1", *span
        await days.until(40)
        assert await s.objects.size(drill) is None
    s.cameras[7] = "cam-8"  # another in its place
    async with s.running():
        await days.until(50)
        await _full_disk(s, days)
        await days.until(60)
        await _wrong_clock(s)
        await days.until(68)
        s.objects.away = True
        await s.slot()
        assert any("the store is away" in cause for cause in s.keeping.causes.values())
        s.objects.away = False
        for _ in range(3):
            await s.slot()
        await s.evening(whole=True)
        assert not s.spool
        await days.until(74)
        s.die_at = CRASH_POINTS[1]
        with pytest.raises(Killed):
            await days.until(76)
    assert s.die_at == ""
    async with s.running():
        await days.until(85)
    await s.clock.advance(40 * 3600)  # a power cut of a day and a half
    s.centre_answers = False
    async with s.running():
        await s.keeping.look()
        assert (FaultKind.CLOCK, "retention") in s.keeping.causes
        s.centre_answers = True
        await days.until(95)
        assert [one for one in s.made.values() if s.held(one)] != []
        await s.keeping.holding.release(placed.id, LI, "结案")
        s.hold = None
        assert await s.objects.size(alarm) is not None
        (of_alarm,) = await s.store.read(lambda tx: tx.holds.of_alarm("alm_1"))
        assert list(s.keeping.causes) == [(FaultKind.EVIDENCE, "holds")]
        await s.keeping.holding.release(of_alarm.id, LI, "结案")
        await days.until(DAYS)
        assert await s.objects.size(alarm) is None
        assert s.keeping.causes == {}
        assert set(s.gaps) == set(GapCause)
        assert not [key for key in s.made if "/cam-7/" in key]
        lines = await s.store.read(lambda tx: tx.register.lines(acts=[Act.DELETED], limit=10_000))
        assert lines
        assert [finding async for finding in deletions(s.store, 30)] == []
        assert all(line.sound for line in lines)


async def _full_disk(s: School, days: Days) -> None:
    """What is kept stays; of what is new the gates' cameras are the last to stop, and all of it is a gap of the store."""
    before = set(await s.objects.keys(f"{SITE}/recordings/"))
    s.free_gb = FULL
    await s.keeping.look()
    assert [s.keeping.allowed(c) for c in s.cameras] == [None] * 8
    await s.slot()
    gone = before - set(await s.objects.keys(f"{SITE}/recordings/"))
    assert all(s.clock.now() - s.made[key].end > PERIOD for key in gone)
    s.free_gb = PLENTY
    for _ in range(3):
        await s.slot()
    await s.evening(whole=True)
    days.day += 1


async def _wrong_clock(s: School) -> None:
    """A day ahead for a look and a sweep: nothing goes that was not due."""
    await s.slot()
    before = await s.objects.keys(f"{SITE}/recordings/")
    s.clock.step_wall(86400)
    await s.keeping.look()
    await s.keeping.sweep()
    assert (FaultKind.CLOCK, "retention") in s.keeping.causes
    s.keeping.heard_time(s.clock.now() - DAY, "110")
    await s.keeping.sweep()
    assert await s.objects.keys(f"{SITE}/recordings/") == before
    s.clock.step_wall(-86400)
    for _ in range(3):
        await s.slot()
    await s.evening(whole=True)

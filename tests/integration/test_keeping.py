"""Keeping on the real database and a real store: nothing goes before its floor, nothing unheld stays, all of it on record.

One file, though long: its tests share one school with its footage.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.alarm import Drill, State
from gateway.domain.errors import NotFound, Refused, Unavailable
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from gateway.domain.fault import FaultKind
from gateway.domain.finding import Finding
from gateway.domain.loss import Loss, LossKind
from gateway.domain.plan import Camera, Zone
from gateway.domain.recording import Quality
from gateway.domain.register import Act, Who
from gateway.domain.room import Room
from gateway.fsck.ledger_audit import ceiling, deletions, sums
from gateway.fsck.object_audit import OnRecord
from gateway.fsck.object_audit import objects as audited
from gateway.ports.store import Losses
from gateway.recording.deletion import BATCH
from gateway.recording.retention import Keeping
from storage.objects.local import LocalObjects
from tests.support import builders
from tests.support.clock import MORNING, ManualClock, run
from tests.support.footage import SITE, recorded
from tests.support.stores import WatchedStore, opened

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
LI = Who(name="李老师", unit="第三中学", right="technician")
PLENTY = Room(total=10**13, free=10**13)
PLAN = replace(
    builders.site(),
    zones={z: Zone(id=z, name=z, kind=kind) for z, kind in (("g", "gate"), ("c", "classroom"))},
    cameras={c: Camera(id=c, name=c, zone=z, continuous=True) for c, z in (("cam-a", "c"), ("cam-g", "g"))},
)


class StubbornObjects(LocalObjects):
    """A real store of which some keys cannot be deleted, or nothing can be reached."""

    refuses: frozenset[str] = frozenset()
    away = False

    async def delete(self, key: str) -> None:
        if self.away:
            raise Unavailable("the store is away")
        if key in self.refuses:
            raise Refused("locked until tomorrow")
        await super().delete(key)


@dataclass(slots=True)
class Kept:
    """Keeping at work."""

    store: WatchedStore
    objects: StubbornObjects
    clock: ManualClock
    keeping: Keeping
    room: list[Room | None]

    async def keys(self) -> list[str]:
        return await self.objects.keys("")

    async def lines(self, act: Act) -> list[Mapping[str, Any]]:
        found = await self.store.read(lambda tx: tx.register.lines(acts=[act], limit=1000))
        return [json.loads(line.body) for line in found]

    async def findings(self) -> list[Finding]:
        now, days = self.clock.now(), PLAN.retention_days
        checks = (
            audited(OnRecord.RECORDINGS, self.store, self.objects, SITE),
            ceiling(self.store, now, days),
            deletions(self.store, days),
            sums(self.store),
        )
        return [finding for check in checks async for finding in check]

    async def later(self, by: timedelta) -> None:
        """Time goes by with the box running, the centre's clock heard, and a sweep at the end."""
        await self.clock.advance(by.total_seconds())
        await self.keeping.look()
        self.keeping.heard_time(self.clock.now(), "110")
        await self.keeping.sweep()


@asynccontextmanager
async def kept(
    folder: Path, clock: ManualClock | None = None, losses: Losses | None = None
) -> AsyncIterator[Kept]:
    """Keeping on the database and objects in ``folder``; opening it again is a restart."""
    clock = clock or ManualClock()
    async with opened(folder) as store:
        clock.busy = store.busy
        objects = StubbornObjects(folder / "objects", known=folder / "objects.mark")
        await objects.start()
        room: list[Room | None] = [PLENTY]
        keeping = Keeping(
            store=store,
            clock=clock,
            objects=objects,
            site=PLAN,
            steps=("substream", "keyframes", "stop"),
            reserve_bytes=10**9,
            room=lambda: room[0],
            losses=losses,
        )
        await keeping.look()
        yield Kept(store, objects, clock, keeping, room)


def test_footage_goes_after_its_period_and_not_before(tmp_path: Path) -> None:
    """At thirty days all of it is there; two hours later what is due is gone, with its rows, sums and a signed record."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            made = await recorded(k.store, k.objects, "cam-a", MORNING, 2 * BATCH + 10)
            await k.later(30 * DAY)
            assert await k.keys() == sorted(one.key for one in made)
            await k.later(2 * HOUR)
            left = [one for one in made if one.end >= MORNING + HOUR]
            assert await k.keys() == sorted(one.key for one in left)
            assert 0 < len(left) < len(made)
            await k.later(1 * DAY)
            assert await k.keys() == []
            assert await k.store.read(lambda tx: tx.recordings.first("cam-a")) is None
            records = await k.store.read(lambda tx: tx.deletions.listed(MORNING, MORNING + DAY, "cam-a"))
            assert sorted(str(i["key"]) for r in records for i in r.items) == sorted(o.key for o in made)
            lines = await k.lines(Act.DELETED)
            assert [line["n"] for line in lines] == [record.register_line for record in records]
            assert [line["detail"]["items_sha256"] for line in lines] == [
                hashlib.sha256(record.lines).hexdigest() for record in records
            ]
            assert sum(line["detail"]["objects"] for line in lines) == len(made)
            assert max(line["detail"]["objects"] for line in lines) <= BATCH
            assert await k.findings() == []
            assert k.keeping.causes == {}

    run(story())


class Lost:
    """Losses of a database, as the safe store tells of them."""

    def __init__(self, *losses: Loss) -> None:
        self.losses = list(losses)

    @property
    def forgetful(self) -> bool:
        return any(loss.forgets for loss in self.losses)

    def note_older(self, cause: str) -> None:
        raise AssertionError(cause)

    async def acknowledge(self) -> Sequence[Loss]:
        known, self.losses = self.losses, []
        return known


@pytest.mark.parametrize("kind", list(LossKind))
def test_nothing_goes_while_the_database_may_have_forgotten_a_hold(tmp_path: Path, kind: LossKind) -> None:
    """However long its period is over, until a person says that the loss is known; that is a line of the register."""
    forgets = kind is not LossKind.REMOVED
    lost = Lost(Loss(at=MORNING, kind=kind, cause="a page that nobody can read"))

    async def story() -> None:
        async with kept(tmp_path, losses=lost) as k:
            made = await recorded(k.store, k.objects, "cam-a", MORNING, BATCH)
            await k.later(32 * DAY)
            assert len(await k.keys()) == (len(made) if forgets else 0)
            told = k.keeping.causes.get((FaultKind.STORE, "retention"), "")
            assert ("POST /api/v1/retention/database" in told) is forgets
            known = await k.keeping.acknowledge_losses(
                Who(name="李工", unit="第三中学", right="technician"), "disk changed"
            )
            assert [loss.kind for loss in known] == [kind]
            await k.later(HOUR)
            assert await k.keys() == []
            assert (FaultKind.STORE, "retention") not in k.keeping.causes
            (line,) = await k.lines(Act.CONFIRMED)
            assert line["detail"]["losses"][0]["kind"] == kind.value
            assert (line["name"], line["reason"]) == ("李工", "disk changed")

    run(story())


def test_a_camera_that_left_the_plan_keeps_its_footage_and_its_ceiling(tmp_path: Path) -> None:
    """Neither sooner nor later than any other's."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            await recorded(k.store, k.objects, "cam-replaced", MORNING, 5)
            await k.store.write(lambda tx: tx.recordings.cease("cam-replaced", MORNING + HOUR))
            await k.later(30 * DAY)
            assert len(await k.keys()) == 5
            await k.later(2 * HOUR)
            assert await k.keys() == []

    run(story())


def test_a_held_span_stays_until_a_person_releases_it(tmp_path: Path) -> None:
    """Of that camera and no other, whole segments that the span touches; its line says who, for which unit, why."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            a = await recorded(k.store, k.objects, "cam-a", MORNING, 10)
            await recorded(k.store, k.objects, "cam-g", MORNING, 10)
            hold, deleted = await k.keeping.holding.place(
                camera="cam-a",
                start=MORNING + timedelta(seconds=90),
                end=MORNING + timedelta(minutes=4),
                who=LI,
                reason="案件 2026-17",
            )
            assert deleted == []
            await k.later(32 * DAY)
            held = [one.key for one in a[1:4]]
            assert await k.keys() == held
            assert await k.findings() == []
            assert k.keeping.causes == {}
            await k.later(60 * DAY)
            assert list(k.keeping.causes) == [(FaultKind.EVIDENCE, "holds")]
            await k.keeping.holding.review(hold.id, LI, "尚未结案")
            assert k.keeping.causes == {}
            released = await k.keeping.holding.release(hold.id, LI, "结案")
            assert (released.released_by, released.released_unit) == ("李老师", "第三中学")
            await k.later(HOUR)
            assert await k.keys() == []
            said = [(await k.lines(act))[0] for act in (Act.HELD, Act.REVIEWED, Act.RELEASED)]
            assert [line["content"] for line in said] == [hold.id] * 3
            assert [line["reason"] for line in said] == ["案件 2026-17", "尚未结案", "结案"]
            assert {(line["name"], line["unit"], line["right"]) for line in said} == {
                ("李老师", "第三中学", "technician")
            }
            with pytest.raises(Refused, match="before"):
                await k.keeping.holding.release(hold.id, LI, "again")
            with pytest.raises(NotFound):
                await k.keeping.holding.release("hld_nothing", LI, "r")

    run(story())


def test_a_hold_says_what_was_deleted_before_it(tmp_path: Path) -> None:
    """Whoever holds too late learns it at once; a camera of which nothing was ever known is refused."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            await recorded(k.store, k.objects, "cam-old", MORNING, 3)
            await k.later(31 * DAY)
            start = MORNING - HOUR
            _, deleted = await k.keeping.holding.place(
                camera="cam-old", start=start, end=start + 2 * HOUR, who=LI, reason="r"
            )
            assert [len(record.items) for record in deleted] == [3]
            with pytest.raises(NotFound):
                await k.keeping.holding.place(
                    camera="cam-x", start=start, end=start + HOUR, who=LI, reason="r"
                )
            for end in (start, start - HOUR):
                with pytest.raises(Refused):
                    await k.keeping.holding.place(camera=None, start=start, end=end, who=LI, reason="r")
            far = k.clock.now() + timedelta(days=400)
            with pytest.raises(Refused, match="reviewed"):
                await k.keeping.holding.place(
                    camera=None, start=start, end=start + HOUR, who=LI, reason="r", review_at=far
                )

    run(story())


async def with_evidence(k: Kept, alarm: str, count: int = 2) -> list[str]:
    """An alarm or drill with stored stills; their keys."""
    drill = Drill.DRILL if alarm.startswith("drl_") else None
    raised = builders.alarm(alarm, at=k.clock.now(), drill=drill, point=f"p-{alarm}")
    items = []
    for n in range(count):
        data = f"{alarm} {n}".encode()
        key = f"{SITE}/{'drills' if drill else 'alarms'}/{alarm}/cam-a/{alarm}_{n}.jpg"
        await k.objects.put_bytes(key, data)
        at = raised.pressed_at + timedelta(seconds=n)
        items.append(
            Evidence(
                id=f"evd_{alarm}_{n}",
                alarm=alarm,
                camera="cam-a",
                kind=Kind.STILL,
                moment=Moment.PRESS,
                start=at,
                end=at,
                state=EvidenceState.STORED,
                key=key,
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                stored_at=at,
                media_type="image/jpeg",
            )
        )

    def work(tx: Any) -> None:
        assert tx.alarms.add(raised)
        tx.evidence.add(items)

    await k.store.write(work)
    return [str(item.key) for item in items]


def test_alarm_evidence_stays_until_released_and_a_drills_goes(tmp_path: Path) -> None:
    """The alarm's hold has an id and a review date from the first look; released while open it is refused; a drill has none."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            real, drill = await with_evidence(k, "alm_1"), await with_evidence(k, "drl_1")
            await k.keeping.look()
            (hold,) = await k.store.read(lambda tx: tx.holds.standing())
            assert (hold.alarm, hold.review_at) == ("alm_1", MORNING + 90 * DAY)
            await k.later(30 * DAY)
            assert await k.keys() == sorted(real + drill)
            await k.later(2 * HOUR)
            assert await k.keys() == real
            await k.later(59 * DAY)
            assert k.keeping.causes == {}
            await k.later(2 * DAY)
            assert list(k.keeping.causes) == [(FaultKind.EVIDENCE, "holds")]
            assert await k.keys() == real
            with pytest.raises(Refused, match="open"):
                await k.keeping.holding.release(hold.id, LI, "结案")
            closed = await k.store.read(lambda tx: tx.alarms.get("alm_1"))
            assert closed is not None
            closed = replace(closed, state=State.CLOSED, closed_at=k.clock.now())
            await k.store.write(lambda tx: tx.alarms.save(closed))
            await k.keeping.holding.release(hold.id, LI, "结案")
            await k.later(HOUR)
            assert await k.keys() == []
            items = await k.store.read(lambda tx: tx.evidence.of("alm_1"))
            assert {item.state for item in items} == {EvidenceState.DELETED}
            assert all("deleted after 30 days (del_" in (item.reason or "") for item in items)
            (_, line) = await k.lines(Act.DELETED)
            assert (line["alarm"], line["content"]) == ("alm_1", "evidence of alm_1")
            steps = await k.store.read(lambda tx: tx.alarms.timeline("alm_1"))
            assert [step.what for step in steps] == ["deleted"]
            assert await k.store.read(lambda tx: tx.evidence.to_push(None)) == []

    run(story())


def test_a_held_span_keeps_released_evidence_too(tmp_path: Path) -> None:
    """Of its cameras; a drill's evidence never."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            real = await with_evidence(k, "alm_1")
            await with_evidence(k, "drl_1")
            await k.keeping.look()
            (hold,) = await k.store.read(lambda tx: tx.holds.standing())
            await k.store.write(lambda tx: tx.holds.release(hold.id, MORNING, "n", "u", "r"))
            await k.keeping.holding.place(
                camera=None, start=MORNING - HOUR, end=MORNING + HOUR, who=LI, reason="r"
            )
            await k.later(31 * DAY)
            assert await k.keys() == real

    run(story())


def test_a_clock_that_jumps_a_day_deletes_nothing_until_it_is_confirmed(tmp_path: Path) -> None:
    """A fault says for what deleting waits; the centre's clock ends it if it agrees, and if it does not the fault says so."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            await recorded(k.store, k.objects, "cam-a", MORNING, 5)
            await k.later(29 * DAY + 12 * HOUR)
            k.clock.step_wall(86400)
            await k.keeping.look()
            await k.keeping.sweep()
            assert len(await k.keys()) == 5
            assert list(k.keeping.causes) == [(FaultKind.CLOCK, "retention")]
            assert "24.0 h ahead" in k.keeping.causes[FaultKind.CLOCK, "retention"]
            k.keeping.heard_time(k.clock.now() - DAY, "110")
            assert "86400 s ahead of the clock of 110" in k.keeping.causes[FaultKind.CLOCK, "retention"]
            await k.keeping.sweep()
            assert len(await k.keys()) == 5
            k.keeping.heard_time(k.clock.now() + timedelta(seconds=3), "110")
            assert k.keeping.causes == {}
            await k.keeping.sweep()
            assert await k.keys() == []

    run(story())


def test_a_clock_set_right_again_needs_nobodys_word(tmp_path: Path) -> None:
    """After a jump forward and back the fault is over, and time goes on as before."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            k.clock.step_wall(86400)
            await k.keeping.look()
            assert (FaultKind.CLOCK, "retention") in k.keeping.causes
            k.clock.step_wall(-86400)
            await k.keeping.look()
            assert k.keeping.causes == {}

    run(story())


def test_a_jump_over_a_restart_waits_too_and_a_person_can_confirm(tmp_path: Path) -> None:
    """The trusted time outlives the process; the person's word is a line of the register, and a wrong one is refused."""

    async def story() -> None:
        clock = ManualClock()
        async with kept(tmp_path, clock) as k:
            await recorded(k.store, k.objects, "cam-a", MORNING, 5)
            await k.later(29 * DAY + 12 * HOUR)
            await k.store.write(lambda tx: None)  # what may wait goes with it
        clock.step_wall(365 * 86400)
        async with kept(tmp_path, clock) as k:
            await k.keeping.sweep()
            assert len(await k.keys()) == 5
            assert (FaultKind.CLOCK, "retention") in k.keeping.causes
            with pytest.raises(Refused, match="set it first"):
                await k.keeping.confirm_time(clock.now() - DAY, LI, "手表")
            assert await k.lines(Act.CONFIRMED) == []
            await k.keeping.confirm_time(clock.now() - timedelta(seconds=30), LI, "手表")
            assert list(k.keeping.causes) == [(FaultKind.STORE, "retention-ceiling")]
            (line,) = await k.lines(Act.CONFIRMED)
            assert (line["name"], line["reason"]) == ("李老师", "手表")
            await k.keeping.sweep()
            assert (await k.keys(), k.keeping.causes) == ([], {})

    run(story())


def test_footage_made_while_the_clock_was_wrong_is_not_taken_for_old(tmp_path: Path) -> None:
    """A box whose battery is dead films in the year 2000 until somebody sets its clock: those minutes are minutes old."""

    async def story() -> None:
        clock = ManualClock()
        async with kept(tmp_path, clock) as k:
            await k.store.write(lambda tx: None)
        back = (MORNING - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds()
        clock.step_wall(-back)
        async with kept(tmp_path, clock) as k:
            assert clock.now().year == 2000
            await recorded(k.store, k.objects, "cam-a", clock.now(), 3, reckoned_end=k.keeping.reckoned())
            await clock.advance(300)
            clock.step_wall(back)
            await k.later(HOUR)
            assert len(await k.keys()) == 3
            await k.later(31 * DAY)
            assert await k.keys() == []

    run(story())


def test_what_the_store_refuses_or_cannot_do_now_stays_on_record(tmp_path: Path) -> None:
    """A locked object keeps its row and becomes a fault, its neighbours go; while the store is away nothing is lost."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            made = await recorded(k.store, k.objects, "cam-a", MORNING, 5)
            k.objects.away = True
            await k.later(30 * DAY + 2 * HOUR)
            assert "the store is away" in k.keeping.causes[FaultKind.STORE, "retention"]
            assert len(await k.keys()) == 5
            assert await k.store.read(lambda tx: tx.deletions.pending()) == []
            k.objects.away, k.objects.refuses = False, frozenset({made[2].key})
            await k.keeping.sweep()
            assert await k.keys() == [made[2].key]
            assert "locked until tomorrow" in k.keeping.causes[FaultKind.STORE, "retention"]
            assert await k.findings() == []
            await k.later(DAY)
            assert "cam-a" in k.keeping.causes[FaultKind.STORE, "retention-ceiling"]
            assert [finding.what for finding in await k.findings()] == ["kept beyond its ceiling"]
            k.objects.refuses = frozenset()
            await k.keeping.sweep()
            assert (await k.keys(), k.keeping.causes) == ([], {})

    run(story())


def test_a_database_that_refuses_halfway_loses_no_record(tmp_path: Path) -> None:
    """Objects are gone and their rows could not be taken out: the next sweep puts on record exactly what is gone."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            await recorded(k.store, k.objects, "cam-a", MORNING, 5)
            await k.clock.advance((30 * DAY + 2 * HOUR).total_seconds())
            write = k.store.write

            async def refusing(work: Any) -> Any:
                if (k.objects.root / SITE).exists() and not await k.keys():
                    raise Unavailable("the database refuses: database or disk is full")
                return await write(work)

            k.store.write = refusing  # type: ignore[method-assign]
            await k.keeping.sweep()
            assert "disk is full" in k.keeping.causes[FaultKind.STORE, "retention"]
            assert await k.lines(Act.DELETED) == []
            k.store.write = write  # type: ignore[method-assign]
            await k.keeping.sweep()
            assert [line["detail"]["objects"] for line in await k.lines(Act.DELETED)] == [5]
            assert await k.findings() == []

    run(story())


def test_a_fresh_alarm_goes_before_a_sweep(tmp_path: Path) -> None:
    """For its first minute a batch waits; then the sweep goes on by itself."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            made = await recorded(k.store, k.objects, "cam-a", MORNING, 3)
            await k.clock.advance((31 * DAY).total_seconds())
            k.keeping.heard_time(k.clock.now(), "110")
            await k.store.write(lambda tx: tx.alarms.add(builders.alarm(at=k.clock.now())))
            sweep = asyncio.create_task(k.keeping.sweep())
            await k.clock.advance(50)
            assert await k.keys() == [one.key for one in made]
            await k.clock.advance(20)
            await sweep
            assert await k.keys() == []

    run(story())


def test_the_room_is_forecast_from_what_was_really_recorded(tmp_path: Path) -> None:
    """Faults at seven days' and at one day's notice; then new footage gives way, the gate's last, and no kept object goes."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            size = 10**9 // 60  # 1 GB an hour and camera: 2 GB an hour
            for camera in ("cam-a", "cam-g"):
                await recorded(
                    k.store, k.objects, camera, MORNING.replace(minute=0, second=0), 120, size=size
                )
            await k.clock.advance(2 * 3600)

            async def with_free_gb(gb: float) -> set[tuple[FaultKind, str]]:
                k.room[0] = Room(total=10**13, free=round(gb * 10**9))
                await k.keeping.look()
                return set(k.keeping.causes)

            week, day, full = [
                (FaultKind.DISK, s) for s in ("full-within-7-days", "full-within-1-days", "when-full")
            ]
            assert await with_free_gb(1000) == set()
            assert await with_free_gb(1 + 2 * 24 * 6) == {week}
            assert "48.0 GB a day" in k.keeping.causes[week]
            assert await with_free_gb(1 + 2 * 20) == {week, day}
            assert await with_free_gb(1 + 7) == {week, day, full}
            assert k.keeping.allowed("cam-a") in (Quality.SUBSTREAM, Quality.KEYFRAMES, None)
            assert k.keeping.allowed("cam-g") is Quality.FULL
            await with_free_gb(1.5)
            assert k.keeping.allowed("cam-a") is None
            assert k.keeping.allowed("cam-g") is Quality.KEYFRAMES
            await with_free_gb(0.9)
            assert k.keeping.allowed("cam-g") is None
            await k.keeping.sweep()
            assert len(await k.keys()) == 240
            assert await with_free_gb(1000) == set()
            assert k.keeping.allowed("cam-a") is Quality.FULL

    run(story())


def test_a_store_elsewhere_and_a_box_that_has_recorded_nothing_forecast_nothing(tmp_path: Path) -> None:
    """Nothing is said that nobody can know; that nothing may be recorded on a full disk is known."""

    async def story() -> None:
        async with kept(tmp_path) as k:
            k.room[0] = Room(total=10, free=0)
            await k.keeping.look()
            assert (list(k.keeping.causes), k.keeping.full_in_hours) == (
                [(FaultKind.DISK, "when-full")],
                None,
            )
            await recorded(k.store, k.objects, "cam-a", MORNING, 5)
            k.room[0] = None
            await k.clock.advance(3600)
            await k.keeping.look()
            assert (k.keeping.causes, k.keeping.full_in_hours) == ({}, None)
            assert k.keeping.allowed("cam-a") is Quality.FULL

    run(story())

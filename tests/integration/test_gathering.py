"""Gathering on the real database: what an alarm asks of its cameras is stored, told, and accounted for.

One file, though long: its tests share one yard of cameras.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.alarm.gathering import Gathering
from gateway.domain.alarm import Alarm, State
from gateway.domain.errors import Unavailable
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment, press_evidence
from gateway.domain.stored import Kept
from tests.support.builders import alarm, envelopes
from tests.support.cameras import ScriptedCameras
from tests.support.clock import MORNING, ManualClock, run
from tests.support.memory_objects import MemoryObjects
from tests.support.stores import WatchedSpool, WatchedStore, opened


def _bytes_of(source: Path) -> bytes:
    return source.read_bytes()


def _remove(source: Path) -> None:
    source.unlink()


class MovableStore(MemoryObjects):
    """Objects in memory that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        # On the loop's own thread: the hand-driven clock knows nothing of others and would not wait for them.
        data = _bytes_of(source)
        assert hashlib.sha256(data).hexdigest() == sha256
        kept = await self.put_bytes(key, data, locked_until=locked_until)
        _remove(source)
        return kept

    async def put_bytes(self, key: str, data: bytes, *, locked_until: datetime | None = None) -> Kept:
        if self.away:
            raise Unavailable("the store is away")
        return await super().put_bytes(key, data, locked_until=locked_until)


@dataclass(slots=True)
class Yard:
    """Gathering at work on one alarm."""

    store: WatchedStore
    clock: ManualClock
    cameras: ScriptedCameras
    objects: MovableStore
    gathering: Gathering
    spool: Path
    own_spool: WatchedSpool
    task: asyncio.Task[None]

    async def press(self, id_: str = "alm_1", *, snapshots: tuple[str, ...] = (), **changes: Any) -> Alarm:
        """Commit an alarm with what it asks for, as intake does."""
        now = self.clock.now()
        one = alarm(id_, at=now, manifest_due_at=now + timedelta(seconds=35), **changes)
        asked = press_evidence(before_s=30, after_s=30, pressed_at=now, cameras=one.cameras)
        items = [
            Evidence(id=f"evd_{id_}_{n}", alarm=id_, camera=c, kind=k, moment=m, start=a, end=b)
            for n, (c, k, m, a, b) in enumerate(asked)
        ]
        items += [
            Evidence(
                id=f"evd_{id_}_own_{c}",
                alarm=id_,
                camera=c,
                kind=Kind.STILL,
                moment=Moment.PRESS,
                start=now,
                end=now,
                source="onvif",
            )
            for c in snapshots
        ]

        def work(tx: Any) -> None:
            tx.alarms.add(one)
            tx.evidence.add(items)

        await self.store.inner.write(work)
        self.gathering.wake()
        await self.clock.settle()
        return one

    async def items(self, id_: str = "alm_1") -> list[Evidence]:
        return await self.store.inner.read(lambda tx: tx.evidence.of(id_))

    async def alarm(self, id_: str = "alm_1") -> Alarm:
        found = await self.store.inner.read(lambda tx: tx.alarms.get(id_))
        assert found is not None
        return found

    async def said(self, type_: str, id_: str = "alm_1") -> list[dict[str, Any]]:
        messages = await self.store.inner.read(lambda tx: tx.messages.about(id_))
        return [json.loads(m.body)["data"] for m, _ in messages if m.type.value == type_]


@asynccontextmanager
async def yard(
    folder: Path,
    *,
    clock: ManualClock | None = None,
    objects: MovableStore | None = None,
    cameras: ScriptedCameras | None = None,
) -> AsyncIterator[Yard]:
    """Gathering on the database in ``folder``; opening it again is a restart."""
    clock = clock or ManualClock()
    cameras = cameras or ScriptedCameras(clock)
    objects = objects or MovableStore()
    async with opened(folder) as store:
        spool = WatchedSpool(folder / "spool")
        clock.busy = lambda: store.busy() or spool.busy()
        gathering = Gathering(
            store=store,
            clock=clock,
            cameras=cameras,
            objects=objects,
            envelopes=envelopes(),
            spool=spool,
            wake_delivering=lambda: None,
        )
        task = asyncio.create_task(gathering.run())
        try:
            await clock.settle()
            yield Yard(store, clock, cameras, objects, gathering, folder / "spool", spool, task)
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error


def test_every_cameras_press_still_comes_before_anything_else(tmp_path: Path) -> None:
    """The first two calls are the press stills of both cameras, at the instant of the press."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press()
            assert y.cameras.calls[:2] == [("still", "cam-a", MORNING), ("still", "cam-b", MORNING)]
            stored = [i for i in await y.items() if i.state is EvidenceState.STORED]
            assert {(i.camera, i.moment.value) for i in stored} >= {("cam-a", "press"), ("cam-b", "press")}

    run(story())


def test_the_whole_window_is_gathered_told_and_accounted_for(tmp_path: Path) -> None:
    """Three stills and two clips a camera; each message carries the digest of what is stored; the manifest is revision 1."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press(during_next_at=None)
            await y.clock.advance(36)
            told = await y.said("alarm.evidence")
            assert sorted((t["evidence"]["camera"], t["evidence"]["moment"]) for t in told) == sorted(
                (c, m) for c in ("cam-a", "cam-b") for m in ("press", "before", "before", "after", "whole")
            )
            for item in await y.items():
                assert item.key is not None
                assert item.key.startswith("jms-no3-middle/alarms/2026/03/02/alm_1/cam-")
                async with y.objects.read(item.key) as read:
                    data = await read(1_000_000)
                assert (hashlib.sha256(data).hexdigest(), len(data)) == (item.sha256, item.bytes)
            (manifest,) = await y.said("alarm.manifest")
            assert manifest["revision"] == 1
            assert len(manifest["items"]) == 10
            assert all(i["evidence"] and i["reason"] is None for i in manifest["items"])

    run(story())


def test_the_sequence_of_an_alarms_messages_has_no_gap(tmp_path: Path) -> None:
    """Concurrent items each take the next number."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press(during_next_at=None)
            await y.clock.advance(36)
            messages = await y.store.read(lambda tx: tx.messages.about("alm_1"))
            assert [m.sequence for m, _ in messages] == list(range(1, 12))
            assert [json.loads(m.body)["sequence"] for m, _ in messages] == [str(n) for n in range(1, 12)]

    run(story())


def test_a_camera_that_is_not_there_yet_is_asked_again(tmp_path: Path) -> None:
    """A frame on its way is waited for; the item is stored, without a reason."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.cameras.fail_first["cam-a"] = 3
            await y.press()
            await y.clock.advance(3)
            press = [i for i in await y.items() if i.moment is Moment.PRESS and i.camera == "cam-a"]
            assert [i.state for i in press] == [EvidenceState.STORED]

    run(story())


def test_a_dead_camera_costs_its_own_evidence_and_the_manifest_says_why(tmp_path: Path) -> None:
    """Everything of the living camera is there; everything of the dead one is failed with its reason."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.cameras.down["cam-a"] = "no frames since 09:58: connection refused"
            await y.press(during_next_at=None)
            await y.clock.advance(60)
            (manifest,) = (await y.said("alarm.manifest"))[-1:]
            reasons = {
                c: {i["reason"] for i in manifest["items"] if i["camera"] == c} for c in ("cam-a", "cam-b")
            }
            assert reasons == {"cam-a": {"no frames since 09:58: connection refused"}, "cam-b": {None}}
            assert all(i["evidence"] is None for i in manifest["items"] if i["camera"] == "cam-a")

    run(story())


def test_a_busy_box_gives_a_still_up_later_than_a_camera_that_is_gone(tmp_path: Path) -> None:
    """While frames come, a still may take until the ring could have lost its instant; of a camera that is gone it is given up."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.cameras.raises["cam-a"] = Unavailable("gave no answer in 10 s")
            y.cameras.down["cam-b"] = "no frame for 5 s"
            await y.press()
            await y.clock.advance(9)
            press = [i for i in await y.items() if (i.kind, i.moment) == (Kind.STILL, Moment.PRESS)]
            assert {(i.camera, i.state) for i in press} == {
                ("cam-a", EvidenceState.WANTED),
                ("cam-b", EvidenceState.FAILED),
            }
            y.cameras.raises.clear()
            await y.clock.advance(1)
            asked = next(i.id for i in press if i.camera == "cam-a")
            assert [i.state for i in await y.items() if i.id == asked] == [EvidenceState.STORED]

    run(story())


def test_a_camera_that_hangs_holds_up_nothing(tmp_path: Path) -> None:
    """The manifest comes within its wait, tells the hanging items apart, and the other camera is complete."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.cameras.hang.add("cam-a")
            await y.press(during_next_at=None)
            await y.clock.advance(50)
            manifest = (await y.said("alarm.manifest"))[0]
            assert {i["reason"] for i in manifest["items"] if i["camera"] == "cam-a"} == {"not yet complete"}
            assert all(i["evidence"] for i in manifest["items"] if i["camera"] == "cam-b")

    run(story())


def test_a_fault_of_ours_costs_one_item_and_not_the_others(tmp_path: Path) -> None:
    """An error nobody foresaw at one camera is in the manifest, and the other camera is complete."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.cameras.raises["cam-a"] = ValueError("nobody foresaw this")
            await y.press(during_next_at=None)
            await y.clock.advance(40)
            items = await y.items()
            assert {i.state for i in items if i.camera == "cam-b"} == {EvidenceState.STORED}
            assert all("nobody foresaw" in (i.reason or "") for i in items if i.camera == "cam-a")

    run(story())


def test_a_shorter_clip_says_what_is_missing(tmp_path: Path) -> None:
    """The shortfall of a clip is its reason in the manifest, beside the evidence."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.cameras.shortfall = "4.2 s missing at the start"
            await y.press(during_next_at=None)
            await y.clock.advance(36)
            manifest = (await y.said("alarm.manifest"))[-1]
            clips = [i for i in manifest["items"] if i["kind"] == "clip"]
            assert {(i["reason"], bool(i["evidence"])) for i in clips} == {
                ("4.2 s missing at the start", True)
            }

    run(story())


def test_a_late_item_yields_one_more_revision(tmp_path: Path) -> None:
    """A camera back after the first manifest: its items come together in revision 2."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.objects.away = True
            await y.press(during_next_at=None)
            await y.clock.advance(50)
            assert [m["revision"] for m in await y.said("alarm.manifest")] == [1]
            y.objects.away = False
            await y.clock.advance(10)
            assert [m["revision"] for m in await y.said("alarm.manifest")] == [1, 2]
            last = (await y.said("alarm.manifest"))[-1]
            assert all(i["evidence"] for i in last["items"])

    run(story())


def test_while_the_object_store_is_away_everything_waits_and_nothing_is_lost(tmp_path: Path) -> None:
    """The cause is told while it lasts; what was captured is stored when the store is back, an hour later."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.objects.away = True
            await y.press(during_next_at=None)
            await y.clock.advance(3600)
            assert y.gathering.store_cause == "the store is away"
            assert {i.state for i in await y.items()} == {EvidenceState.WANTED}
            y.objects.away = False
            await y.clock.advance(5)
            assert y.gathering.store_cause == ""
            items = await y.items()
            assert {i.state for i in items} == {EvidenceState.STORED}
            assert len(await y.objects.keys("")) == len(items) == 10
            assert list(y.spool.iterdir()) == []

    run(story())


def test_the_cameras_own_snapshot_is_fetched_once_and_beside_the_frame(tmp_path: Path) -> None:
    """It is not asked for again later, when it would show something else; its failure is on record."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.cameras.snapshots = {"cam-a", "cam-b"}
            await y.press(snapshots=("cam-a",), during_next_at=None)
            own = [i for i in await y.items() if i.source == "onvif"]
            assert [(i.state, i.offset_ms) for i in own] == [(EvidenceState.STORED, 0)]
            y.cameras.down["cam-b"] = "snapshot: 503"
            await y.press("alm_2", point="p-2", snapshots=("cam-b",), during_next_at=None)
            await y.clock.advance(10)
            assert [c[:2] for c in y.cameras.calls].count(("snapshot", "cam-b")) == 1
            (failed,) = [i for i in await y.items("alm_2") if i.id.endswith("own_cam-b")]
            assert (failed.state, failed.reason) == (EvidenceState.FAILED, "snapshot: 503")

    run(story())


async def _during(y: Yard) -> list[tuple[float, float]]:
    items = [i for i in await y.items() if i.moment is Moment.DURING and i.camera == "cam-a"]
    begun = [((i.wanted_start or i.start) - MORNING).total_seconds() for i in items]
    return [
        (b, ((i.wanted_end or i.end) - MORNING).total_seconds()) for b, i in zip(begun, items, strict=True)
    ]


def test_during_clips_follow_one_another_until_half_an_hour_after_the_last_press(tmp_path: Path) -> None:
    """Sixty clips of 30 s without a gap, and no more."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press(cameras=("cam-a",))
            await y.clock.advance(2400)
            assert await _during(y) == [(30.0 * n, 30.0 * n + 30) for n in range(60)]

    run(story(), timeout_s=120)


def test_a_closed_alarm_asks_for_no_further_during_clips(tmp_path: Path) -> None:
    """After closing, what is under way ends and nothing begins."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            await y.press()
            await y.clock.advance(61)
            one = await y.alarm()
            one = replace(one, state=State.ACCEPTED).replied(State.CLOSED, y.clock.now())  # type: ignore[assignment]
            await y.store.inner.write(lambda tx: tx.alarms.save(one))
            y.gathering.wake()
            await y.clock.advance(300)
            assert await _during(y) == [(0.0, 30.0), (30.0, 60.0), (60.0, 90.0)]

    run(story())


def test_a_restart_takes_up_what_is_still_wanted_and_cleans_the_spool(tmp_path: Path) -> None:
    """After a kill in the middle, the items not stored are obtained, those stored are not asked for again."""

    async def story() -> None:
        objects = MovableStore()
        async with yard(tmp_path, objects=objects) as y:
            await y.press(during_next_at=None)
            await y.clock.advance(10)
            before = {i.id for i in await y.items() if i.state is EvidenceState.STORED}
            assert before
            (y.spool / "evd_torn.mp4").write_bytes(b"torn")
        clock = ManualClock(MORNING + timedelta(seconds=11))
        async with yard(tmp_path, clock=clock, objects=objects) as y:
            assert list(y.spool.iterdir()) == []
            await y.clock.advance(40)
            assert {i.state for i in await y.items()} == {EvidenceState.STORED}
            asked = [(what, camera) for what, camera, _ in y.cameras.calls]
            assert sorted(asked) == [("clip", "cam-a"), ("clip", "cam-b")]
            assert [m["revision"] for m in await y.said("alarm.manifest")] == [1]

    run(story())


def test_press_stills_that_a_restart_finds_hold_nothing_up(tmp_path: Path) -> None:
    """What else is asked for waits for the press stills; those that a run that ended had stored are there already."""

    async def story() -> None:
        objects = MovableStore()
        async with yard(tmp_path, objects=objects) as y:
            y.cameras.hang |= {"cam-a", "cam-b"}
            await y.press(during_next_at=None)
            first = [i for i in await y.items() if i.first]
        assert len(first) == 2
        day = MORNING.astimezone(UTC).strftime("%Y/%m/%d")
        for still in first:
            key = f"jms-no3-middle/alarms/{day}/alm_1/{still.camera}/{still.id}.jpg"
            await objects.put_bytes(key, b"the picture")
        async with yard(tmp_path, clock=ManualClock(MORNING + timedelta(seconds=60)), objects=objects) as y:
            await y.clock.advance(0)
            assert {i.state for i in await y.items()} == {EvidenceState.STORED}
            assert len(y.cameras.calls) == len(await y.items()) - 2

    run(story())


def test_bytes_stored_before_a_kill_are_not_lost_for_want_of_their_row(tmp_path: Path) -> None:
    """Object first, row second: what the kill left between the two is found again, and the camera is not asked."""

    async def story() -> None:
        objects = MovableStore()
        async with yard(tmp_path, objects=objects) as y:
            y.cameras.hang |= {"cam-a", "cam-b"}
            await y.press(during_next_at=None)
            still = next(i for i in await y.items() if i.kind is Kind.STILL and i.moment is Moment.PRESS)
        day = MORNING.astimezone(UTC).strftime("%Y/%m/%d")
        key = f"jms-no3-middle/alarms/{day}/alm_1/{still.camera}/{still.id}.jpg"
        await objects.put_bytes(key, b"the picture")
        async with yard(tmp_path, clock=ManualClock(MORNING + timedelta(seconds=3600)), objects=objects) as y:
            await y.clock.advance(1)
            found = next(i for i in await y.items() if i.id == still.id)
            assert found.state is EvidenceState.STORED
            assert (found.key, found.bytes) == (key, 11)
            assert found.sha256 == hashlib.sha256(b"the picture").hexdigest()
            assert "restart" in (found.reason or "")
            assert not [
                c for c in y.cameras.calls if c[0] == "still" and c[1] == still.camera and c[2] == still.start
            ]

    run(story())


def test_a_stage_started_again_alone_takes_up_what_was_under_way(tmp_path: Path) -> None:
    """The same stage, run anew after it failed, forgets nothing that is still wanted."""

    async def story() -> None:
        async with yard(tmp_path) as y:
            y.cameras.hang |= {"cam-a", "cam-b"}
            await y.press(during_next_at=None)
            y.task.cancel()
            await asyncio.wait([y.task])
            y.cameras.hang.clear()
            again = asyncio.create_task(y.gathering.run())
            await y.clock.advance(40)
            again.cancel()
            await asyncio.wait([again])
            assert {i.state for i in await y.items()} == {EvidenceState.STORED}

    run(story())


@pytest.mark.parametrize("down", [False, True])
def test_a_request_of_the_centre_is_answered_either_way(tmp_path: Path, down: bool) -> None:
    """request.result says whether there is evidence, or why not."""

    async def story() -> None:
        from gateway.alarm.answering import Answering, Operator

        async with yard(tmp_path) as y:
            await y.press(during_next_at=None)
            answering = Answering(
                store=y.store,
                clock=y.clock,
                envelopes=envelopes(),
                wake_delivering=lambda: None,
                wake_gathering=y.gathering.wake,
            )
            if down:
                y.cameras.down["cam-b"] = "no frames"
            asked = await answering.request_still("alm_1", "cam-b", Operator(name="王", unit="110"), "look")
            await y.clock.advance(15)
            (result,) = await y.said("request.result")
            assert result == {
                "request": asked.id,
                "ok": not down,
                "reason": "no frames" if down else None,
                "evidence": None if down else asked.evidence,
                "item": None,
            }
            kept = await y.store.read(lambda tx: tx.requests.get(asked.id))
            assert kept is not None
            assert kept.ok is not down

    run(story())

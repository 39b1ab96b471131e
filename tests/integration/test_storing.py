"""From a camera's hand into the store, whatever fails between: the spool, the store, the disk, the gateway itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import gateway.alarm.evidence_bytes
from gateway.alarm.evidence_bytes import WATCH_S
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from gateway.domain.stored import Kept
from tests.integration.test_gathering import MovableStore, Yard, yard
from tests.support.clock import MORNING, ManualClock, run
from tests.support.memory_objects import MemoryObjects

LATER = MORNING + timedelta(seconds=90)


class StrictStore(MovableStore):
    """Objects in memory that also refuse: whatever ``refusing`` says, and a source that is not what its digest says."""

    def __init__(self) -> None:
        super().__init__()
        self.refusing = ""
        self.after_put: Callable[[], None] = lambda: None

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        if hashlib.sha256(_content(source)).hexdigest() != sha256:
            raise Refused(f"{source.name} is not what its digest says")
        kept = await super().put(key, source, sha256=sha256, locked_until=locked_until)
        self.after_put()
        return kept

    async def put_bytes(self, key: str, data: bytes, *, locked_until: datetime | None = None) -> Kept:
        if self.refusing:
            raise Refused(self.refusing)
        return await super().put_bytes(key, data, locked_until=locked_until)

    async def size(self, key: str, version: str | None = None) -> int | None:
        if self.refusing:
            raise Refused(self.refusing)
        return await super().size(key, version)


def _content(path: Path) -> bytes:
    return path.read_bytes()


def _complete(items: list[Evidence]) -> None:
    """All are stored, and with instants of their own."""
    assert {i.state for i in items} == {EvidenceState.STORED}
    assert {(i.clock, i.source) for i in items} == {("rtcp", "ring")}
    assert {i.reason for i in items} == {None}
    assert all(i.wanted_start == i.start for i in items if i.kind is Kind.CLIP)


async def _as_recorded(y: Yard) -> None:
    for item in await y.items():
        assert item.key is not None
        async with y.objects.read(item.key) as read:
            data = await read(1_000_000)
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (item.sha256, item.bytes)


def test_what_was_captured_outlives_a_kill_while_the_store_is_away(tmp_path: Path) -> None:
    """Restarted twice, the second time with its store: everything is stored as it was captured, and no camera is asked again."""

    async def story() -> None:
        objects = StrictStore()
        objects.away = True
        async with yard(tmp_path, objects=objects) as y:
            await y.press(during_next_at=None)
            await y.clock.advance(60)
            assert all(i.captured for i in await y.items())
            assert {f.name for f in y.spool.iterdir()} == {i.file_name for i in await y.items()}
            (manifest,) = await y.said("alarm.manifest")
            assert {i["reason"] for i in manifest["items"]} == {
                "captured and safe on the gateway, and not yet in its store"
            }
            assert {i["evidence"] for i in manifest["items"]} == {None}
        for seconds in (0, 30):
            objects.away = seconds == 0
            clock = ManualClock(LATER + timedelta(seconds=seconds))
            async with yard(tmp_path, clock=clock, objects=objects) as y:
                await y.clock.advance(10)
                assert y.cameras.calls == []
                assert bool(y.gathering.store_cause) is objects.away
                if objects.away:
                    assert all(i.captured for i in await y.items())
                    continue
                _complete(await y.items())
                await _as_recorded(y)
                assert list(y.spool.iterdir()) == []
                last = (await y.said("alarm.manifest"))[-1]
                assert all(i["evidence"] for i in last["items"])

    run(story())


async def _put_and_on_record(y: Yard) -> set[str]:
    """Keys of what lies in the store and is on record as captured. An item may be put without that: its row came after the
    database had begun to refuse."""
    stored = await y.objects.keys("")
    both = {i.key for i in await y.items() if i.captured and i.key in stored}
    assert both
    return {key for key in both if key}


def test_a_kill_between_object_and_row_loses_no_instant(tmp_path: Path) -> None:
    """The object is stored and the row that says so is not: after the restart it is found by the row that says captured."""

    async def story() -> None:
        objects = StrictStore()
        async with yard(tmp_path, objects=objects) as y:

            def no_row_follows() -> None:
                y.store.refuse = 1000

            objects.after_put = no_row_follows
            await y.press(during_next_at=None, cameras=("cam-a",))
            stored = await _put_and_on_record(y)
        objects.after_put = lambda: None
        async with yard(tmp_path, clock=ManualClock(LATER), objects=objects) as y:
            await y.clock.advance(30)
            found = [i for i in await y.items() if i.key in stored]
            assert len(found) == len(stored)
            _complete(found)

    run(story())


def test_while_the_store_cannot_tell_whether_it_has_it_nothing_is_given_up(tmp_path: Path) -> None:
    """Put, killed, and the store away after the restart: it is asked until it answers."""

    async def story() -> None:
        objects = StrictStore()
        async with yard(tmp_path, objects=objects) as y:
            objects.after_put = lambda: setattr(y.store, "refuse", 1000)
            await y.press(during_next_at=None, cameras=("cam-a",))
            stored = await _put_and_on_record(y)
        objects.after_put = lambda: None
        objects.refusing = "not now"
        async with yard(tmp_path, clock=ManualClock(LATER), objects=objects) as y:
            await y.clock.advance(300)
            assert all(i.captured for i in await y.items() if i.key in stored)
            objects.refusing = ""
            await y.clock.advance(5)
            _complete([i for i in await y.items() if i.key in stored])

    run(story())


def test_captured_and_gone_is_said_in_the_manifest(tmp_path: Path) -> None:
    """Somebody emptied the spool: the item fails with what happened, never without a word."""

    async def story() -> None:
        objects = StrictStore()
        objects.away = True
        async with yard(tmp_path, objects=objects) as y:
            await y.press(during_next_at=None)
            await y.clock.advance(60)
            (lost, *_) = y.spool.iterdir()
            lost.unlink()
            (altered, *others) = y.spool.iterdir()
            altered.write_bytes(b"not what the camera gave")
        objects.away = False
        async with yard(tmp_path, clock=ManualClock(LATER), objects=objects) as y:
            await y.clock.advance(10)
            by_name = {i.file_name: i for i in await y.items()}
            assert by_name[lost.name].state is EvidenceState.FAILED
            assert "neither on this box nor in the store" in (by_name[lost.name].reason or "")
            assert by_name[altered.name].state is EvidenceState.FAILED
            assert "not what its digest says" in (by_name[altered.name].reason or "")
            _complete([by_name[each.name] for each in others])
            reasons = [i["reason"] for i in (await y.said("alarm.manifest"))[-1]["items"] if i["reason"]]
            assert len(reasons) == 2

    run(story())


def test_a_store_that_lets_us_in_no_longer_keeps_evidence_waiting(tmp_path: Path) -> None:
    """Refused is for a person to mend, and the evidence waits for that; the fault's words are the store's."""

    async def story() -> None:
        async with yard(tmp_path, objects=(objects := StrictStore())) as y:
            objects.refusing = "SignatureDoesNotMatch; correct storage.secret_key"
            await y.press(during_next_at=None)
            await y.clock.advance(600)
            assert y.gathering.store_cause == objects.refusing
            assert all(i.captured for i in await y.items())
            objects.refusing = ""
            await y.clock.advance(5)
            assert y.gathering.store_cause == ""
            _complete(await y.items())

    run(story())


def test_a_spool_that_cannot_be_read_for_a_while_fails_nothing_that_waits_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store refuses and the disk gives no file back to be compared: evidence waits for both, and is stored."""

    async def unreadable(_name: str) -> str | None:
        raise Unavailable("the spool: Input/output error")

    async def story() -> None:
        async with yard(tmp_path, objects=(objects := StrictStore())) as y:
            objects.refusing = "there is no bucket"
            with monkeypatch.context() as patch:
                patch.setattr(y.own_spool, "digest", unreadable)
                await y.press(during_next_at=None)
                await y.clock.advance(60)
            assert all(i.captured for i in await y.items())
            objects.refusing = ""
            await y.clock.advance(5)
            _complete(await y.items())

    run(story())


def test_other_bytes_under_an_items_key_fail_that_item_only(tmp_path: Path) -> None:
    """An object is never altered, so waiting would change nothing: the manifest says what lies there."""

    async def story() -> None:
        objects = StrictStore()
        async with yard(tmp_path, objects=objects) as y:
            objects.away = True
            await y.press(during_next_at=None)
            await y.clock.advance(3)
            item = next(i for i in await y.items() if i.moment is Moment.PRESS and i.camera == "cam-a")
            await MemoryObjects.put_bytes(objects, item.key or "", b"somebody else's")
            objects.away = False
            await y.clock.advance(40)
            items = {i.id: i for i in await y.items()}
            assert items[item.id].state is EvidenceState.FAILED
            assert "other bytes" in (items[item.id].reason or "")
            _complete([i for i in items.values() if i.id != item.id])

    run(story())


def test_with_no_room_here_stills_go_straight_to_a_store_elsewhere(tmp_path: Path) -> None:
    """The disk takes nothing: stills are stored from memory, clips say why they are not there, and it ends with the cause."""

    async def story() -> None:
        async with yard(tmp_path, objects=StrictStore()) as y:
            y.own_spool.full = "12 MB are free; make room"
            await y.press(during_next_at=None)
            await y.clock.advance(60)
            items = await y.items()
            _complete([i for i in items if i.kind is Kind.STILL])
            assert {i.reason for i in items if i.kind is Kind.CLIP} == {"12 MB are free; make room"}
            assert list(y.spool.iterdir()) == []
            assert y.gathering.store_cause == "12 MB are free; make room"
            y.own_spool.full = ""
            assert y.gathering.store_cause == ""

    run(story())


def test_with_neither_room_nor_store_memory_is_bounded_and_what_is_dropped_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stills wait in memory up to a bound; beyond it they fail with the reason; the others are kept once there is room."""

    async def story() -> None:
        monkeypatch.setattr(gateway.alarm.evidence_bytes, "HELD_BYTES", 150)  # three of the stills here
        async with yard(tmp_path, objects=(objects := StrictStore())) as y:
            objects.away, y.own_spool.full = True, "no room"
            await y.press(during_next_at=None)
            await y.clock.advance(30)
            stills = [i for i in await y.items() if i.kind is Kind.STILL]
            dropped = [i for i in stills if i.state is EvidenceState.FAILED]
            assert len(stills) - len(dropped) == 3
            assert all(
                "dropped" in (i.reason or "") and "the store is away" in (i.reason or "") for i in dropped
            )
            y.own_spool.full = ""
            await y.clock.advance(5)
            assert len([i for i in await y.items() if i.captured and i.kind is Kind.STILL]) == 3
            objects.away = False
            await y.clock.advance(5)
            kept = {i.id for i in stills} - {i.id for i in dropped}
            _complete([i for i in await y.items() if i.id in kept])

    run(story())


def test_what_is_not_ours_in_the_spool_stops_nothing(tmp_path: Path) -> None:
    """A folder, such as the lost+found of a disk of its own, stays where it is, and evidence is stored as ever."""

    async def story() -> None:
        (tmp_path / "spool" / "lost+found").mkdir(parents=True)
        (tmp_path / "spool" / ".new-half").write_bytes(b"half")
        async with yard(tmp_path) as y:
            await y.press(during_next_at=None)
            await y.clock.advance(60)
            _complete(await y.items())
            assert [each.name for each in y.spool.iterdir()] == ["lost+found"]
            assert y.gathering.store_cause == ""

    run(story())


def test_a_spool_that_fails_from_the_start_costs_no_still_and_is_told(tmp_path: Path) -> None:
    """A file lies where the spool should be: a fault says so, stills go to the store from memory, and once it is out of the way
    everything is as ever, without a restart."""

    async def story() -> None:
        (tmp_path / "spool").write_bytes(b"in the way")
        async with yard(tmp_path) as y:
            assert "spool: File exists" in y.gathering.store_cause
            await y.press(during_next_at=None)
            await y.clock.advance(60)
            _complete([i for i in await y.items() if i.kind is Kind.STILL])
            assert "spool: " in y.gathering.store_cause
            (tmp_path / "spool").unlink()
            await y.press("alm_2", point="p-2", during_next_at=None)
            await y.clock.advance(60)
            _complete(await y.items("alm_2"))
            assert y.gathering.store_cause == ""

    run(story())


def test_a_store_that_is_away_is_known_before_the_next_alarm(tmp_path: Path) -> None:
    """Nothing is to be stored, and still the cause is there within a minute, and gone a minute after it is back."""

    async def story() -> None:
        async with yard(tmp_path, objects=(objects := StrictStore())) as y:
            await y.clock.advance(10)
            assert y.gathering.store_cause == ""
            objects.refusing = "there is no bucket"
            await y.clock.advance(WATCH_S)
            assert y.gathering.store_cause == "there is no bucket"
            objects.refusing = ""
            await y.clock.advance(WATCH_S)
            assert y.gathering.store_cause == ""

    run(story())

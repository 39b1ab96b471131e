"""A sweep is killed at every step of a deletion: what is gone is on record once, and what is not on record is there."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.finding import Finding, Grade
from gateway.domain.stored import ObjectVersion
from gateway.fsck.ledger_audit import ceiling, deletions, sums
from gateway.fsck.object_audit import OnRecord
from gateway.fsck.object_audit import objects as audited
from gateway.ports.store import Store
from gateway.recording.deletion import BATCH, CRASH_POINTS, Sweeping, Swept
from storage.objects.local import LocalObjects
from tests.support.clock import MORNING, ManualClock, run
from tests.support.footage import SITE, recorded
from tests.support.holds import span_held
from tests.support.stores import opened
from tests.support.sweeper import AN_OBJECT, SWEPT_AT, sweep

ROOT = Path(__file__).resolve().parents[2]
MINUTES = BATCH + 30  # of each camera: a whole batch and a part of one
HELD = range(20, 30)
HOLD = span_held(
    "cam-a",
    MORNING + timedelta(minutes=HELD[0]),
    MORNING + timedelta(minutes=HELD[-1] + 1),
    at=MORNING,
)


async def findings(store: Store, objects: LocalObjects) -> list[Finding]:
    checks = (
        audited(OnRecord.RECORDINGS, store, objects, SITE),
        deletions(store, 30),
        sums(store),
    )
    return [finding for check in checks async for finding in check]


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("point", [*CRASH_POINTS, AN_OBJECT])
def test_a_sweep_killed_at_any_point_is_finished_by_the_next(tmp_path: Path, point: str, nth: int) -> None:
    """Nothing is lost in between, what is held or not due stays, and every deleted object is in one record."""

    async def before() -> list[str]:
        async with opened(tmp_path) as store:
            objects = LocalObjects(tmp_path / "objects")
            due = []
            for camera in ("cam-a", "cam-b"):
                due += await recorded(store, objects, camera, MORNING, MINUTES)
            await recorded(store, objects, "cam-young", SWEPT_AT - timedelta(days=30), 5)
            await store.write(lambda tx: tx.holds.place(HOLD))
            assert await findings(store, objects) == []
            return [one.key for one in due]

    async def after(keys: list[str]) -> None:
        async with opened(tmp_path) as store:
            objects = LocalObjects(tmp_path / "objects")
            pending = await store.read(lambda tx: tx.deletions.pending())
            assert len(pending) == (0 if point == CRASH_POINTS[2] else 1)
            found = await findings(store, objects)
            assert [f.what for f in found] == ["a deletion that was not finished"] * len(pending)
            assert {f.grade for f in found} <= {Grade.SUSPICIOUS}
        await sweep(tmp_path, "", 0)
        async with opened(tmp_path) as store:
            assert await findings(store, objects) == []
            assert [f async for f in ceiling(store, SWEPT_AT + timedelta(days=1), 30)] == []
            kept = await objects.keys(f"{SITE}/recordings/cam-a/")
            assert kept == [keys[n] for n in HELD]
            assert await objects.keys(f"{SITE}/recordings/cam-b/") == []
            assert len(await objects.keys(f"{SITE}/recordings/cam-young/")) == 5
            records = await store.read(lambda tx: tx.deletions.after(0, 100))
            counted = Counter(str(item["key"]) for _, record, _ in records for item in record.items)
            assert counted == Counter(set(keys) - set(kept))

    keys = run(before())
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.sweeper", str(tmp_path), point, str(nth)],
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    run(after(keys))


def test_a_hold_placed_after_a_kill_keeps_what_is_still_there(tmp_path: Path) -> None:
    """An intention left by a crash is not carried out: what it had not deleted is judged anew."""

    async def before() -> list[str]:
        async with opened(tmp_path) as store:
            return [
                one.key
                for one in await recorded(store, LocalObjects(tmp_path / "objects"), "cam-a", MORNING, 20)
            ]

    async def after(keys: list[str]) -> None:
        objects = LocalObjects(tmp_path / "objects")
        left = await objects.keys("")
        assert 0 < len(left) < len(keys)
        async with opened(tmp_path) as store:
            everything = replace(HOLD, start=MORNING, end=MORNING + timedelta(days=1))
            await store.write(lambda tx: tx.holds.place(everything))
        await sweep(tmp_path, "", 0)
        assert await objects.keys("") == left
        async with opened(tmp_path) as store:
            assert await findings(store, objects) == []
            ((_, record, _),) = await store.read(lambda tx: tx.deletions.after(0, 100))
            assert sorted(str(item["key"]) for item in record.items) == sorted(set(keys) - set(left))

    keys = run(before())
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.sweeper", str(tmp_path), AN_OBJECT, "4"],
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    run(after(keys))


class HiddenObjects(LocalObjects):
    """A store that keeps versions: what was deleted by key alone is hidden and there."""

    async def size(self, key: str, version: str | None = None) -> int | None:
        return None

    async def versions(self, prefix: str) -> AsyncIterator[list[ObjectVersion]]:
        kept = [
            ObjectVersion(key=key, version="1", bytes=1, stored_at=None, newest=False, hides=False)
            for key in await self.keys(prefix)
        ]
        yield kept


def test_what_is_only_hidden_is_not_recorded_as_gone(tmp_path: Path) -> None:
    """A mark of deletion somebody set meanwhile makes no deletion: the intention is forgotten, and nothing is claimed."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            objects = HiddenObjects(tmp_path / "objects")
            due = await recorded(store, objects, "cam-a", MORNING, 3)
            sweeping = Sweeping(store=store, clock=ManualClock(SWEPT_AT), objects=objects, retention_days=30)
            intended = sweeping._intended([{"key": one.key} for one in due], due, camera="cam-a")
            await store.write(lambda tx: tx.deletions.intend(intended))
            await sweeping._finish_pending(Swept())
            assert await store.read(lambda tx: tx.deletions.pending()) == []
            assert await store.read(lambda tx: tx.deletions.after(0, 10)) == []
            assert await store.read(lambda tx: tx.recordings.reaches("cam-a")) == due[-1].end

    run(story())

"""The checks of the ledger find what was done to it, name it, and say nothing of what is sound."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.finding import Finding, Grade
from gateway.domain.recording import Gap, GapCause, Segment
from gateway.fsck.ledger_audit import (
    ceiling,
    deletions,
    sums,
    unexplained,
)
from gateway.fsck.object_audit import OnRecord
from gateway.fsck.object_audit import objects as audited
from gateway.ports.store import Store
from gateway.recording.deletion import Sweeping
from storage.objects.local import LocalObjects
from tests.support.clock import MORNING, ManualClock, run
from tests.support.footage import SITE, recorded
from tests.support.stores import opened, overwrite

LATER = MORNING + timedelta(days=31, minutes=10)
YOUNG = LATER - timedelta(minutes=10)


async def findings(store: Store, objects: LocalObjects) -> list[Finding]:
    checks = (
        unexplained(store, LATER, 30),
        audited(OnRecord.RECORDINGS, store, objects, SITE),
        ceiling(store, LATER, 30),
        deletions(store, 30),
        sums(store),
    )
    return [finding for check in checks async for finding in check]


@asynccontextmanager
async def swept(folder: Path) -> AsyncIterator[tuple[Store, LocalObjects, list[Segment]]]:
    """Five old minutes, deleted; then a gap to ten minutes ago, and since then footage."""
    async with opened(folder) as store:
        objects = LocalObjects(folder / "objects")
        await recorded(store, objects, "cam-a", MORNING, 5)
        gap = Gap(
            id="gap_1",
            camera="cam-a",
            start=MORNING + timedelta(minutes=5),
            end=YOUNG,
            cause=GapCause.CAMERA,
        )
        await store.write(lambda tx: tx.recordings.open_gap(gap))
        young = await recorded(store, objects, "cam-a", YOUNG, 10)
        sweeping = Sweeping(store=store, clock=ManualClock(LATER), objects=objects, retention_days=30)
        assert (await sweeping.sweep(LATER)).objects == 5
        assert await findings(store, objects) == []
        yield store, objects, young


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE deletion SET items_sha256 = 'ff'", "a list of deleted objects is altered"),
        ("UPDATE deletion SET register_line = 7", "the register does not vouch for a deletion"),
        ("DELETE FROM register", "the register does not vouch for a deletion"),
        ("UPDATE deletion SET at = at - 86400000000 * 2", "deleted before its floor"),
        ("UPDATE coverage SET bytes = bytes + 1", "an hour's sum is wrong"),
        ("DELETE FROM gap", "neither recorded nor explained"),
    ],
)
def test_what_is_altered_in_the_database_is_named(tmp_path: Path, statement: str, found: str) -> None:
    """One statement, by whoever has the file."""

    async def story() -> None:
        async with swept(tmp_path) as (store, objects, _):
            with closing(sqlite3.connect(tmp_path / "gateway.db", timeout=5)) as database:
                database.execute(statement)
                database.commit()
            assert found in [finding.what for finding in await findings(store, objects)]

    run(story())


def test_a_dropped_row_and_a_missing_or_altered_object_are_named(tmp_path: Path) -> None:
    """The row's object is in no ledger and its minute unexplained; an object's loss is named by its key."""

    async def story() -> None:
        async with swept(tmp_path) as (store, objects, young):
            one, two, three = young[2], young[4], young[6]
            await store.write(lambda tx: tx.recordings.forget("cam-a", [one]))
            (objects.root / two.key).unlink()
            overwrite(objects.root / three.key, b"x")
            found = {(f.grade, f.what, f.about) for f in await findings(store, objects)}
            assert found == {
                (Grade.LOST, "neither recorded nor explained", "cam-a"),
                (Grade.SUSPICIOUS, "an object that is in no ledger", one.key),
                (Grade.LOST, "the object is missing", two.key),
                (Grade.LOST, "the object is altered", three.key),
            }

    run(story())


def test_what_is_kept_too_long_is_named(tmp_path: Path) -> None:
    """A day after its period."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            objects = LocalObjects(tmp_path / "objects")
            (old,) = await recorded(store, objects, "cam-a", LATER - timedelta(days=31, minutes=2), 1)
            found = [(f.what, f.about) async for f in ceiling(store, LATER, 30)]
            assert found == [("kept beyond its ceiling", old.key)]

    run(story())

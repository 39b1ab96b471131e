"""The store of a running gateway outlives its file: whatever was done to it, a commit goes through and nothing is removed."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from gateway.box.clock import SystemClock
from gateway.domain.contact import Memory
from gateway.domain.fault import FaultKind
from gateway.domain.loss import LossKind
from storage.sql import ground
from storage.sql.safe_store import SafeStore
from storage.sql.transaction import SqlTransaction
from storage.sql.transfer import AT_ONCE
from tests.support import damage

ARMED_WITHIN_S = 10.0


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


@asynccontextmanager
async def opened(path: Path, known: str = "register.key is there") -> AsyncIterator[SafeStore]:
    store = SafeStore(path, SystemClock(), known_by=lambda: known)
    await store.start()
    watch = asyncio.ensure_future(store.run())
    try:
        yield store
    finally:
        watch.cancel()
        await store.stop()


def remember(source: str) -> Callable[[SqlTransaction], None]:
    return lambda tx: tx.inbox.remember(source, Memory(closed=True))


def known(source: str) -> Callable[[SqlTransaction], bool]:
    return lambda tx: tx.inbox.memory(source).closed is True


def causes(store: SafeStore) -> dict[str, str]:
    return {subject: cause for (kind, subject), cause in store.found() if kind is FaultKind.STORE}


@pytest.mark.parametrize("kind", list(damage.AT_A_START))
def test_a_start_on_a_harmed_file_commits_within_seconds_and_removes_nothing(
    tmp_path: Path, kind: str
) -> None:
    """It is set aside whole, a new one is begun, a fault says what to do and stays over restarts until it is acknowledged."""
    path = tmp_path / "gateway.db"

    async def story() -> None:
        async with opened(path, known="") as store:
            assert store.losses == []
            await store.write(remember("before"))
        former = path.read_bytes()
        damage.AT_A_START[kind](path)
        harmed = path.read_bytes() if path.is_file() else None
        began_s = time.monotonic()
        async with opened(path) as store:
            await store.write(remember("after"))
            took_s = time.monotonic() - began_s
            print(f"{kind}: committed {took_s:.2f} s after the start")
            assert took_s < ARMED_WITHIN_S
            assert store.durable
            assert store.forgetful
            (loss,) = store.losses
            missing = kind in ("removed", "emptied")
            expected = (
                LossKind.MISSING if missing else LossKind.FOREIGN if "newer" in kind else LossKind.DAMAGED
            )
            assert loss.kind is expected
            assert "POST /api/v1/retention/database" in causes(store)[f"database-{expected.value}"]
            if kind != "removed":
                aside = Path(loss.aside) / path.name
                assert aside.is_dir() if harmed is None else aside.read_bytes() == harmed
            assert former
        async with opened(path) as store:
            assert await store.read(known("after"))
            assert len(store.losses) == 1
            await store.acknowledge()
            assert not store.forgetful
        async with opened(path) as store:
            assert causes(store) == {}

    run(story())


@pytest.mark.parametrize(
    "kind", ["header_zeroed", "every_table_page_random", "cut_in_half", "emptied", "a_text_in_its_place"]
)
def test_harm_while_it_runs_costs_no_commit(tmp_path: Path, kind: str) -> None:
    """What waits is committed in the new file; the old one is set aside with its log."""
    path = tmp_path / "gateway.db"

    async def story() -> None:
        async with opened(path) as store:
            await store.acknowledge()
            for number in range(500):
                await store.write(remember(f"s-{number}"))
            with closing(sqlite3.connect(path)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            damage.AT_A_START[kind](path)
            # Its own pages in memory may serve it for a while.
            began_s = time.monotonic()
            for number in range(2000):
                await store.write(remember(f"t-{number}"))
                await store.read(lambda tx: tx.messages.undelivered())
                await store.read(known(f"s-{number % 500}"))
                if store.losses:
                    break
            print(f"{kind}: {time.monotonic() - began_s:.2f} s")
            await store.write(remember("after"))
            assert await store.read(known("after"))
            assert store.durable

    run(story())
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA quick_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("which", ["", "-wal", "both"])
def test_a_file_taken_away_while_it_runs_is_written_back_whole(tmp_path: Path, which: str) -> None:
    """SQLite would go on writing to what no name leads to: all of it is written to a new file, and a fault says so."""
    path = tmp_path / "gateway.db"

    async def story() -> None:
        async with opened(path) as store:
            await store.acknowledge()
            await store.write(remember("before"))
            for part in ("", "-wal") if which == "both" else (which,):
                await asyncio.to_thread(Path(f"{path}{part}").unlink)
            await store.write(remember("after"))
            assert store.durable
            assert not store.forgetful
            assert "written back" in causes(store)["database-removed"]
        async with opened(path) as store:
            assert await store.read(known("before"))
            assert await store.read(known("after"))

    run(story())


def test_a_lock_of_another_process_does_not_hold_up_a_commit(tmp_path: Path) -> None:
    """It is committed in memory meanwhile, and in the file once the lock is gone."""
    path = tmp_path / "gateway.db"

    async def story() -> None:
        async with opened(path) as store:
            await store.acknowledge()
            await store.write(remember("before"))
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                began_s = time.monotonic()
                await store.write(remember("meanwhile"))
                print(f"committed in memory after {time.monotonic() - began_s:.2f} s")
                assert time.monotonic() - began_s < ARMED_WITHIN_S
                assert not store.durable
                assert "in memory" in causes(store)["database"]
                assert await store.read(known("before"))
                other.execute("ROLLBACK")
            await asyncio.wait_for(store.until_durable(), 30)
            assert await store.read(known("meanwhile"))
            assert causes(store) == {}
        async with opened(path) as store:
            assert await store.read(known("meanwhile"))

    run(story())


def test_a_place_that_takes_no_file_is_memory_until_it_does(tmp_path: Path) -> None:
    """At a start, and over a restart of the process, which finds in memory what it had committed."""
    folder = tmp_path / "gone"
    folder.write_text("a file where the folder should be", "utf-8")
    path = folder / "gateway.db"

    async def story() -> None:
        async with opened(path) as store:
            await store.write(remember("first"))
            assert not store.durable
        async with opened(path) as store:
            assert not store.durable
            assert await store.read(known("first"))
            folder.unlink()
            folder.mkdir()
            await asyncio.wait_for(store.until_durable(), 30)
        async with opened(path) as store:
            assert store.durable
            assert await store.read(known("first"))

    run(story())


@pytest.mark.parametrize("kind", ["index_of_open_alarms_random", "a_newer_schema"])
def test_what_there_was_no_time_for_comes_over_later(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long table of a file that can be read is taken over page by page beside the presses, over a restart too."""
    path = tmp_path / "gateway.db"
    monkeypatch.setattr(ground, "SALVAGE_S", 0.0)
    rows = 3 * AT_ONCE

    def count(tx: SqlTransaction) -> int:
        found: int = tx.driver.execute("SELECT count(*) FROM timeline").fetchone()[0]
        return found

    def fill(tx: SqlTransaction) -> None:
        tx.driver.executemany(
            "INSERT INTO timeline (alarm, at, what, detail) VALUES (?, 0, 'raised', '{}')",
            [(f"alm_{number}",) for number in range(rows)],
        )

    async def story() -> None:
        async with opened(path, known="") as store:
            await store.write(fill)
        damage.AT_A_START[kind](path)
        async with opened(path) as store:
            assert await store.read(count) < rows
        async with opened(path) as store:
            deadline_s = time.monotonic() + 60
            while True:
                if await store.read(count) == rows:
                    break
                assert time.monotonic() < deadline_s
                await asyncio.sleep(0.05)
            await store.write(remember("after"))

    run(story())


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
@pytest.mark.parametrize("what", ["file", "folder", "log"])
def test_what_may_not_be_touched_any_more_does_not_hold_up_a_start(tmp_path: Path, what: str) -> None:
    """Somebody who looked at the database as root, or a restored backup of another user, is enough for it."""
    folder = tmp_path / "data"
    path = folder / "gateway.db"

    async def story() -> None:
        async with opened(path, known="") as store:
            await store.write(remember("before"))
            if what == "log":
                await asyncio.to_thread(shutil.copyfile, f"{path}-wal", tmp_path / "log")
        if what == "log":
            await asyncio.to_thread(shutil.copyfile, tmp_path / "log", f"{path}-wal")
        target, mode = (
            (folder, 0o500) if what == "folder" else (Path(f"{path}{'-wal' if what == 'log' else ''}"), 0)
        )
        target.chmod(mode)
        began_s = time.monotonic()
        try:
            async with opened(path) as store:
                await store.write(remember("after"))
                print(f"{what}: committed {time.monotonic() - began_s:.2f} s after the start")
                assert time.monotonic() - began_s < ARMED_WITHIN_S
                assert ("may not write it: give it to that user" in str(causes(store))) is (what == "file")
                assert causes(store)
                assert store.durable is (what != "folder")
                folder.chmod(0o700)
                await asyncio.wait_for(store.until_durable(), 30)
                assert await store.read(known("after"))
        finally:
            folder.chmod(0o700)

    run(story())

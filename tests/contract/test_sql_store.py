"""The database keeps what it says: shared commits, crashes, full disks, and its schema.

One file, though long: what is asked of the database is to be read as a whole.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from gateway.domain.alarm import Drill, Request, State
from gateway.domain.contact import Memory
from gateway.domain.errors import InvariantBroken, Unavailable
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from gateway.domain.fault import Fault, FaultKind
from gateway.domain.inbox import InboxEntry
from gateway.domain.message import Attempt, MessageType, Outcome
from storage.sql import store as store_module
from storage.sql.harm import Harm, harm_of, refusal
from storage.sql.schema import MIGRATIONS, bring_up_to_date, head
from storage.sql.store import SqlStore
from storage.sql.tables import metadata
from storage.sql.transaction import SqlTransaction
from tests.support.builders import alarm, envelopes
from tests.support.clock import MORNING, run
from tests.support.small_disk import fill, mounted_small_disk
from tests.support.stores import opened


def remember(source: str, closed: bool = True) -> Any:
    def work(tx: SqlTransaction) -> str:
        tx.inbox.remember(source, Memory(closed=closed))
        return source

    return work


def known(*sources: str) -> Any:
    return lambda tx: [tx.inbox.memory(s).closed for s in sources]


def test_one_error_among_concurrent_writes_loses_only_that_one(tmp_path: Path) -> None:
    """Works that share a commit stand alone: the failing one is taken back and told, the others are kept."""

    def bad(tx: SqlTransaction) -> None:
        tx.inbox.remember("bad", Memory(closed=True))
        raise KeyError("mine")

    async def story() -> None:
        async with opened(tmp_path) as store:
            works = [remember(f"s{n}") for n in range(20)]
            works[7] = bad
            done = await asyncio.gather(*(store.write(w) for w in works), return_exceptions=True)
            assert isinstance(done[7], KeyError)
            assert done[:7] + done[8:] == [f"s{n}" for n in range(20) if n != 7]
            assert await store.read(known("s6", "s8", "bad")) == [True, True, None]
            with pytest.raises(KeyError):
                await store.write(bad)
            assert await store.read(known("bad")) == [None]

    run(story())


def test_a_reader_sees_every_commit_that_has_returned(tmp_path: Path) -> None:
    """Read-your-writes, two hundred times over."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            for n in range(200):
                await store.write(remember("s", closed=n % 2 == 0))
                assert await store.read(known("s")) == [n % 2 == 0]

    run(story())


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """A work that writes where it should read is refused, and nothing of it is kept."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(Unavailable):
                await store.read(remember("s"))
            assert await store.read(known("s")) == [None]

    run(story())


def test_deferred_work_is_done_within_its_second_and_at_the_end(tmp_path: Path) -> None:
    """write_later needs no other write to come, and stopping loses nothing of it."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            store.write_later(remember("later"))
            deadline = time.monotonic() + 5
            while await store.read(known("later")) != [True]:
                assert time.monotonic() < deadline
            store.write_later(remember("last"))
        async with opened(tmp_path) as store:
            assert await store.read(known("last")) == [True]

    run(story())


def test_a_trickle_of_deferred_work_does_not_put_it_off(tmp_path: Path) -> None:
    """More of the kind comes twice a second for ever: the first is on disk after its second all the same."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            for number in range(8):
                store.write_later(remember(f"later-{number}"))
                await asyncio.sleep(0.4)
            assert await store.read(known("later-0")) == [True]

    run(story())


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "with another that is sound"])
def test_a_deferred_work_that_is_wrong_stops_the_process(tmp_path: Path, beside: bool) -> None:
    """Nobody waits for it, so whoever can end the process is called; what shares its commit is kept."""
    broken: list[Exception] = []

    def wrong(tx: SqlTransaction) -> None:
        raise ValueError("the program contradicts itself")

    async def story() -> None:
        store = SqlStore(tmp_path / "gateway.db", broken=broken.append)
        await store.start()
        store.write_later(wrong)
        if beside:
            store.write_later(remember("sound"))
        await store.write(remember("urgent"))
        await store.stop()
        await asyncio.sleep(0)
        assert [type(error) for error in broken] == [InvariantBroken]
        assert "contradicts itself" in str(broken[0])
        async with opened(tmp_path) as again:
            assert await again.read(known("urgent")) == [True]
            assert await again.read(known("sound")) == [True if beside else None]

    run(story())


def _sqlite(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "harm"),
    [
        (_sqlite(sqlite3.SQLITE_FULL, "database or disk is full"), Harm.FULL),
        (_sqlite(sqlite3.SQLITE_IOERR_WRITE, "disk I/O error"), Harm.DISK),
        (_sqlite(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error"), Harm.DISK),
        (_sqlite(sqlite3.SQLITE_IOERR_READ, "disk I/O error"), Harm.DISK),
        (_sqlite(sqlite3.SQLITE_IOERR_SHORT_READ, "disk I/O error"), Harm.DAMAGED),
        (_sqlite(sqlite3.SQLITE_READONLY, "attempt to write a readonly database"), Harm.DISK),
        (_sqlite(sqlite3.SQLITE_READONLY_DBMOVED, "attempt to write a readonly database"), Harm.GONE),
        (_sqlite(sqlite3.SQLITE_CANTOPEN, "unable to open database file"), Harm.DISK),
        (_sqlite(sqlite3.SQLITE_BUSY, "database is locked"), Harm.LOCKED),
        (_sqlite(sqlite3.SQLITE_LOCKED, "database table is locked"), Harm.LOCKED),
        (_sqlite(sqlite3.SQLITE_CORRUPT, "database disk image is malformed"), Harm.DAMAGED),
        (_sqlite(sqlite3.SQLITE_NOTADB, "file is not a database"), Harm.DAMAGED),
        (_sqlite(sqlite3.SQLITE_ERROR, "no such table: inbox"), Harm.DAMAGED),
        (_sqlite(sqlite3.SQLITE_CONSTRAINT, "UNIQUE constraint failed"), None),
        (OSError(errno.ENOSPC, "No space left on device"), Harm.FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Harm.FULL),
        (OSError(errno.EIO, "Input/output error"), Harm.DISK),
        (OSError(errno.EROFS, "Read-only file system"), Harm.DISK),
        (ValueError("the work's own"), None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_error_says_what_is_wrong_with_the_database(
    tmp_path: Path, error: Exception, harm: Harm | None
) -> None:
    """An I/O error is no full disk; what is wrong with the work alone is none of the file's."""
    assert harm_of(error, tmp_path) is harm
    if harm is not None:
        wrapped = Unavailable("refused")
        wrapped.__cause__ = error
        assert harm_of(wrapped, tmp_path) is harm
        assert harm.value in refusal(error, harm).reason


def test_stopping_twice_is_harmless_and_a_closed_store_says_so(tmp_path: Path) -> None:
    """After the end, nobody waits for ever."""

    async def story() -> None:
        store = SqlStore(tmp_path / "gateway.db")
        await store.start()
        await store.write(remember("s"))
        await store.stop()
        await store.stop()
        with pytest.raises(Unavailable):
            await store.write(remember("t"))

    run(story())


def test_a_thread_that_cannot_go_on_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the writing thread breaks, every caller is told, so that the process can end and start again."""

    def broken(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    async def story() -> None:
        async with opened(tmp_path) as store:
            monkeypatch.setattr(SqlStore, "_run_batch", staticmethod(broken))
            for _ in range(2):
                with pytest.raises(InvariantBroken, match="nobody foresaw"):
                    await asyncio.wait_for(store.write(remember("s")), 5)

    run(story())


def test_a_cancelled_caller_does_not_stop_the_store(tmp_path: Path) -> None:
    """Who asked may go; the work is done or not, and the next one is served."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            task = asyncio.create_task(store.write(remember("s")))
            await asyncio.sleep(0)
            task.cancel()
            assert await store.write(remember("t")) == "t"

    run(story())


# What the rows keep.


def test_every_row_comes_back_as_it_went_in(tmp_path: Path) -> None:
    """Instants to the microsecond, texts in Chinese, states, attempts and requests."""

    async def story() -> None:
        at = MORNING + timedelta(microseconds=7)
        one = alarm(at=at)
        fault = Fault(id="flt_1", kind=FaultKind.CAMERA, subject="cam-a", cause="没有画面", since=at)
        asked = Request(
            id="req_1",
            alarm=one.id,
            request="still",
            camera="cam-a",
            operator={"name": "王警官", "unit": "110"},
            reason="看现场",
            at=at,
            evidence=None,
        )
        said = envelopes().message(
            MessageType.ALARM_NOTE, {"注": 1}, at=at, now=at, subject=one.id, sequence=1
        )
        tried = Attempt(
            message=said.id, path="first", at=at, took_ms=3, status=503, outcome=Outcome.FAILED, detail="忙"
        )

        def work(tx: SqlTransaction) -> None:
            assert tx.alarms.add(one)
            assert not tx.alarms.add(alarm("alm_2"))
            tx.alarms.note(one.id, at, "raised", {"词": "single"})
            tx.faults.add(fault)
            tx.requests.add(asked)
            tx.messages.add(said)
            tx.messages.attempted(tried, at + timedelta(seconds=1))

        async with opened(tmp_path) as store:
            await store.write(work)
        async with opened(tmp_path) as store:

            def look(tx: SqlTransaction) -> tuple[Any, ...]:
                return (
                    tx.alarms.get(one.id),
                    tx.alarms.open_at(one.point),
                    tx.alarms.timeline(one.id)[0].detail,
                    tx.faults.find("camera", "cam-a"),
                    tx.requests.get("req_1"),
                    tx.messages.about(one.id)[0][1],
                    tx.messages.body(said.id),
                )

            assert await store.read(look) == (one, one, {"词": "single"}, fault, asked, [tried], said.body)

    run(story())


def test_an_identity_is_admitted_once(tmp_path: Path) -> None:
    """The second entry of an identity is not kept, whatever else it says; entries without one are."""

    def entry(identity: str | None, mid: int) -> InboxEntry:
        return InboxEntry(
            identity=identity, topic="t", digest="d", mid=mid, arrived_at=MORNING, alarm="alm_1"
        )

    async def story() -> None:
        async with opened(tmp_path) as store:

            def work(tx: SqlTransaction) -> list[bool]:
                return [tx.inbox.admit(entry(i, n)) for n, i in enumerate(["a", "a", None, None], 1)]

            assert await store.write(work) == [True, False, True, True]
            assert await store.read(lambda tx: tx.inbox.unsettled()) == {1, 3, 4}
            await store.write(lambda tx: tx.inbox.settle(3))
            assert await store.read(lambda tx: tx.inbox.unsettled()) == {1, 4}

    run(story())


def test_the_row_of_a_press_bears_its_alarm_from_the_start(tmp_path: Path) -> None:
    """A press goes to its point's open alarm; where none is open, a drill or a closed alarm aside, to its own."""

    def entry(alarm: str, identity: str | None = None) -> InboxEntry:
        return InboxEntry(identity=identity, topic="t", digest="d", mid=0, arrived_at=MORNING, alarm=alarm)

    async def story() -> None:
        async with opened(tmp_path) as store:

            def work(tx: SqlTransaction) -> list[str | None]:
                tx.alarms.add(alarm("drl_1", point="p-1", drill=Drill.DRILL))
                tx.alarms.add(alarm("alm_1", point="p-1", state=State.CLOSED, closed_at=MORNING))
                tx.alarms.add(alarm("alm_2", point="p-2"))
                return [
                    tx.inbox.admit_press(entry("alm_3", "a"), "p-1"),
                    tx.inbox.admit_press(entry("alm_4", "a"), "p-1"),
                    tx.inbox.admit_press(entry("alm_5"), "p-2"),
                    tx.inbox.admit_press(entry("alm_6"), "p-3"),
                ]

            assert await store.write(work) == ["alm_3", None, "alm_2", "alm_6"]

            def kept(tx: SqlTransaction) -> list[str]:
                return [a for (a,) in tx.driver.execute("SELECT alarm FROM inbox ORDER BY n")]

            assert await store.read(kept) == ["alm_3", "alm_2", "alm_6"]

    run(story())


# The schema.


def migrate(path: Path) -> None:
    """Make a database by the migrations alone, as one that an earlier version left is brought up."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    command.upgrade(config, "head")


@pytest.mark.parametrize("make", [migrate, bring_up_to_date])
def test_the_migrations_lead_to_exactly_the_schema_in_the_code(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Neither Alembic nor the text of the indexes shows a difference to tables.py, however the database was made."""
    path = tmp_path / "gateway.db"
    make(path)
    engine, fresh = create_engine(f"sqlite:///{path}"), create_engine("sqlite://")
    metadata.create_all(fresh)
    query = "SELECT name, sql FROM sqlite_master WHERE type='index' AND sql IS NOT NULL ORDER BY name"
    try:
        with engine.connect() as made, fresh.connect() as wanted:
            context = MigrationContext.configure(made, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
            indexes = [[tuple(row) for row in c.exec_driver_sql(query)] for c in (made, wanted)]
            assert indexes[0] == indexes[1]
            assert made.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == head()
    finally:
        engine.dispose()
        fresh.dispose()


@pytest.mark.parametrize("was", ["absent", "kept with a journal", "migrated"])
def test_a_database_is_in_wal_before_two_threads_open_it(tmp_path: Path, was: str) -> None:
    """Two connections that both turn a database to WAL lock each other out without waiting: it is turned before they exist,
    also one that was copied back in another mode."""
    path = tmp_path / "gateway.db"
    if was == "migrated":
        migrate(path)
    bring_up_to_date(path)
    if was == "kept with a journal":
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
        bring_up_to_date(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_second_start_finds_the_schema_and_changes_nothing(tmp_path: Path) -> None:
    """The version is on disk after the first start, and what was kept is still there."""

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.write(remember("s"))
        for _ in range(2):
            async with opened(tmp_path) as store:
                assert await store.read(known("s")) == [True]

    run(story())
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [(head(),)]


def test_a_database_of_a_newer_gateway_is_refused(tmp_path: Path) -> None:
    """The message names both versions and what to do; the file is not touched."""
    path = tmp_path / "gateway.db"
    bring_up_to_date(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num='9999'")
        database.commit()
    with pytest.raises(Unavailable, match=r"newer gateway \(schema 9999.*install that version"):
        run(SqlStore(path).start())


@pytest.mark.parametrize("content", [b"this is no database" * 100, os.urandom(4096)])
def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """The error says which file, and leaves it alone."""
    path = tmp_path / "gateway.db"
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"gateway\.db.*not a database"):
        run(SqlStore(path).start())
    assert path.read_bytes() == content


def test_a_damaged_schema_is_said_and_not_guessed_at(tmp_path: Path) -> None:
    """Tables without a version are not ours to complete: the start is refused in words."""
    path = tmp_path / "gateway.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE alarm (id TEXT)")
        database.commit()
    with pytest.raises(Unavailable, match=r"gateway\.db.*cannot be brought to schema"):
        run(SqlStore(path).start())


KILLED_MIDWAY = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from storage.sql import schema

@event.listens_for(Engine, "before_cursor_execute")
def before(connection, cursor, statement, *rest):
    if "CREATE TABLE message" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "migrations":
    from tests.contract.test_sql_store import migrate
    migrate(Path(sys.argv[1]))
schema.bring_up_to_date(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("way", ["migrations", "new"])
def test_a_kill_in_the_middle_of_making_the_schema_costs_nothing(tmp_path: Path, way: str) -> None:
    """The schema is made in one transaction: after a kill between two tables the next start succeeds."""
    path = tmp_path / "gateway.db"
    command_ = [sys.executable, "-c", KILLED_MIDWAY, str(path), way]
    done = subprocess.run(command_, check=False, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    bring_up_to_date(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [(head(),)]


# Crashes and full disks.


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    """A kill cannot tell a write that the system still holds from one on the disk; the setting that makes the difference to a
    power cut is therefore read from the writing connection itself: FULL is 2."""

    def settings(tx: Any) -> tuple[Any, Any]:
        connection = tx.alarms._c
        pragmas = ("PRAGMA synchronous", "PRAGMA journal_mode")
        return tuple(connection.exec_driver_sql(p).scalar() for p in pragmas)  # type: ignore[return-value]

    async def story() -> None:
        async with opened(tmp_path) as store:
            assert await store.write(settings) == (2, "wal")

    run(story())


WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.domain.contact import Memory
from storage.sql.store import SqlStore

async def main():
    store = SqlStore(Path(sys.argv[1]))
    await store.start()
    async def line(k):
        n = 0
        while True:
            await store.write(lambda tx: tx.inbox.remember(f"{k}-{n}", Memory(closed=True)))
            sys.stdout.write(f"{k}-{n}\\n")
            sys.stdout.flush()
            n += 1
    await asyncio.gather(*(line(k) for k in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 57, 400])
def test_a_kill_loses_no_write_that_returned(tmp_path: Path, lines: int) -> None:
    """kill -9 in the middle of writing: the database opens, is sound, and every write that returned is there."""
    path = tmp_path / "gateway.db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        returned = [process.stdout.readline().strip() for _ in range(lines)]
        process.kill()
        returned += process.stdout.read().split("\n")[:-1]
    assert len(returned) >= lines

    async def story() -> None:
        async with opened(tmp_path) as store:
            assert await store.read(known(*returned)) == [True] * len(returned)

    run(story())
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB of its own."""
    with mounted_small_disk(tmp_path, megabytes=4) as place:
        yield place


def test_a_full_disk_is_unavailable_costs_the_ballast_first_and_is_survived(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the ballast lasts presses are still committed; then writes are refused whole, reads go on, and with room
    everything works again: nothing that was refused is half there."""
    monkeypatch.setattr(store_module, "BALLAST_BYTES", 1024 * 1024)

    async def story() -> None:
        async with opened(small_disk) as store:
            await store.write(remember("before"))
            assert not store.inner.ballast_spent
            filler = small_disk / "filler"
            fill(filler)

            def large(n: int) -> Any:
                def work(tx: SqlTransaction) -> None:
                    tx.inbox.remember(f"n{n}", Memory(closed=True))
                    tx.inbox.quarantine("t", os.urandom(1024) * 8, "x" * 60_000, MORNING)

                return work

            kept, refused, reasons = [], [], set()
            for n in range(60):
                try:
                    await store.write(large(n))
                    kept.append(n)
                except Unavailable as exc:
                    refused.append(n)
                    reasons.add("full" in exc.reason)
                    if len(refused) == 3:
                        break
            assert store.inner.ballast_spent
            assert len(kept) > 3, "the ballast was no help"
            assert (len(refused), reasons) == (3, {True})
            assert await store.read(known(*(f"n{n}" for n in kept))) == [True] * len(kept)
            assert await store.read(known(*(f"n{n}" for n in refused))) == [None] * 3
            filler.unlink()
            await asyncio.gather(*(store.write(large(n)) for n in range(100, 104)))
            assert await store.read(known("n100", "n103")) == [True, True]
            store.inner.fill_ballast()
            assert not store.inner.ballast_spent

    run(story())


def test_what_is_to_be_pushed_is_stored_and_not_uploaded(tmp_path: Path) -> None:
    """In the order in which it was asked for, with the attempts on record; a later look needs only what was stored since."""

    def item(n: int, **changes: Any) -> Evidence:
        values: dict[str, Any] = {
            "id": f"evd_{n}",
            "alarm": "alm_1",
            "camera": "cam-a",
            "kind": Kind.STILL,
            "moment": Moment.PRESS,
            "start": MORNING,
            "end": MORNING,
            "state": EvidenceState.STORED,
            "stored_at": MORNING + timedelta(seconds=10 - n),
        }
        return Evidence(**(values | changes))

    items = [
        item(0),
        item(1, state=EvidenceState.WANTED, stored_at=None),
        item(2, uploaded_at=MORNING),
        item(3, state=EvidenceState.FAILED, stored_at=None, reason="no frames"),
        item(4),
        item(5, alarm="alm_2"),
    ]
    attempts = [
        Attempt(
            message=id_,
            path="media",
            at=MORNING + timedelta(seconds=n),
            took_ms=5,
            status=status,
            outcome=Outcome.FAILED,
            detail="busy",
        )
        for n, (id_, status) in enumerate([("evd_4", 503), ("evd_5", None), ("evd_4", 503)])
    ]

    def fill(tx: SqlTransaction) -> None:
        tx.evidence.add(items)
        for attempt in attempts:
            tx.evidence.attempted(attempt)

    async def story() -> None:
        async with opened(tmp_path) as store:
            await store.write(fill)
            found = await store.read(lambda tx: tx.evidence.to_push(None))
            assert found == [(items[0], 0), (items[4], 2), (items[5], 1)]
            since = MORNING + timedelta(seconds=6)
            assert await store.read(lambda tx: tx.evidence.to_push(since)) == [(items[0], 0), (items[4], 2)]
            kept = await store.read(lambda tx: tx.evidence.attempts("alm_1"))
            assert kept == {"evd_4": [attempts[0], attempts[2]]}

    run(story())

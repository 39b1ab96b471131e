"""The database: one writing thread that shares commits, one reading thread, both on SQLAlchemy Core.

Why threads and not SQLAlchemy's asyncio extension: there every single statement is a round trip to aiosqlite's thread, and a
press is seven statements; here a whole transaction is one round trip. DESIGN.md has the measurement.
"""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from gateway.domain.errors import InvariantBroken, Unavailable
from storage.sql.alarms import SqlAlarms
from storage.sql.answers import SqlAnswerItems
from storage.sql.contacts import SqlContacts
from storage.sql.deletions import SqlDeletions, SqlTrustedTime
from storage.sql.drills import SqlDrillWindows
from storage.sql.evidence import SqlEvidence, SqlRequests
from storage.sql.faults import SqlFaults
from storage.sql.holds import SqlHolds
from storage.sql.inbox import SqlInbox
from storage.sql.messages import SqlMessages
from storage.sql.recordings import SqlRecordings
from storage.sql.register import SqlRegister
from storage.sql.schema import bring_up_to_date, must_be_newest

T = TypeVar("T")

MOST_IN_ONE_COMMIT = 256
LATER_S = 1.0
#: Given up when the disk is full, so that presses are still committed while somebody makes room.
BALLAST_BYTES = 32 * 1024 * 1024


class SqlTransaction:
    """:class:`gateway.ports.Transaction` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self.inbox = SqlInbox(connection)
        self.contacts = SqlContacts(connection)
        self.alarms = SqlAlarms(connection)
        self.evidence = SqlEvidence(connection)
        self.messages = SqlMessages(connection)
        self.faults = SqlFaults(connection)
        self.requests = SqlRequests(connection)
        self.windows = SqlDrillWindows(connection)
        self.register = SqlRegister(connection)
        self.answer_items = SqlAnswerItems(connection)
        self.recordings = SqlRecordings(connection)
        self.holds = SqlHolds(connection)
        self.deletions = SqlDeletions(connection)
        self.trusted = SqlTrustedTime(connection)


@dataclass(slots=True)
class _Job:
    work: Callable[[SqlTransaction], Any]
    future: asyncio.Future[Any] | None
    result: Any = None
    error: BaseException | None = None


class SqlStore:
    """:class:`gateway.ports.Store` on SQLite. Start it before use; stopping twice is harmless."""

    def __init__(self, path: Path, *, only_reading: bool = False) -> None:
        """With ``only_reading`` the database is opened as it is, beside a gateway that may run on it, and nothing is written."""
        self.path = path
        self._only_reading = only_reading
        self._ballast = path.with_name(path.name + ".ballast")
        self._writes: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def ballast_spent(self) -> bool:
        """Whether the reserve for a full disk has been given up."""
        return not self._ballast.exists()

    async def start(self) -> None:
        """Create or migrate the database and start the two threads.

        Raises :class:`Unavailable` if the file cannot be opened or is newer than this program.
        """
        self._loop = asyncio.get_running_loop()
        if self._only_reading:
            await asyncio.to_thread(must_be_newest, self.path)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(bring_up_to_date, self.path)
            await asyncio.to_thread(self.fill_ballast)
        both = (
            ("store-write", self._writes, self._write_loop),
            ("store-read", self._reads, self._read_loop),
        )
        for name, jobs, target in both[1:] if self._only_reading else both:
            thread = threading.Thread(target=target, args=(jobs,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    async def stop(self) -> None:
        """Finish what was asked and end the threads."""
        threads, self._threads = self._threads, []
        if threads:
            self._writes.put(None)
            self._reads.put(None)
            for thread in threads:
                await asyncio.to_thread(thread.join)
            self._fail_rest(self._writes, Unavailable("the database is closed"))
            self._fail_rest(self._reads, Unavailable("the database is closed"))

    async def write(self, work: Callable[[SqlTransaction], T]) -> T:
        return await self._ask(self._writes, work)

    async def read(self, work: Callable[[SqlTransaction], T]) -> T:
        return await self._ask(self._reads, work)

    def write_later(self, work: Callable[[SqlTransaction], None]) -> None:
        self._writes.put(_Job(work, None))

    async def _ask(self, jobs: queue.SimpleQueue[_Job | None], work: Callable[[SqlTransaction], T]) -> T:
        if not self._threads or (self._only_reading and jobs is self._writes):
            raise Unavailable("the database is closed, or open for reading only")
        assert self._loop is not None
        future: asyncio.Future[T] = self._loop.create_future()
        jobs.put(_Job(work, future))
        return await future

    def fill_ballast(self) -> None:
        """Set the reserve aside, at the start and again once somebody has made room: where it leaves a quarter more free."""
        if self._ballast.exists() or shutil.disk_usage(self.path.parent).free < BALLAST_BYTES * 5 // 4:
            return
        try:
            with self._ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
        except OSError:
            self._ballast.unlink(missing_ok=True)

    # The writing thread.

    def _write_loop(self, jobs: queue.SimpleQueue[_Job | None]) -> None:
        engine = _engine(self.path, writing=True)
        later: list[_Job] = []
        try:
            with engine.connect() as connection:
                while True:
                    batch, going = self._next_batch(jobs, later)
                    if batch:
                        self._commit(connection, batch)
                    if not going:
                        return
        except Exception as exc:
            self._end(jobs, exc)
        finally:
            engine.dispose()

    @staticmethod
    def _next_batch(jobs: queue.SimpleQueue[_Job | None], later: list[_Job]) -> tuple[list[_Job], bool]:
        """Wait for work; what may wait goes with it, or alone when ``LATER_S`` have passed without any."""
        urgent: list[_Job] = []
        going = True
        try:
            job = jobs.get(timeout=LATER_S if later else None)
            while True:
                if job is None:
                    going = False
                    break
                (later if job.future is None else urgent).append(job)
                if len(urgent) >= MOST_IN_ONE_COMMIT:
                    break
                job = jobs.get_nowait() if urgent else jobs.get(timeout=LATER_S)
        except queue.Empty:
            pass
        batch = urgent + later
        later.clear()
        return batch, going

    def _commit(self, connection: Connection, batch: list[_Job]) -> None:
        try:
            self._run_batch(connection, batch)
        except (DatabaseError, sqlite3.DatabaseError, OSError) as exc:
            if _disk_is_full(exc) and not self.ballast_spent:
                self._ballast.unlink(missing_ok=True)
                self._commit(connection, batch)
                return
            refusal = _refusal(exc)
            for job in batch:
                job.error = refusal
        except Exception as exc:
            for job in batch:
                job.error = InvariantBroken(f"the database's thread ended: {exc!r}")
            self._answer(batch)
            raise
        self._answer(batch)

    @staticmethod
    def _run_batch(connection: Connection, batch: list[_Job]) -> None:
        if len(batch) == 1:
            try:
                with connection.begin():
                    batch[0].result = batch[0].work(SqlTransaction(connection))
            except (OperationalError, sqlite3.OperationalError, OSError):
                raise
            except BaseException as exc:
                batch[0].error = exc
            return
        # Each work stands alone: if one raises, only its own part is taken back. By the driver and not by SQLAlchemy's
        # nested transactions, which cost as much as the work itself.
        driver: Any = connection.connection.driver_connection
        with connection.begin():
            transaction = SqlTransaction(connection)
            for job in batch:
                job.error = None
                driver.execute("SAVEPOINT job")
                try:
                    job.result = job.work(transaction)
                except (OperationalError, sqlite3.OperationalError, OSError):
                    raise  # the database itself refuses: nothing of this batch can be kept
                except BaseException as exc:
                    driver.execute("ROLLBACK TO job")
                    job.error = exc
                driver.execute("RELEASE job")

    # The reading thread.

    def _read_loop(self, jobs: queue.SimpleQueue[_Job | None]) -> None:
        engine = _engine(self.path, writing=False)
        try:
            with engine.connect() as connection:
                while (job := jobs.get()) is not None:
                    try:
                        with connection.begin():
                            job.result = job.work(SqlTransaction(connection))
                    except DatabaseError as exc:
                        job.error = _refusal(exc)
                    except BaseException as exc:
                        job.error = exc
                    self._answer([job])
        except Exception as exc:
            self._end(jobs, exc)
        finally:
            engine.dispose()

    def _end(self, jobs: queue.SimpleQueue[_Job | None], cause: Exception) -> None:
        """A thread of the store cannot go on. Everybody who asks is told, so that the process ends and is started again; a
        caller left waiting would be an alarm that nobody hears."""
        broken = InvariantBroken(f"the database's thread ended: {cause!r}")
        broken.__cause__ = cause
        while (job := jobs.get()) is not None:
            job.error = broken
            self._answer([job])

    def _fail_rest(self, jobs: queue.SimpleQueue[_Job | None], error: Exception) -> None:
        while not jobs.empty():
            job = jobs.get()
            if job is not None:
                job.error = error
                self._answer([job])

    def _answer(self, batch: list[_Job]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_settle, batch)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return


def _settle(batch: list[_Job]) -> None:
    for job in batch:
        if job.future is None:
            if job.error is not None and not isinstance(job.error, Unavailable):
                raise InvariantBroken(f"deferred write failed: {job.error!r}") from job.error
        elif not job.future.done():
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)


def _engine(path: Path, *, writing: bool) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"isolation_level": None, "check_same_thread": False}
    )

    def prepare(dbapi: Any, _record: object) -> None:
        for pragma in (
            "synchronous=FULL",
            "busy_timeout=5000",
            "wal_autocheckpoint=1000",
            f"query_only={'OFF' if writing else 'ON'}",
        ):
            dbapi.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        # pysqlite would begin too late and without the write lock.
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def _disk_is_full(exc: BaseException) -> bool:
    text = str(exc)
    return "database or disk is full" in text or "disk I/O error" in text


def _refusal(exc: BaseException) -> Unavailable:
    cause = exc.orig if isinstance(exc, DatabaseError) and exc.orig is not None else exc
    refusal = Unavailable(f"the database refuses: {cause}")
    refusal.__cause__ = exc
    return refusal

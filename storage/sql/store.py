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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError

from gateway.domain.errors import InvariantBroken, Unavailable
from storage.sql.engines import engine_for
from storage.sql.ground import ballast_of
from storage.sql.harm import Harm, Harmed, harm_of, refusal
from storage.sql.schema import bring_up_to_date, must_be_newest
from storage.sql.transaction import SqlTransaction

T = TypeVar("T")
log = structlog.get_logger(__name__)

MOST_IN_ONE_COMMIT = 256
LATER_S = 1.0
#: Given up when the disk is full, so that presses are still committed while somebody makes room.
BALLAST_BYTES = 32 * 1024 * 1024


@dataclass(slots=True)
class _Job:
    work: Callable[[SqlTransaction], Any]
    future: asyncio.Future[Any] | None
    asked_s: float
    result: Any = None
    error: BaseException | None = None


#: Connections to files that were set aside. Closing the last one of a file removes the log under that name, which by then is the
#: new file's: so they stay open until the process ends.
_KEPT_OPEN: list[tuple[Engine, Connection]] = []


class SqlStore:
    """:class:`gateway.ports.store.Store` on one SQLite file. Start it before use; stopping twice is harmless."""

    def __init__(
        self,
        path: Path,
        *,
        only_reading: bool = False,
        durable: bool = True,
        broken: Callable[[Exception], None] | None = None,
    ) -> None:
        """With ``only_reading`` the database is opened as it is, beside a gateway that may run on it, and nothing is written.
        ``durable`` says whether what is committed outlives the box's power; ``broken`` is called on the loop with the error of a
        deferred work that failed, which nobody waits for."""
        self.path = path
        self._only_reading = only_reading
        self.durable = durable
        self._broken = broken
        self._ballast = ballast_of(path)
        self._writes: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open: list[tuple[Engine, Connection]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        #: What is asked and not answered, in its order: only the loop's thread touches it.
        self._asked_writes: dict[int, _Job] = {}
        self._asked_reads: dict[int, _Job] = {}
        self._left: Harmed | None = None
        self._leaving: list[threading.Thread] = []
        self._identity: tuple[tuple[int, int] | None, ...] = (None, None)

    @property
    def ballast_spent(self) -> bool:
        """Whether the reserve for a full disk has been given up."""
        return self.durable and not self._ballast.exists()

    @property
    def write_waits_s(self) -> float:
        """For how long the oldest write has waited for its answer."""
        return self._longest_s(self._asked_writes)

    @property
    def read_waits_s(self) -> float:
        """For how long the oldest reading has waited for its answer."""
        return self._longest_s(self._asked_reads)

    def _longest_s(self, asked: dict[int, _Job]) -> float:
        oldest = next(iter(asked.values()), None)
        return 0.0 if oldest is None or self._loop is None else self._loop.time() - oldest.asked_s

    async def start(self, *, ready: bool = False) -> None:
        """Create or migrate the database, unless it is ``ready``, and start the two threads.

        Raises :class:`Unavailable` if the file cannot be opened or is newer than this program.
        """
        self._loop = asyncio.get_running_loop()
        if self._only_reading:
            await asyncio.to_thread(must_be_newest, self.path)
        elif not ready:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(bring_up_to_date, self.path)
        if not self._only_reading and self.durable:
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
            self._close()

    async def leave(self, error: Harmed, within_s: float) -> bool:
        """Go from this file: whoever waits gets ``error``, and what the threads still come to is told to nobody. The connections
        stay open. Returns whether the threads have ended."""
        self._left = error
        threads, self._threads = self._threads, []
        self._writes.put(None)
        self._reads.put(None)
        asked = [*self._asked_writes.values(), *self._asked_reads.values()]
        self._asked_writes, self._asked_reads = {}, {}
        for job in asked:
            if job.future is not None and not job.future.done():
                job.future.set_exception(error)
        for thread in threads:
            await asyncio.to_thread(thread.join, within_s)
        self._leaving = threads
        return self.has_ended

    @property
    def has_ended(self) -> bool:
        """After :meth:`leave`: whether no thread is in the file any more."""
        return not any(thread.is_alive() for thread in self._leaving)

    def keep_open(self) -> None:
        """The file was set aside: see :data:`_KEPT_OPEN`."""
        _KEPT_OPEN.extend(self._open)
        self._open = []

    def close(self) -> None:
        """Close the connections of a file that stayed where it is. For :meth:`leave`, once the threads have ended."""
        self._close()

    async def write(self, work: Callable[[SqlTransaction], T]) -> T:
        return await self._ask(self._writes, work)

    async def read(self, work: Callable[[SqlTransaction], T]) -> T:
        return await self._ask(self._reads, work)

    async def until_durable(self) -> None:
        """What has returned is as durable as it gets in this file."""

    def write_later(self, work: Callable[[SqlTransaction], None]) -> None:
        assert self._loop is not None
        self._writes.put(_Job(work, None, self._loop.time()))

    async def _ask(self, jobs: queue.SimpleQueue[_Job | None], work: Callable[[SqlTransaction], T]) -> T:
        if self._left is not None:
            raise self._left
        if not self._threads or (self._only_reading and jobs is self._writes):
            raise Unavailable("the database is closed, or open for reading only")
        assert self._loop is not None
        future: asyncio.Future[T] = self._loop.create_future()
        job = _Job(work, future, self._loop.time())
        (self._asked_writes if jobs is self._writes else self._asked_reads)[id(job)] = job
        jobs.put(job)
        return await future

    def fill_ballast(self) -> None:
        """Set the reserve aside, at the start and again once somebody has made room: where it leaves a quarter more free."""
        try:
            if self._ballast.exists() or shutil.disk_usage(self.path.parent).free < BALLAST_BYTES * 5 // 4:
                return
            with self._ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
        except OSError:
            with suppress(OSError):
                self._ballast.unlink(missing_ok=True)

    # The writing thread.

    def _write_loop(self, jobs: queue.SimpleQueue[_Job | None]) -> None:
        later: list[_Job] = []
        try:
            connection = self._connect(writing=True)
            self._identity = self._present()
            while True:
                batch, going = self._next_batch(jobs, later)
                if batch:
                    self._commit(connection, batch)
                if not going:
                    return
        except Exception as exc:
            self._end(jobs, exc)

    def _next_batch(self, jobs: queue.SimpleQueue[_Job | None], later: list[_Job]) -> tuple[list[_Job], bool]:
        """Wait for work; what may wait goes with it, or alone once the first of it has waited for ``LATER_S``: more of the kind
        does not put it off."""
        assert self._loop is not None
        urgent: list[_Job] = []
        going = True
        try:
            while True:
                if urgent:
                    job = jobs.get_nowait()
                elif later:
                    job = jobs.get(timeout=max(0.0, later[0].asked_s + LATER_S - self._loop.time()))
                else:
                    job = jobs.get()
                if job is None:
                    going = False
                    break
                (later if job.future is None else urgent).append(job)
                if len(urgent) + len(later) >= MOST_IN_ONE_COMMIT:
                    break
        except queue.Empty:
            pass
        batch = urgent + later
        later.clear()
        return batch, going

    def _commit(self, connection: Connection, batch: list[_Job]) -> None:
        try:
            self._is_here()
            self._run_batch(connection, batch)
        except Exception as exc:
            harm = harm_of(exc, self.path.parent)
            if harm is Harm.FULL and self.durable and not self.ballast_spent:
                self._ballast.unlink(missing_ok=True)
                self._commit(connection, batch)
                return
            if harm is None:
                for job in batch:
                    job.error = InvariantBroken(f"the database's thread ended: {exc!r}")
                self._answer(batch)
                raise
            for job in batch:
                job.error = refusal(exc, harm)
        self._answer(batch)

    def _run_batch(self, connection: Connection, batch: list[_Job]) -> None:
        if len(batch) == 1:
            try:
                with connection.begin():
                    batch[0].result = batch[0].work(SqlTransaction(connection, durable=self.durable))
            except BaseException as exc:
                if harm_of(exc, self.path.parent) is not None:
                    raise
                batch[0].error = exc
            return
        # Each work stands alone: if one raises, only its own part is taken back. By the driver and not by SQLAlchemy's
        # nested transactions, which cost as much as the work itself.
        driver: Any = connection.connection.driver_connection
        with connection.begin():
            transaction = SqlTransaction(connection, durable=self.durable)
            for job in batch:
                job.error = None
                driver.execute("SAVEPOINT job")
                try:
                    job.result = job.work(transaction)
                except BaseException as exc:
                    if harm_of(exc, self.path.parent) is not None:
                        raise  # the database itself refuses: nothing of this batch can be kept
                    driver.execute("ROLLBACK TO job")
                    job.error = exc
                driver.execute("RELEASE job")

    # The reading thread.

    def _read_loop(self, jobs: queue.SimpleQueue[_Job | None]) -> None:
        try:
            connection = self._connect(writing=False)
            while (job := jobs.get()) is not None:
                try:
                    with connection.begin():
                        job.result = job.work(SqlTransaction(connection, durable=self.durable))
                except BaseException as exc:
                    harm = harm_of(exc, self.path.parent)
                    job.error = exc if harm is None else refusal(exc, harm)
                self._answer([job])
        except Exception as exc:
            self._end(jobs, exc)

    # Both.

    def _connect(self, *, writing: bool) -> Connection:
        engine = engine_for(self.path, writing=writing)
        connection = engine.connect()
        self._open.append((engine, connection))
        return connection

    def _close(self) -> None:
        opened, self._open = self._open, []
        for engine, connection in opened:
            with suppress(DatabaseError, sqlite3.Error):
                connection.close()
            engine.dispose()

    def _is_here(self) -> None:
        """Raises :class:`Harmed` where the files were taken away: SQLite itself goes on writing to what no name leads to."""
        if not self.durable:
            return
        present = self._present()
        for known, now in zip(self._identity, present, strict=True):
            if known is not None and known != now:
                raise Harmed(Harm.GONE, f"{self.path} is not the file any more that was opened")
        self._identity = present

    def _present(self) -> tuple[tuple[int, int] | None, ...]:
        """Which files lie under the names of the database and its log now."""
        return tuple(_identity(f"{self.path}{part}") for part in ("", "-wal"))

    def _end(self, jobs: queue.SimpleQueue[_Job | None], cause: Exception) -> None:
        """A thread of the store cannot go on. Everybody who asks is told: of what is wrong with the file, or so that the process
        ends and is started again; a caller left waiting would be an alarm that nobody hears."""
        harm = harm_of(cause, self.path.parent)
        error: Exception
        if harm is not None:
            error = refusal(cause, harm)
        else:
            error = InvariantBroken(f"the database's thread ended: {cause!r}")
            error.__cause__ = cause
        while (job := jobs.get()) is not None:
            job.error = error
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
            self._loop.call_soon_threadsafe(self._settle, batch)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _settle(self, batch: list[_Job]) -> None:
        for job in batch:
            self._asked_writes.pop(id(job), None)
            self._asked_reads.pop(id(job), None)
            if job.future is None:
                self._deferred(job)
            elif not job.future.done():
                if job.error is not None:
                    job.future.set_exception(job.error)
                else:
                    job.future.set_result(job.result)

    def _deferred(self, job: _Job) -> None:
        """What nobody waits for and the database could not take is lost, which its callers reckon with; a work that is wrong in
        itself stops the process."""
        if job.error is None or self._left is not None:
            return
        if isinstance(job.error, Unavailable):
            log.error("store.deferred_lost", cause=job.error.reason)
            return
        broken = InvariantBroken(f"a deferred write failed: {job.error!r}")
        broken.__cause__ = job.error
        if self._broken is None:
            raise broken
        self._broken(broken)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

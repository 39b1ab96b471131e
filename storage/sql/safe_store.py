"""The store of a running gateway: a :class:`SqlStore` that is changed for another one where its file or disk fails.

Whatever is wrong with the file, a press is committed somewhere and its alert goes out: in a new file, after the damaged one was
set aside whole (:mod:`storage.sql.ground`), or in memory while the disk takes nothing, is full, locked by somebody else, or does
not answer. What was in memory is put into the file as soon as that takes it, under the same ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from gateway.domain.errors import Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.loss import Loss, LossKind
from gateway.ports.clock import Clock
from storage.sql.ground import Ground, check_whole, pulse
from storage.sql.harm import Harm, Harmed
from storage.sql.store import SqlStore
from storage.sql.transaction import SqlTransaction
from storage.sql.transfer import Page

T = TypeVar("T")
log = structlog.get_logger(__name__)

#: A commit that takes longer does not hold up an alert any more.
SLOW_S = 5.0
START_S = 4.0  # for opening the file at a start; a disk that hangs must not hold up the arming
WATCH_EVERY_S = 0.25
PULSE_EVERY_S = 5.0  # so that a disk that does not answer is known before somebody presses
BACK_EVERY_S = 5.0
BEGIN_AGAIN_S = 8.0  # for setting a damaged file aside and salvaging what presses need: armed within 10 s
#: Where something was written, else rarely: 17 ms of processor time beside 700,000 recordings.
STANDBY_EVERY_S = 1.0
STANDBY_IDLE_S = 10.0
SEED_WITHIN_S = (
    1.5  # for what is newer than the standby: pages in memory come at once, others of a hanging disk never
)
SLOW_READING_S = 30.0  # sums over a month take their time on a small box
REST_EVERY_S = 0.25  # for 500 rows of a file that was set aside: a month of 16 cameras is in again in minutes
LEAVE_S = 2.0  # for a thread to come out of a file that is left
CHECK_AFTER_S = (
    20.0  # the whole file is looked through once a start, when the gateway is armed and its cameras are open
)
READY_WITHIN_S = 2 * PULSE_EVERY_S


class SafeStore:
    """:class:`gateway.ports.store.Store` that outlives its file. ``run`` watches over it until cancelled."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        known_by: Callable[[], str] = lambda: "",
        broken: Callable[[Exception], None] | None = None,
    ) -> None:
        """``known_by`` and ``broken`` as in :class:`Ground` and :class:`SqlStore`."""
        self._clock = clock
        self._broken = broken
        self._ground = Ground(path, clock, known_by)
        self._db = SqlStore(path)
        self._left: list[SqlStore] = []  # whose threads or connections may still be in the file
        self._hanging: list[asyncio.Future[Any]] = []  # what touches the disk and was not over in time
        self._changing = asyncio.Lock()
        self._durable = asyncio.Event()
        self._pulsed_s = clock.monotonic()
        self._cause = ""  # why it is in memory
        self._rest: Iterator[Page] | None = None  # of what lies aside
        self._rest_of = self._taken_over = 0
        self._written = True
        self._stopped = False

    @property
    def durable(self) -> bool:
        """Whether what is committed now outlives the box's power."""
        return self._db.durable

    @property
    def commits(self) -> bool:
        """Whether a commit came through lately, with all that a press needs: what readiness goes by."""
        return self._clock.monotonic() - self._pulsed_s < READY_WITHIN_S

    @property
    def ballast_spent(self) -> bool:
        return self._db.ballast_spent if self.durable else Harm.FULL.value in self._cause

    @property
    def losses(self) -> Sequence[Loss]:
        """What happened to the database and nobody has acknowledged."""
        return self._ground.losses

    @property
    def forgetful(self) -> bool:
        """Whether something may be missing that was on record: then nothing is deleted."""
        return not self.durable or any(loss.forgets for loss in self.losses)

    def found(self) -> Iterator[tuple[tuple[FaultKind, str], str]]:
        """What is wrong now; supervising makes faults of it."""
        if not self.durable:
            cause = (
                f"the database is in memory: {self._cause} ({self._ground.path}). Alerts go out, marked as "
                "not yet durable, and presses stay at the broker; what is in memory is lost with the power. Check the disk; the "
                "gateway goes back to it by itself"
            )
            yield (FaultKind.STORE, "database"), cause
        newest: dict[LossKind, Loss] = {loss.kind: loss for loss in self.losses}
        for kind, loss in newest.items():
            yield (FaultKind.STORE, f"database-{kind.value}"), loss.text

    def note_older(self, cause: str) -> None:
        """The database knows less than what was noted of it outside."""
        if not any(loss.forgets for loss in self.losses):
            self._ground.add_loss(Loss(at=self._clock.now(), kind=LossKind.OLDER, cause=cause))

    async def acknowledge(self) -> Sequence[Loss]:
        """A person knows of the losses. Raises ``Unavailable`` where that cannot be kept."""
        try:
            return await asyncio.to_thread(self._ground.acknowledge)
        except OSError as exc:
            raise Unavailable(f"cannot be acknowledged: {exc}") from exc

    async def start(self) -> None:
        """Open the database, or whatever can stand in for it. Raises ``Unavailable`` where there is not even memory."""
        path = await self._on_disk(self._ground.open, START_S)
        self._cause = self._ground.in_memory_since
        if (
            path is None
        ):  # nor does it give what could be copied: what an earlier process kept ready has to do
            self._cause = Harm.SLOW.value
            path = await asyncio.to_thread(self._ground.to_memory, self._cause)
        await self._take(path)

    async def stop(self) -> None:
        """End it. What is in memory stays there for the next start of the process."""
        self._stopped = True
        await self._db.stop()

    async def write(self, work: Callable[[SqlTransaction], T]) -> T:
        written = await self._on_whatever_works(lambda db: db.write(work))
        self._written = True
        return written

    async def read(self, work: Callable[[SqlTransaction], T]) -> T:
        return await self._on_whatever_works(lambda db: db.read(work))

    def write_later(self, work: Callable[[SqlTransaction], None]) -> None:
        self._db.write_later(work)

    async def until_durable(self) -> None:
        """Return once what was committed before is on disk."""
        await self._durable.wait()

    def fill_ballast(self) -> None:
        """As in :class:`SqlStore`."""
        if self.durable:
            self._db.fill_ballast()

    async def run(self) -> None:
        """Watch over it: commits that hang, the whole file once, the way back from memory."""
        turns: dict[str, float] = {}
        under_way: dict[str, asyncio.Future[Any]] = {}
        began_s = self._clock.monotonic()

        def due(name: str, every_s: float) -> bool:
            """Whether its turn has come and the last one is over."""
            now_s = self._clock.monotonic()
            if name in under_way or now_s - turns.get(name, began_s) < every_s:
                return False
            turns[name] = now_s
            return True

        while True:
            await self._clock.sleep(WATCH_EVERY_S)
            db = self._db
            if db.write_waits_s > SLOW_S or db.read_waits_s > SLOW_READING_S:
                await self._change(db, Harmed(Harm.SLOW, f"its disk has not answered for {SLOW_S:.0f} s"))
            for name in [one for one, work in under_way.items() if work.done()]:
                await self._over(name, under_way.pop(name))
            if due("pulse", PULSE_EVERY_S):
                under_way["pulse"] = asyncio.ensure_future(
                    self._on_whatever_works(lambda db: db.write(_pulse))
                )
            if self.durable and due("standby", STANDBY_EVERY_S if self._written else STANDBY_IDLE_S):
                self._written = False
                under_way["standby"] = asyncio.ensure_future(asyncio.to_thread(self._ground.keep_standby))
            if not self.durable and due("back", BACK_EVERY_S):
                under_way["back"] = asyncio.ensure_future(self._try_back())
            if self.durable and self.losses and due("rest", REST_EVERY_S):
                under_way["rest"] = asyncio.ensure_future(self._take_over_more())
            if self.durable and "check" not in turns and due("check", CHECK_AFTER_S):
                under_way["check"] = asyncio.ensure_future(asyncio.to_thread(check_whole, self._ground.path))

    async def _over(self, name: str, work: asyncio.Future[Any]) -> None:
        error = work.exception()
        if error is not None:
            log.error("database.watch", turn=name, cause=repr(error))
        elif name == "pulse":
            self._pulsed_s = self._clock.monotonic()
        elif name == "check" and work.result():
            await self._change(self._db, Harmed(Harm.DAMAGED, work.result()))

    async def _on_whatever_works(self, ask: Callable[[SqlStore], Awaitable[T]]) -> T:
        while True:
            db = self._db
            try:
                return await ask(db)
            except Harmed as exc:
                if self._stopped:
                    raise
                await self._change(db, exc)
                if self._db is db:
                    raise

    async def _change(self, db: SqlStore, harm: Harmed) -> None:
        """Go over to another file, or to memory. Whoever waits asks again there."""
        async with self._changing:
            if self._db is not db or self._stopped or not db.durable:
                return  # somebody else was first, or memory itself refuses
            log.error("database.harmed", harm=harm.harm.name, cause=harm.reason)
            path: Path | None = None
            if harm.harm is Harm.GONE:
                path = await self._written_back(db)
            ended = await db.leave(harm, 0.0 if harm.harm is Harm.SLOW else LEAVE_S)
            if path is None and ended and harm.harm in (Harm.DAMAGED, Harm.GONE, Harm.DISK):
                again = partial(self._ground.begin_again, LossKind.DAMAGED, harm.reason)
                path = await self._on_disk(again, BEGIN_AGAIN_S)
            if path == self._ground.path:
                db.keep_open()
            else:
                self._left.append(db)
                self._cause = self._ground.in_memory_since
            await self._take(path or await self._memory(harm.reason))

    async def _written_back(self, db: SqlStore) -> Path | None:
        try:
            return await db.read(lambda tx: self._ground.write_back(tx.driver))
        except Exception as exc:
            log.error("database.cannot_be_written_back", cause=repr(exc))
            return None

    async def _memory(self, cause: str) -> Path:
        """To memory, with the newest there is to be read: freshly, or if the disk does not give it, from the standby."""
        self._cause = cause
        place = self._ground.memory()
        if not place.exists():
            await self._on_disk(self._ground.keep_standby, SEED_WITHIN_S)
        return await asyncio.to_thread(self._ground.to_memory, cause)

    async def _on_disk(self, work: Callable[[], T], within_s: float) -> T | None:
        """Run what touches the disk on a thread, and do not wait for it for ever; ``None`` if it is not over in time."""
        future = asyncio.ensure_future(asyncio.to_thread(work))
        done, _ = await asyncio.wait({future}, timeout=within_s)
        if not done:
            self._hanging.append(future)
            return None
        return future.result()

    async def _take_over_more(self) -> None:
        """A page of what lies aside and is not in the file yet; again from the beginning after a start, which changes nothing."""
        if self._rest is None or self._rest_of != len(self.losses):
            self._rest, self._rest_of, self._taken_over = self._ground.rest(), len(self.losses), 0
        page = await asyncio.to_thread(next, self._rest, None)
        if page is not None:
            self._taken_over += await self.write(lambda tx: page.put(tx.driver))
        elif self._taken_over:
            log.warning("database.taken_over_later", rows=self._taken_over)
            self._taken_over = 0

    async def _try_back(self) -> None:
        """From memory to the file, if nothing of ours hangs in it any more and its disk answers."""
        self._hanging = [one for one in self._hanging if not one.done()]
        if self._hanging or not all(db.has_ended for db in self._left):
            return
        while self._left:
            await self._on_disk(self._left.pop().close, SLOW_S)
        if not await self._on_disk(self._ground.answers, SLOW_S) or self._hanging:
            return
        async with self._changing:
            memory = self._db
            ended = await memory.leave(Harmed(Harm.SLOW, "going back to the file"), LEAVE_S)
            path = await self._on_disk(self._ground.come_back, SLOW_S) if ended else None
            if path is not None:
                memory.keep_open()
                await self._take(path)
                log.warning("database.durable_again")
            else:
                await asyncio.to_thread(memory.close)
                await self._take(memory.path)

    async def _take(self, path: Path) -> None:
        durable = path == self._ground.path
        db = SqlStore(path, durable=durable, broken=self._broken)
        await db.start(ready=True)
        self._db = db
        self._pulsed_s = self._clock.monotonic()
        if durable:
            self._durable.set()
        else:
            self._durable.clear()


def _pulse(tx: SqlTransaction) -> None:
    pulse(tx.driver)

"""The real database in a test's own folder, and what makes it fail on command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from gateway.domain.errors import Unavailable
from storage.spool import Spool
from storage.sql.store import SqlStore
from storage.sql.transaction import SqlTransaction

T = TypeVar("T")


class WatchedStore:
    """The real :class:`SqlStore`, counting what is under way; the next ``refuse`` writes fail as a full disk does, and
    nothing of them is kept."""

    def __init__(self, store: SqlStore) -> None:
        self.inner = store
        self.refuse = 0
        self.refused = 0
        self.under_way = 0
        self.commits = 0

    def busy(self) -> bool:
        return self.under_way > 0

    async def write(self, work: Callable[[SqlTransaction], T]) -> T:
        if self.refuse > 0:
            self.refuse -= 1
            self.refused += 1
            raise Unavailable("the database refuses: database or disk is full")
        self.under_way += 1
        try:
            result = await self.inner.write(work)
            self.commits += 1
            return result
        finally:
            self.under_way -= 1

    async def read(self, work: Callable[[SqlTransaction], T]) -> T:
        self.under_way += 1
        try:
            return await self.inner.read(work)
        finally:
            self.under_way -= 1

    @property
    def durable(self) -> bool:
        return self.inner.durable

    async def until_durable(self) -> None:
        await self.inner.until_durable()

    def write_later(self, work: Callable[[SqlTransaction], None]) -> None:
        self.inner.write_later(work)


class WatchedSpool(Spool):
    """The real spool, counting what is under way on threads: a hand-driven clock waits for it. ``full`` makes it refuse."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.full = ""
        self._under_way = 0

    def busy(self) -> bool:
        return self._under_way > 0

    def no_room(self) -> str:
        return self.full or super().no_room()

    async def _on_disk(self, doing: str, work: Callable[[], T]) -> T:
        self._under_way += 1
        try:
            return await super()._on_disk(doing, work)
        finally:
            self._under_way -= 1


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[WatchedStore]:
    """A started store in ``folder``; opening the same folder again is a restart."""
    store = SqlStore(folder / "gateway.db")
    await store.start()
    try:
        yield WatchedStore(store)
    finally:
        await store.stop()


def overwrite(path: Path, data: bytes) -> None:
    """Put other bytes into an object of a ``file:`` store. Its objects are read-only, which binds an ordinary user."""
    path.chmod(0o644)
    path.write_bytes(data)

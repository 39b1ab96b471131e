"""Objects in memory that are locked as a store with object lock does it, on a clock that a test holds in its hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.stored import Kept, LockProof, ObjectVersion
from tests.support.clock import ManualClock
from tests.support.memory_objects import MemoryObjects


class LockingObjects(MemoryObjects):
    """``proof`` is what a trial says; ``away`` and ``refusing`` (keys) make calls fail; ``locks`` is what is really locked; over
    the keys in ``covered`` somebody has put another version."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self.locks: dict[str, datetime] = {}
        self.proof = LockProof(holds=True)
        self.away = ""
        self.refusing: set[str] = set()
        self.covered: set[str] = set()
        self.trials = 0
        self.asked: list[tuple[str, datetime]] = []

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        raise NotImplementedError

    async def put_bytes(self, key: str, data: bytes, *, locked_until: datetime | None = None) -> Kept:
        await super().put_bytes(key, data)
        return self._lock(key, locked_until)

    async def prove_lock(self) -> LockProof:
        self.trials += 1
        self._reach()
        return self.proof

    async def lock(self, key: str, until: datetime, version: str | None = None) -> Kept:
        self._reach()
        self.asked.append((key, until))
        if key in self.refusing or await self.size(key) is None:
            raise Refused(f"locking {key}: no such object")
        return self._lock(key, until)

    async def versions(self, prefix: str) -> AsyncIterator[list[ObjectVersion]]:
        async for page in super().versions(prefix):
            yield [
                replace(one, version=version, newest=version != "null")
                for one in page
                for version in (("theirs", "null") if one.key in self.covered else ("null",))
            ]

    async def delete(self, key: str) -> None:
        if self.locks.get(key, self._clock.now()) > self._clock.now():
            raise Refused(f"deleting {key}: it is locked there until {self.locks[key].isoformat()}")
        await super().delete(key)

    def _reach(self) -> None:
        if self.away:
            raise Unavailable(self.away)

    def _lock(self, key: str, until: datetime | None) -> Kept:
        if until is not None and self.proof.holds:
            self.locks[key] = max(until, self.locks.get(key, until))
        return Kept(version="v1", locked_until=self.locks.get(key))

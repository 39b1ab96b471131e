"""Taking: finished files go from the spool into the object store and the ledger.

A file is taken in this order: 1. *closed*: file and facts are in the spool; 2. *stored*: the object store has the bytes;
3. *registered*: row, hours and gaps, in one commit; 4. the spool forgets it. Each step can be repeated, so a crash between any
two loses nothing. While the store is unreachable files wait in their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway.box.wake import Wake
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.recording import ClosedFile
from gateway.domain.stored import Kept
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore
from gateway.ports.recordings import RecordedFiles
from gateway.recording.ledger import Ledger

log = structlog.get_logger(__name__)

AGAIN_S = 10.0  # the spool is read again also without a wake
RETRY_S = 2.0
CAMERAS_TRIED = 3  # whose next file cannot be taken: then it is the store that takes nothing

#: The named points of a file's way, in their order: a test kills the process at each.
CRASH_POINTS = ("segment.closed", "segment.stored", "segment.registered")


class Taking:
    """The stage. ``run`` works until cancelled, once the ledger is resumed, also where no camera is recorded any more: files of
    earlier ones that wait are taken. ``wake``: a file may be finished."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        objects: ObjectStore,
        files: RecordedFiles,
        reckoned: Callable[[], datetime],
        locked_until: Callable[[datetime], datetime | None] = lambda _end: None,
        passed: Callable[[str], None] = lambda _point: None,
        wake: Wake | None = None,
    ) -> None:
        """``reckoned`` is now by a reckoning that no wrong clock moves; ``locked_until`` until when to lock an object that
        ended at an instant; ``passed`` is called with each of :data:`CRASH_POINTS`."""
        self._ledger, self._clock, self._objects, self._files = ledger, clock, objects, files
        self._reckoned, self._locked_until, self._passed = reckoned, locked_until, passed
        # When this run first saw each file finished; ``None`` for those that were there at its start.
        self._first_seen_s: dict[Path, float | None] | None = None
        self.wake = wake or Wake()
        self._store_cause = ""
        self.waiting = 0  # finished files that the store does not have yet

    @property
    def causes(self) -> Mapping[tuple[FaultKind, str], str]:
        """What is wrong now; supervising makes faults of it."""
        if not self._store_cause:
            return {}
        return {
            (FaultKind.STORE, "recordings"): (
                f"{self.waiting} finished recording(s) wait on this box's disk in their order: {self._store_cause}"
            )
        }

    async def run(self) -> None:
        while True:
            self.wake.clear()
            cause = ""
            try:
                files = await self._files.closed()
                now_s = None if self._first_seen_s is None else self._clock.monotonic()
                self._first_seen_s = {
                    file.path: (self._first_seen_s or {}).get(file.path, now_s) for file in files
                }
                cause = await self._take_each(files)
            except (Unavailable, Refused) as exc:
                cause = exc.reason
            if cause and cause != self._store_cause:
                log.error("recording.waits", files=self.waiting, cause=cause)
            self._store_cause = cause
            if cause:
                await self._clock.sleep(RETRY_S)
            else:
                await self.wake.wait(self._clock, AGAIN_S)

    async def _take_each(self, files: Sequence[ClosedFile]) -> str:
        """Take all of them; returns the first trouble. Behind a file that cannot be taken its own camera's wait, in their
        order, and no other's, unless so many cannot that it is the store."""
        self.waiting = len(files)
        waits: dict[str, str] = {}
        for file in files:
            if file.camera in waits:
                continue
            try:
                await self._take(file)
                self.waiting -= 1
            except (Unavailable, Refused) as exc:
                waits[file.camera] = exc.reason
                if len(waits) == CAMERAS_TRIED:
                    break
        return next(iter(waits.values()), "")

    async def _take(self, file: ClosedFile) -> None:
        """Store and register one file. Raises ``Unavailable`` while store, disk or database cannot take it."""
        self._passed(CRASH_POINTS[0])
        key = await self._ledger.key_for(file)
        if key is not None:
            kept = await self._store(file, key)
            if kept is None:
                log.error("recording.lost", camera=file.camera, file=file.path.name)
                detail = (
                    f"{file.path.name} was recorded, and is neither on this box nor in the store any more"
                )
                await self._ledger.register_lost(file, detail)
            else:
                self._passed(CRASH_POINTS[1])
                await self._ledger.register(file, key, kept, self._reckoned_end(file))
                self._passed(CRASH_POINTS[2])
        await self._files.forget(file)

    async def _store(self, file: ClosedFile, key: str) -> Kept | None:
        """Put its bytes; how they are kept, ``None`` if they are lost. A put consumes the file: after a crash only the store
        knows."""
        until = self._locked_until(max(file.end, self._reckoned_end(file)))
        if await asyncio.to_thread(file.path.exists):
            return await self._objects.put(key, file.path, sha256=file.sha256, locked_until=until)
        if await self._objects.size(key) != file.bytes:
            return None
        # The earlier run may have put it while the store had not proved its lock.
        return await self._objects.kept(key) if until is None else await self._objects.lock(key, until)

    def _reckoned_end(self, file: ClosedFile) -> datetime:
        """Its age by the clock that never jumps, if this run saw it finished: the wall clock may have been set since."""
        seen_s = (self._first_seen_s or {}).get(file.path)
        if seen_s is None:
            return self._reckoned() - max(timedelta(), self._clock.now() - file.end)
        return self._reckoned() - timedelta(seconds=self._clock.monotonic() - seen_s)

"""The bytes of evidence: kept in the spool on this box, then put into the object store, however long that is away.

Nothing here knows the database: :mod:`gateway.alarm.gathering` puts on record what became of an item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from datetime import datetime

import structlog

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.evidence import Evidence
from gateway.domain.stored import Kept
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore, Spool

log = structlog.get_logger(__name__)

STORE_RETRY_S = 2.0
WATCH_S = 60.0  # how soon a store that is away is known although nothing is to be stored
HELD_BYTES = 64 * 1024 * 1024  # stills in memory while neither disk nor store takes them: some six hundred


class EvidenceBytes:
    """Spool and object store, as one place that gives up on nothing. ``cause`` is empty while both take what comes."""

    def __init__(
        self,
        *,
        clock: Clock,
        objects: ObjectStore,
        spool: Spool,
        no_room: Callable[[], bool],
        probe: str,
        locked_until: Callable[[datetime], datetime | None] = lambda _end: None,
    ) -> None:
        """``locked_until`` says until when to lock what ended at an instant.

        ``no_room`` says that the disk is full and what is left is kept for presses. ``probe`` is a key of ours under
        which nothing lies."""
        self._clock, self._objects, self._spool = clock, objects, spool
        self._no_room, self._probe, self._locked_until = no_room, probe, locked_until
        self._store_cause = ""
        self._watched_cause = ""
        self._spool_cause = ""
        self._held_bytes = 0

    @property
    def cause(self) -> str:
        """Why evidence waits, or can no longer be captured."""
        return self._store_cause or self._watched_cause or self._spool_cause or self._full()

    async def watch(self) -> None:
        """Ask the store for nothing now and then, so that one that is away is a fault before the next alarm."""
        while True:
            try:
                await self._objects.size(self._probe)
                self._watched_cause = ""
            except (Unavailable, Refused) as exc:
                self._watched_cause = exc.reason
            await self._clock.sleep(WATCH_S)

    def need_room(self) -> None:
        """Before something is captured: ``Unavailable`` if there is no room for it."""
        if cause := self._full():
            raise Unavailable(cause)

    def _full(self) -> str:
        if self._no_room():
            return "the disk is full, and the little that is left is kept for presses; make room"
        return self._spool.no_room()

    async def restart(self, captured: Collection[str]) -> None:
        """Remove what a run that ended left half made; the files of what was captured stay. A spool that fails ends nothing: what
        can be kept without it is."""
        try:
            gone = await self._spool.clear(captured)
        except Unavailable as exc:
            self._spool_refuses(exc.reason)
            return
        if captured or gone:
            log.info("spool.taken_up", captured=len(captured), half_made=len(gone))

    async def spool(self, item: Evidence, jpeg: bytes) -> Kept | None:
        """Keep a still just taken on this box's disk. Where that has no room, it goes to the store from memory if that lies
        elsewhere, and how it is kept there is returned. ``Refused`` if it cannot be kept at all."""
        if await self._spooled(item, jpeg):
            return None
        if self._held_bytes + len(jpeg) > HELD_BYTES:
            raise Refused(
                f"taken, and dropped: there is no room on the disk, {self._held_bytes / 1e6:.0f} MB wait in memory "
                f"already, and the store takes nothing ({self.cause})"
            )
        self._held_bytes += len(jpeg)
        try:
            while True:
                if not self._objects.on_this_box:
                    try:
                        until = self._locked_until(item.end)
                        return self._took(
                            await self._objects.put_bytes(item.key or "", jpeg, locked_until=until)
                        )
                    except Unavailable as exc:
                        self._away(exc.reason)
                    except Refused as exc:
                        await self._only_if_the_key_is_free(item)
                        self._away(exc.reason)
                if await self._spooled(item, jpeg):
                    return None
                await self._clock.sleep(STORE_RETRY_S)
        finally:
            self._held_bytes -= len(jpeg)

    async def put(self, item: Evidence) -> Kept:
        """Put what is in the spool, without end while the store is away: what was captured is not thrown away. ``Refused`` if
        it can never be: other bytes lie under its key, or it was altered on this box's disk."""
        while True:
            try:
                return self._took(
                    await self._objects.put(
                        item.key or "",
                        self._spool.path(item.file_name),
                        sha256=item.sha256 or "",
                        locked_until=self._locked_until(item.end),
                    )
                )
            except Unavailable as exc:
                self._away(exc.reason)
            except Refused as exc:
                await self._only_if_the_key_is_free(item)
                if await self._altered(item):
                    raise  # what lies here is not what was captured: putting it again makes it no better
                # The store lets nobody in, or us no longer: a person mends that, and the evidence waits.
                self._away(exc.reason)
            await self._clock.sleep(STORE_RETRY_S)

    async def recover(self, item: Evidence) -> Kept:
        """Put an item captured before a restart, or find that it was put. ``Refused`` if it is neither here nor there."""
        if await self._spool.digest(item.file_name) is not None:
            return await self.put(item)
        while True:  # the put consumed it; only the store can tell
            try:
                size = await self._objects.size(item.key or "")
                if size == item.bytes:
                    return self._took(await self._locked(item, item.key or ""))
                break
            except (Unavailable, Refused) as exc:
                self._away(exc.reason)
                await self._clock.sleep(STORE_RETRY_S)
        log.error("spool.lost", evidence_id=item.id, key=item.key)
        raise Refused("it was captured, and is neither on this box nor in the store any more")

    async def find(self, item: Evidence, key: str) -> tuple[int, str, Kept] | None:
        """Length, SHA-256 and how they are kept, of bytes that are in the store although the row does not say that they were
        captured."""
        digest, size = hashlib.sha256(), 0
        try:
            if await self._objects.size(key) is None:
                return None
            async with self._objects.read(key) as piece:
                while data := await piece(1 << 20):
                    digest.update(data)
                    size += len(data)
        except (Unavailable, Refused):
            return None
        try:
            kept = await self._locked(item, key)
        except (Unavailable, Refused) as exc:
            log.warning(
                "storing.not_locked_yet", key=key, cause=exc.reason
            )  # it is there; locking sees to it
            kept = Kept()
        return size, digest.hexdigest(), self._took(kept)

    async def _locked(self, item: Evidence, key: str) -> Kept:
        """Lock what an earlier run had put, which may have ended between the two."""
        until = self._locked_until(item.end)
        kept = await self._objects.kept(key) if until is None else await self._objects.lock(key, until)
        return kept or Kept()

    async def _spooled(self, item: Evidence, data: bytes) -> bool:
        if self._full():
            return False
        try:
            await self._spool.keep(item.file_name, data)
        except Unavailable as exc:
            self._spool_refuses(exc.reason)
            return False
        self._spool_cause = ""
        return True

    async def _altered(self, item: Evidence) -> bool:
        """Whether its file in the spool is not what was captured; one that cannot be read now may be read later."""
        try:
            return await self._spool.digest(item.file_name) != item.sha256
        except Unavailable as exc:
            log.warning("spool.not_read", evidence_id=item.id, cause=exc.reason)
            return False

    async def _only_if_the_key_is_free(self, item: Evidence) -> None:
        """Raise ``Refused`` if other bytes lie under the item's key: then waiting changes nothing."""
        try:
            size = await self._objects.size(item.key or "")
        except (Unavailable, Refused):
            return
        if size is not None:
            raise Refused(
                f"other bytes ({size}) are stored under its key {item.key}; an object is never altered"
            )

    def _took(self, kept: Kept) -> Kept:
        """The store took something, so it is well."""
        self._store_cause = self._watched_cause = ""
        return kept

    def _spool_refuses(self, cause: str) -> None:
        if cause != self._spool_cause:
            log.error("spool.refused", cause=cause)
        self._spool_cause = cause

    def _away(self, cause: str) -> None:
        if cause != self._store_cause:
            log.error("store.unavailable", cause=cause)
        self._store_cause = cause

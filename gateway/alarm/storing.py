"""Storing: what a camera gave is first made safe on this box, then put into the object store, however long that is away.

In this order: bytes in the spool, row *captured* (still wanted, with digest and key), object, row *stored*. A kill between any
two of them loses nothing: after the restart the row says that the bytes are here or there, and with which digest and instants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.evidence import Evidence, EvidenceState, Kind
from gateway.domain.stored import Kept
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore, Spool
from gateway.ports.store import Store

log = structlog.get_logger(__name__)

STORE_RETRY_S = 2.0
WATCH_S = 60.0  # how soon a store that is away is known although nothing is to be stored
HELD_BYTES = 64 * 1024 * 1024  # stills in memory while neither disk nor store takes them: some six hundred
MEDIA_TYPES = {Kind.STILL: "image/jpeg", Kind.CLIP: "video/mp4"}


class Storing:
    """Shared by everything that captures. ``cause`` is empty while the store and the disk take what comes."""

    def __init__(
        self,
        *,
        store: Store,
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
        self._store, self._clock, self._objects, self._spool = store, clock, objects, spool
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

    async def restart(self) -> None:
        """Remove what a run that ended left half made; what was captured stays. A spool that fails ends nothing: what can be
        kept without it is."""
        wanted = await self._store.read(lambda tx: tx.evidence.wanted(0))
        kept = {item.file_name for _, item in wanted if item.captured}
        try:
            gone = await self._spool.clear(kept)
        except Unavailable as exc:
            self._spool_refuses(exc.reason)
            return
        if kept or gone:
            log.info("spool.taken_up", captured=len(kept), half_made=len(gone))

    async def keep_still(self, item: Evidence, jpeg: bytes) -> Evidence:
        """Make a still just taken safe. Where this box's disk has no room, it goes to the store from memory if that lies
        elsewhere, and is returned stored. ``Refused`` if it cannot be kept at all."""
        item = replace(
            item,
            media_type=MEDIA_TYPES[item.kind],
            bytes=len(jpeg),
            sha256=hashlib.sha256(jpeg).hexdigest(),
        )
        if await self._spooled(item, jpeg):
            return item
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
                        kept = await self._objects.put_bytes(item.key or "", jpeg, locked_until=until)
                        return self._done(item, kept)
                    except Unavailable as exc:
                        self._away(exc.reason)
                    except Refused as exc:
                        await self._only_if_the_key_is_free(item)
                        self._away(exc.reason)
                if await self._spooled(item, jpeg):
                    return item
                await self._clock.sleep(STORE_RETRY_S)
        finally:
            self._held_bytes -= len(jpeg)

    async def keep_clip(self, item: Evidence) -> Evidence:
        """Make a clip just written into the spool safe."""
        await self._spool.seal(item.file_name)
        await self._captured(item)
        return item

    async def stored(self, item: Evidence) -> Evidence:
        """Put what is in the spool, without end while the store is away: what was captured is not thrown away. ``Refused`` if
        it can never be: other bytes lie under its key, or it was altered on this box's disk."""
        if item.state is EvidenceState.STORED:
            return item
        while True:
            try:
                kept = await self._objects.put(
                    item.key or "",
                    self._spool.path(item.file_name),
                    sha256=item.sha256 or "",
                    locked_until=self._locked_until(item.end),
                )
                return self._done(item, kept)
            except Unavailable as exc:
                self._away(exc.reason)
            except Refused as exc:
                await self._only_if_the_key_is_free(item)
                if await self._spool.digest(item.file_name) != item.sha256:
                    raise  # what lies here is not what was captured: putting it again makes it no better
                # The store lets nobody in, or us no longer: a person mends that, and the evidence waits.
                self._away(exc.reason)
            await self._clock.sleep(STORE_RETRY_S)

    async def take_up(self, item: Evidence) -> Evidence:
        """An item captured before a restart: put it, or find that it was put."""
        if await self._spool.digest(item.file_name) is not None:
            return await self.stored(item)
        while True:  # the put consumed it; only the store can tell
            try:
                if await self._objects.size(item.key or "") == item.bytes:
                    return self._done(item, await self._locked(item, item.key or ""))
                log.error("spool.lost", evidence_id=item.id, key=item.key)
                return item.failed("it was captured, and is neither on this box nor in the store any more")
            except (Unavailable, Refused) as exc:
                self._away(exc.reason)
                await self._clock.sleep(STORE_RETRY_S)

    async def found(self, item: Evidence, key: str) -> Evidence | None:
        """The item, if its bytes are in the store although its row does not say that they were captured."""
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
        return replace(
            self._done(item, kept),
            wanted_start=item.start,
            wanted_end=item.end,
            media_type=MEDIA_TYPES[item.kind],
            bytes=size,
            sha256=digest.hexdigest(),
            key=key,
            reason="kept over a restart of the gateway, which lost the exact instants; the picture's own clock tells them",
        )

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
        await self._captured(item)
        return True

    async def _captured(self, item: Evidence) -> None:
        """Put on record that the bytes are here. Where the database takes nothing now, only a kill could lose by it."""
        try:
            await self._store.write(lambda tx: tx.evidence.save(item))
        except Unavailable as exc:
            log.error("spool.not_on_record", evidence_id=item.id, cause=exc.reason)

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

    def _done(self, item: Evidence, kept: Kept) -> Evidence:
        self._store_cause = self._watched_cause = ""
        return replace(
            item,
            state=EvidenceState.STORED,
            stored_at=self._clock.now(),
            version=kept.version,
            locked_until=kept.locked_until,
        )

    def _spool_refuses(self, cause: str) -> None:
        if cause != self._spool_cause:
            log.error("spool.refused", cause=cause)
        self._spool_cause = cause

    def _away(self, cause: str) -> None:
        if cause != self._store_cause:
            log.error("store.unavailable", cause=cause)
        self._store_cause = cause

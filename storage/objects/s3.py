"""Objects in an S3 store of any make.

The SDK is synchronous: it lives on threads of its own (:mod:`threads`), is imported there with the first call, and so costs the
gateway's start nothing. Retrying is ours: a few attempts with jittered pauses, then ``Unavailable``, and the caller decides.
What write-once means where the store itself does not know it stands in DESIGN.md, "Objects in S3". One file, though long:
every call is tried, timed and translated in the same way; what each asks of the SDK is in :mod:`s3_calls`.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

import structlog

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.stored import Kept, LockProof, ObjectVersion
from gateway.ports.clock import Clock
from storage.objects.keys import checked
from storage.objects.s3_address import S3Address
from storage.objects.s3_lock import CANARY_LOCKED, BucketLock, whole_second
from storage.objects.s3_lock import FOLDER as CANARIES
from storage.objects.s3_reading import Reading
from storage.objects.threads import Threads

if TYPE_CHECKING:
    from minio.datatypes import Part

    from storage.objects.s3_calls import Head, S3Calls

log = structlog.get_logger(__name__)

T = TypeVar("T")

PART_BYTES = 8 * 1024 * 1024  # what one put holds in memory
SMALLEST_PART_BYTES = 5 * 1024 * 1024  # Amazon S3, "Multipart upload limits"
SMALL_AT_ONCE = 4
LARGE_AT_ONCE = 2  # of their own, so that clips on a thin line do not hold up the next alarm's stills
READS_AT_ONCE = 8
#: The named points of a put, in their order: what a test ends the process at. Between them the object may be whole and without
#: its lock, which Ceph 16.2 forgets of an upload in parts; the source is let go only after the second.
CRASH_POINTS = ("object.put", "object.locked")
ATTEMPTS = 3
PAUSE_S = 0.3  # doubled with each attempt, times 0.5 to 1.5
NO_NEW_ATTEMPT_S = 60.0  # after the first: a store that takes its time-outs is away


class S3Objects:
    """:class:`gateway.ports.objects.ObjectStore` in a bucket. ``start`` reaches for nothing: a store that is away delays
    no start."""

    on_this_box = False

    def __init__(
        self,
        address: S3Address,
        clock: Clock,
        chance: random.Random,
        *,
        part_bytes: int = PART_BYTES,
        lock_required: bool = False,
        canary_locked: timedelta = CANARY_LOCKED,
        passed: Callable[[str], None] = lambda _point: None,
    ) -> None:
        """With ``lock_required`` nothing that was asked to be locked is put into a bucket that did not prove its lock.
        ``passed`` is told each of :data:`CRASH_POINTS` as it is passed."""
        if part_bytes < SMALLEST_PART_BYTES:
            raise ValueError(f"parts are at least {SMALLEST_PART_BYTES} bytes")
        self.address = address
        self._lock_required = lock_required
        self._bucket_lock = BucketLock(address, clock, self._tried, canary_locked)
        self._clock, self._chance, self._part_bytes = clock, chance, part_bytes
        self._writing = Threads("s3-put", SMALL_AT_ONCE + LARGE_AT_ONCE)
        self._reading = Threads("s3-read", READS_AT_ONCE)
        self._small = asyncio.Semaphore(SMALL_AT_ONCE)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._calls: S3Calls | None = None
        self._began_at = clock.now()
        self._begun: set[str] = set()  # uploads of this run: the store's clock may be behind ours
        self._tidied = False
        self._passed = passed

    async def start(self) -> None:
        """Import the SDK, beside everything else: the first still shall not wait for it."""
        self._reading.later(self._s3)

    async def stop(self) -> None:
        """Let the threads go; a call that hangs is left behind with its daemon thread."""
        self._writing.stop()
        self._reading.stop()

    # Writing.

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        checked(key)
        size = await self._writing.run(lambda: _size(source))

        def piece(at: int) -> bytes:
            with source.open("rb") as file:
                file.seek(at)
                return file.read(self._part_bytes)

        kept = await self._put(key, size, sha256, piece, locked_until, verify=lambda: _verify(source, sha256))
        await self._writing.run(lambda: source.unlink(missing_ok=True))
        return kept

    async def put_bytes(self, key: str, data: bytes, *, locked_until: datetime | None = None) -> Kept:
        sha256 = hashlib.sha256(data).hexdigest()
        return await self._put(
            checked(key), len(data), sha256, lambda at: data[at : at + self._part_bytes], locked_until
        )

    async def _put(
        self,
        key: str,
        size: int,
        sha256: str,
        piece: Callable[[int], bytes],
        locked_until: datetime | None,
        verify: Callable[[], None] | None = None,
    ) -> Kept:
        small = size <= self._part_bytes
        until = await self._lockable(locked_until)
        # One at a time for a key: of our own puts none can slip in between looking and putting.
        async with self._small if small else self._large, self._lock(key):
            found = await self._found(key, size, sha256)
            if found == "same":
                return await self._held(key, await self._tried(lambda s3: s3.head(key)), until)
            if (
                verify is not None
            ):  # only now: a store that is away costs no reading of the whole file again and again
                await self._writing.run(verify)
            if small:
                await self._put_whole(key, sha256, piece, until, only_new=found is None)
            else:
                await self._put_in_parts(key, size, sha256, piece, until)
            return await self._kept_whole(key, size, sha256, until)

    async def _kept_whole(self, key: str, size: int, sha256: str, until: datetime | None) -> Kept:
        """What was just put, looked at and locked."""
        self._passed(CRASH_POINTS[0])
        await self._confirm(key, size, sha256)
        kept = await self._held(key, await self._tried(lambda s3: s3.head(key)), until)
        self._passed(CRASH_POINTS[1])
        return kept

    async def _put_whole(
        self,
        key: str,
        sha256: str,
        piece: Callable[[int], bytes],
        until: datetime | None,
        *,
        only_new: bool,
    ) -> None:
        media_type = _media_type(key)
        try:
            await self._tried(
                lambda s3: s3.put(key, piece(0), sha256, media_type, only_new=only_new, locked_until=until)
            )
        except Refused as exc:
            # Taken meanwhile: by us, if an answer was lost, or by somebody else. Looking tells.
            if _code(exc) != "PreconditionFailed":
                raise

    async def _put_in_parts(
        self, key: str, size: int, sha256: str, piece: Callable[[int], bytes], until: datetime | None
    ) -> None:
        async with self._upload(key, sha256, until) as (upload, parts):
            for at in range(0, size, self._part_bytes):
                parts.append(await self._part(key, upload, len(parts) + 1, partial(piece, at)))

    async def _part(self, key: str, upload: str, number: int, piece: Callable[[], bytes]) -> Part:
        return await self._tried(lambda s3: s3.part(key, upload, number, piece()))

    @asynccontextmanager
    async def _upload(
        self, key: str, sha256: str | None, until: datetime | None = None
    ) -> AsyncIterator[tuple[str, list[Part]]]:
        """An upload in parts: completed at the end, given up if anything fails, so that no parts stay behind unseen."""
        media_type = _media_type(key)
        upload = await self._tried(lambda s3: s3.begin(key, sha256, media_type, until))
        self._begun.add(upload)
        parts: list[Part] = []
        try:
            yield upload, parts
            try:
                await self._tried(lambda s3: s3.complete(key, upload, parts))
            except Refused as exc:
                if _code(exc) != "NoSuchUpload":  # completed before, and the answer was lost: looking tells
                    raise
        except BaseException:
            self._writing.later(lambda: self._s3().abort(key, upload))
            raise
        finally:
            self._begun.discard(upload)

    async def _found(self, key: str, size: int, sha256: str) -> str | None:
        """``None`` if the key is free, ``"same"`` if these bytes are there, ``"torn"`` if a put of ours was cut and the
        store kept what had come. ``Refused`` for other bytes."""
        head = await self._tried(lambda s3: s3.head(key))
        if head is None:
            return None
        if head.size == size and (head.sha256 or await self._digest(key)) == sha256:
            return "same"
        if head.size < size and head.sha256 == sha256:
            log.warning("s3.torn", key=key, bytes=head.size, wanted=size)
            return "torn"
        raise Refused(
            f"{key} is stored already at {self.address.place} with other bytes ({head.size}, not {size}); "
            "an object is never altered"
        )

    async def _confirm(self, key: str, size: int, sha256: str) -> None:
        """What was answered is looked at: the row that follows promises it."""
        if await self._found(key, size, sha256) != "same":
            raise Unavailable(f"storing {key} at {self.address.place}: it was taken and is not there whole")
        if not self._tidied:
            self._tidied = True
            self._writing.later(self._tidy)

    def _tidy(self) -> None:
        """Have the store forget what uploads of earlier runs left: unfinished parts cost room and are never listed."""
        for key, upload, began_at in self._s3().uploads(self.address.prefix):
            earlier = began_at is not None and began_at < self._began_at and upload not in self._begun
            if earlier and key.startswith(self.address.prefix):
                log.info("s3.unfinished_upload_removed", key=key)
                self._s3().abort(key, upload)

    # Reading.

    async def size(self, key: str, version: str | None = None) -> int | None:
        checked(key)
        head = await self._tried(lambda s3: s3.head(key, version), self._reading)
        return None if head is None else head.size

    @asynccontextmanager
    async def read(
        self, key: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> AsyncIterator[Callable[[int], Awaitable[bytes]]]:
        reading = Reading(_ForReading(self), checked(key), start, end, version)
        await reading.open()
        try:
            yield reading.piece
        finally:
            reading.close()

    async def _digest(self, key: str) -> str:
        """The SHA-256 of what is stored, read back: for stores that lose what we had them keep beside it."""
        digest = hashlib.sha256()
        async with self.read(key) as piece:
            while data := await piece(1 << 20):
                digest.update(data)
        return digest.hexdigest()

    async def keys(self, prefix: str) -> list[str]:
        return sorted(await self._tried(lambda s3: s3.keys(prefix), self._reading))

    # The rest.

    async def delete(self, key: str) -> None:
        checked(key)
        async with self._lock(key):
            await self._tried(lambda s3: s3.delete(key))

    async def delete_version(self, key: str, version: str | None) -> None:
        checked(key)
        async with self._lock(key):
            await self._tried(lambda s3: s3.remove(key, version))

    async def versions(self, prefix: str) -> AsyncIterator[list[ObjectVersion]]:
        pages = await self._reading.run(lambda: self._s3().pages(prefix))
        while page := await self._reading.run(lambda: next(pages, None)):
            yield page

    # Locking.

    async def make_bucket(self) -> bool:
        """Make the bucket, with object lock; false if it was there. Whether it locks is for :meth:`prove_lock` to find out."""
        if await self._tried(lambda s3: s3.bucket_exists()):
            return False
        try:
            await self._tried(lambda s3: s3.make_bucket())
        except Refused as exc:
            if _code(exc) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
            return False  # our own, if an answer was lost; else the next call is refused
        return True

    async def prove_lock(self) -> LockProof:
        return await self._bucket_lock.prove()

    async def kept(self, key: str, version: str | None = None) -> Kept | None:
        checked(key)
        head = await self._tried(lambda s3: s3.head(key, version), self._reading)
        return None if head is None else self._kept(head)

    async def said(self, key: str, version: str | None = None) -> Kept | None:
        checked(key)
        head = await self._tried(lambda s3: s3.head(key, version), self._reading)
        return None if head is None else Kept(version=head.version, locked_until=head.locked_until)

    async def lock(self, key: str, until: datetime, version: str | None = None) -> Kept:
        checked(key)
        async with self._lock(key):
            head = await self._tried(lambda s3: s3.head(key, version), self._reading)
            if head is None:
                raise Refused(f"locking {key} at {self.address.place}: no such object")
            return await self._held(key, head, until if await self._bucket_lock.holds() else None)

    async def _lockable(self, until: datetime | None) -> datetime | None:
        """Until when to lock what is put now: not at all where the bucket did not prove that it can."""
        if until is None or until <= self._clock.now():
            return None
        if await self._bucket_lock.holds():
            return whole_second(until)
        if self._lock_required:
            proof = self._bucket_lock.proof
            raise Unavailable(
                f"{proof.cause if proof else ''}; nothing is put there while storage.lock is required, and it waits on this "
                "box: make a bucket that locks, or set storage.lock to wanted"
            )
        return None

    async def _held(self, key: str, head: Head | None, until: datetime | None) -> Kept:
        """Make sure that what is there is locked until then: a store may have forgotten it on the way."""
        if head is None:
            raise Unavailable(f"looking for {key} at {self.address.place}: it was there and is not")
        if until is None or (head.locked_until is not None and head.locked_until >= until):
            return self._kept(head)
        wanted, version = whole_second(until), head.version
        await self._tried(lambda s3: s3.retain(key, version, wanted))
        found = await self._tried(lambda s3: s3.head(key, version))
        if found is None or found.locked_until is None or found.locked_until < wanted:
            raise Unavailable(
                f"locking {key} at {self.address.place}: it was answered with success, and is not locked"
            )
        return self._kept(found)

    def _kept(self, head: Head) -> Kept:
        proof = self._bucket_lock.proof
        proved = proof is not None and proof.holds
        return Kept(version=head.version, locked_until=head.locked_until if proved else None)

    async def check(self) -> str:
        # Among the canaries: where the bucket locks whatever is put, a later trial removes it once that is over.
        probe, data = (
            f"{self.address.prefix}{CANARIES}probe-{secrets.token_hex(8)}.txt",
            b"campus-gateway",
        )
        began = self._clock.now()
        await self.put_bytes(probe, data)
        try:
            async with self.read(probe) as piece:
                if await piece(100) != data:
                    raise Unavailable(f"{self.address.place} gives back other bytes than it took")
        finally:
            locked_until = await self._removed(probe)
        if locked_until is None:
            return ""
        days = (locked_until - began) / timedelta(days=1)
        return (
            f"the bucket locks everything that is put there for {days:.0f} d by itself (its default retention), so the trial "
            f"object stays until {locked_until:%Y-%m-%d}; what the gateway stores gets a lock of its own"
        )

    async def _removed(self, key: str) -> datetime | None:
        """Delete it; until when it stays instead, where it is locked."""
        try:
            await self.delete(key)
        except Refused as exc:
            head = await self._tried(lambda s3: s3.head(key), self._reading)
            if _code(exc) != "Locked" or head is None:
                raise
            return head.held_until
        return None

    def _lock(self, key: str) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def _s3(self) -> S3Calls:
        """On a thread: importing the SDK takes a good part of a second on a small box."""
        if self._calls is None:
            from storage.objects.s3_calls import S3Calls

            self._calls = S3Calls(self.address)
        return self._calls

    async def _tried(self, call: Callable[[S3Calls], T], threads: Threads | None = None) -> T:
        """Make the call, a few times if it does not work now."""
        began_s = self._clock.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                return await (threads or self._writing).run(lambda: call(self._s3()))
            except Unavailable as exc:
                late = self._clock.monotonic() - began_s >= NO_NEW_ATTEMPT_S
                if attempt == ATTEMPTS or late:
                    raise
                pause_s = PAUSE_S * 2 ** (attempt - 1) * (0.5 + self._chance.random())
                log.info("s3.tried_again", cause=exc.reason, attempt=attempt, pause_s=round(pause_s, 2))
                await self._clock.sleep(pause_s)


class _ForReading:
    """:class:`storage.objects.s3_reading.Bucket`."""

    def __init__(self, store: S3Objects) -> None:
        self._store = store

    async def size(self, key: str, version: str | None) -> int | None:
        return await self._store.size(key, version)

    async def ask(self, call: Callable[[S3Calls], T]) -> T:
        return await self._store._tried(call, self._store._reading)

    async def once(self, call: Callable[[S3Calls], T]) -> T:
        return await self._store._reading.run(lambda: call(self._store._s3()))

    def later(self, call: Callable[[], object]) -> None:
        self._store._reading.later(call)


def _size(source: Path) -> int:
    try:
        return source.stat().st_size
    except FileNotFoundError as exc:
        raise Refused(f"storing {source.name}: {source} is not there") from exc
    except OSError as exc:
        raise Unavailable(f"reading {source}: {exc.strerror or exc}") from exc


def _verify(source: Path, sha256: str) -> None:
    """``Refused`` if the file is not what its digest says."""
    try:
        with source.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise Unavailable(f"reading {source}: {exc.strerror or exc}") from exc
    if found != sha256:
        raise Refused(f"{source.name} is not what its digest says")


def _code(exc: Refused) -> str:
    return getattr(exc, "code", "")


def _media_type(key: str) -> str:
    return mimetypes.guess_type(key)[0] or "application/octet-stream"

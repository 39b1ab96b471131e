"""Whether a bucket really locks: believed of no answer, only of a deletion that was tried and refused.

Stores say yes to more than they do. ``rclone serve s3`` answers a request to lock with success and puts the request's own words
in the place of the object; Ceph 16.2 forgets the lock of an upload in parts. So one small object of ours, the *canary*, is put
to the proof before the first object of worth: locked, lengthened, tried to be shortened, tried to be deleted, and read
back byte for byte after each.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.stored import LockProof, ObjectVersion
from gateway.ports.clock import Clock
from storage.objects.s3_address import S3Address

if TYPE_CHECKING:
    from storage.objects.s3_calls import Head, S3Calls

log = structlog.get_logger(__name__)

T = TypeVar("T")

CANARY_LOCKED = timedelta(hours=1)  # what is built: an object locked for an hour
LENGTHENED_BY = 1 / 60  # of that
CLOCKS_APART = timedelta(
    minutes=20
)  # a store takes requests up to 15 min off (Amazon S3, "RequestTimeTooSkewed")
#: How a store says that it takes no lock: Amazon and Ceph for a bucket without it, others for want of the whole thing.
NO_LOCK = ("InvalidRequest", "InvalidArgument", "NotImplemented", "MethodNotAllowed", "AccessDenied")
FOLDER = "canary/"


class BucketLock:
    """What is known of one bucket's lock. ``proof`` is the last trial's, ``None`` before the first."""

    def __init__(
        self,
        address: S3Address,
        clock: Clock,
        tried: Callable[[Callable[[S3Calls], object]], Awaitable[object]],
        canary_locked: timedelta = CANARY_LOCKED,
    ) -> None:
        """``tried`` makes a call, a few times if it does not work now."""
        self._address, self._clock, self._canary_locked = address, clock, canary_locked
        self._call_tried = tried
        self._one_at_a_time = asyncio.Lock()
        self.proof: LockProof | None = None

    async def _tried(self, call: Callable[[S3Calls], T]) -> T:
        return await self._call_tried(call)  # type: ignore[return-value]

    async def prove(self) -> LockProof:
        """Make the trial, and remove the canaries of earlier ones."""
        async with self._one_at_a_time:
            return await self._prove()

    async def holds(self) -> bool:
        """Whether the bucket locks, by the last trial; the first is made now if there was none."""
        async with self._one_at_a_time:
            return (self.proof or await self._prove()).holds

    async def _prove(self) -> LockProof:
        now = self._clock.now()
        cause = await self._trial(now)
        stuck = await self._clear(now) if not cause else ""
        before, self.proof = self.proof, LockProof(holds=not cause, cause=cause, stuck=stuck)
        if before is None or before.holds == bool(cause):
            log.info("s3.lock_tried", place=self._address.place, holds=not cause, cause=cause)
        return self.proof

    async def _trial(self, now: datetime) -> str:
        """Why the lock does not hold; empty if it does."""
        key = f"{self._address.prefix}{FOLDER}{now:%Y%m%dT%H%M%S}Z-{secrets.token_hex(4)}.txt"
        data = f"campus-gateway tries here whether objects are locked: {key}\n".encode()
        until = whole_second(now + self._canary_locked)
        sha256 = hashlib.sha256(data).hexdigest()
        place = self._address.place
        try:
            await self._tried(
                lambda s3: s3.put(key, data, sha256, "text/plain", only_new=True, locked_until=until)
            )
        except Refused as exc:
            if _code(exc) not in NO_LOCK:
                raise
            if _code(exc) == "AccessDenied":
                return f"the key may not lock: {exc.reason}"
            return (
                f"{place} was made without object lock ({_code(exc)}); many stores let it be chosen only when a bucket is "
                "made: make another with `campus-gateway make-bucket`, and set storage.objects to it"
            )
        head = await self._tried(lambda s3: s3.head(key))
        version = None if head is None else head.version
        cause = await self._tortured(key, version, data, until)
        if cause:
            await self._leave_nothing(key)
            return f"{place} does not lock: {cause}"
        return ""

    async def _tortured(self, key: str, version: str | None, data: bytes, until: datetime) -> str:
        """Every way in which the canary could be lost before its time, each followed by a look."""

        async def altered() -> bool:
            return await self._tried(lambda s3: s3.content(key, version)) != data

        async def said() -> datetime | None:
            head: Head | None = await self._tried(lambda s3: s3.head(key, version))
            return None if head is None else head.locked_until

        longer = whole_second(until + self._canary_locked * LENGTHENED_BY)
        refused = await self._refused(lambda s3: s3.retain(key, version, longer))
        if await altered():
            return "it said that it had locked an object, and put other bytes in its place"
        if refused:
            return f"a lock cannot be lengthened ({refused})"
        found = await said()
        if found is None or found < longer:
            return f"asked to lock an object until {longer:%H:%M:%S}Z it says {_shown(found)}"
        await self._refused(lambda s3: s3.retain(key, version, until - self._canary_locked / 2))
        if await altered():
            return "it put other bytes in the place of a locked object"
        found = await said()
        if found is None or found < longer:
            return "it let a lock be shortened"
        refused = await self._refused(lambda s3: s3.remove(key, version))
        if await altered():
            return "it said that an object was locked, and deleted it when asked to"
        if not refused:
            return "it answered that it had deleted a locked object"
        return ""

    async def _refused(self, call: Callable[[S3Calls], None]) -> str:
        """What the store says no with; empty if it says yes."""
        try:
            await self._tried(call)
        except Refused as exc:
            return _code(exc) or exc.reason
        return ""

    async def _leave_nothing(self, key: str) -> None:
        try:
            await self._tried(lambda s3: s3.delete(key))
        except (Refused, Unavailable) as exc:
            log.info("s3.canary_left", key=key, cause=exc.reason)

    async def _clear(self, now: datetime) -> str:
        """Remove the canaries whose lock is over: what is locked for an hour has to go after it, or nothing ever would.
        Returns which do not."""
        prefix = f"{self._address.prefix}{FOLDER}"
        stuck = []
        for one in await self._tried(lambda s3: [v for page in s3.pages(prefix) for v in page]):
            until = await self._tried(partial(_lock_of, one))
            if until is not None and until > now:
                continue
            try:
                await self._tried(partial(_remove, one))
            except Refused as exc:
                if until is None or until <= now - CLOCKS_APART:
                    stuck.append(exc.reason)
        return "; ".join(stuck[:3])


def _lock_of(one: ObjectVersion, s3: S3Calls) -> datetime | None:
    head = None if one.hides else s3.head(one.key, one.version)
    return None if head is None else head.held_until


def _remove(one: ObjectVersion, s3: S3Calls) -> None:
    s3.remove(one.key, one.version)


def whole_second(at: datetime) -> datetime:
    """The first whole second not before ``at``: what locks are counted in."""
    at = at.astimezone(UTC)
    return at if at.microsecond == 0 else at.replace(microsecond=0) + timedelta(seconds=1)


def _shown(at: datetime | None) -> str:
    return "nothing of a lock" if at is None else f"{at:%Y-%m-%d %H:%M:%S}Z"


def _code(exc: Refused) -> str:
    return getattr(exc, "code", "")

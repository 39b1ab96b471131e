"""Where bytes are stored: the object store, and the spool before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from gateway.domain.stored import Kept, LockProof, ObjectVersion


class ObjectStore(Protocol):
    """Evidence bytes, written once and never altered.

    Keys are ``/``-separated relative paths. Errors: ``Unavailable`` (try again), ``Refused`` (a person must
    act, e.g. the key exists with other bytes), ``Malformed`` (not a legal key).

    Locks: whoever asks for ``locked_until`` gets an object that nobody can delete before then, wherever the store proved that
    it can; what came of it is in :class:`Kept`. A lock is never shortened.
    """

    @property
    def on_this_box(self) -> bool:
        """Whether what is stored takes room of this machine's own disk."""

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        """Store the file under ``key``; durable when it returns. Consumes ``source`` (it is gone afterwards).
        Putting the same bytes again is harmless, and makes up for a lock they do not have yet."""

    async def put_bytes(self, key: str, data: bytes, *, locked_until: datetime | None = None) -> Kept:
        """The same, for what is small enough to be in memory."""

    async def size(self, key: str, version: str | None = None) -> int | None:
        """Bytes stored under ``key``, of the version (or the newest), or ``None`` if there is nothing."""

    def read(
        self, key: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> AbstractAsyncContextManager[Callable[[int], Awaitable[bytes]]]:
        """Open bytes ``start`` to ``end`` (exclusive) of the version (or the newest) for reading piece by piece: the context's
        value is called with a number of bytes and returns ``b""`` at the end. Raises ``Unavailable`` if there is no such
        object."""

    async def delete(self, key: str) -> None:
        """Remove the object, every version of it; not being there is success. ``Refused`` while it is locked."""

    async def delete_version(self, key: str, version: str | None) -> None:
        """Remove one version for good; not being there is success. ``Refused`` while it is locked."""

    async def keys(self, prefix: str) -> list[str]:
        """All keys that begin with ``prefix``, sorted."""

    def versions(self, prefix: str) -> AsyncIterator[list[ObjectVersion]]:
        """Everything that lies under keys that begin with ``prefix``, hidden versions and marks of deletion included, in pages,
        in the order of the keys' bytes: for audits. Holds a page of it in memory."""

    async def prove_lock(self) -> LockProof:
        """Lock an object for an hour and really try to delete it; costs a few requests. Raises where the store lets nobody in."""

    async def lock(self, key: str, until: datetime, version: str | None = None) -> Kept:
        """Lock the version (or the newest) until then, unless it is locked for longer already; returns what the store says
        afterwards. ``Refused`` if there is no such object; nothing is tried where the store did not prove that it can."""

    async def kept(self, key: str, version: str | None = None) -> Kept | None:
        """How the version (or the newest) is kept; ``None`` if there is no such object."""

    async def said(self, key: str, version: str | None = None) -> Kept | None:
        """The same with the lock that the store *says* it has, proved or not: for audits of locks that are on record. Changes
        nothing, and tries nothing."""

    async def check(self) -> str:
        """Prove that the store takes a byte and gives it back, and remove what was tried with; raises like ``put``. Returns why
        that could not be removed where the store's own rule forbids it for now, else empty."""


class Spool(Protocol):
    """Captured evidence on this box's own disk until the object store has it, by file name.

    Errors: ``Unavailable`` (no room, or the disk fails).
    """

    def path(self, name: str) -> Path:
        """Where a file is, or is to be written by a camera."""

    async def keep(self, name: str, data: bytes) -> None:
        """Write the file; whole and durable when it returns, not there at all if it raises."""

    async def seal(self, name: str) -> None:
        """Make a file durable that somebody else has written."""

    async def digest(self, name: str) -> str | None:
        """The file's SHA-256, or ``None`` if it is not there."""

    async def lasts_s(self, name: str) -> float:
        """How many seconds the pictures in a clip's file last, by its own tables. Raises ``Malformed`` where it has none."""

    async def clear(self, but: Collection[str]) -> list[str]:
        """Make the place ready, and remove every file but those; returns what was removed. Folders are left alone."""

    def no_room(self) -> str:
        """Why nothing more should be kept here; empty while there is room. Never blocks for long."""

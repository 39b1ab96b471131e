"""Objects as files: temporary name, fsync, link, fsync of the directory. A crash leaves the whole object or none.

One file, though a little long: every call maps the same errors.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.stored import Kept, LockProof, ObjectVersion
from storage.objects.keys import checked

TEMPORARY = ".part-"
MARK = ".campus-gateway-store"  # in the folder: which store this is
LISTED_AT_ONCE = 1000
READ_ONLY = 0o444
#: The named points of a put, in their order: what a test ends the process at.
CRASH_POINTS = ("object.part", "object.linked")
CANNOT_LOCK = (
    "files cannot be locked against whoever runs this box: they are read-only and their digests are on record, so that an "
    "alteration shows, and nothing prevents it"
)


class LocalObjects:
    """:class:`gateway.ports.objects.ObjectStore` in a directory; an object is at ``root/key``."""

    on_this_box = True

    def __init__(
        self,
        root: Path,
        known: Path | None = None,
        *,
        on_record: Callable[[], Awaitable[bool]] | None = None,
        passed: Callable[[str], None] = lambda _point: None,
    ) -> None:
        """``known`` is a file elsewhere that remembers the store's own mark: where that is missing the disk is not there, and
        an empty mount point is not taken for a store whose objects are gone. ``on_record`` says whether any object is: while
        nothing is remembered yet, :meth:`start` then marks no empty folder, and until it has marked one every call is
        ``Unavailable``. Without it a folder that is not marked is used as it is. ``passed`` is called with
        each of :data:`CRASH_POINTS` as a file's put passes it."""
        self.root = root
        self._known = known
        self._on_record = on_record
        self._not_taken_up = f"{root} is not taken up yet ({known} is not there): the next start does it"
        self._passed = passed
        self._mine = f"{TEMPORARY}{secrets.token_hex(4)}-"  # what begins so is being written by this run

    async def start(self) -> None:
        """Create the directory and remove what a crash left half-written. For the one process that writes here, again too:
        another's puts would fail, and be tried again. Raises ``Unavailable`` where its disk seems not to be mounted."""
        on_record = self._on_record is not None and await self._on_record()
        await asyncio.to_thread(self._prepare, on_record)

    async def stop(self) -> None:
        """Nothing is held open."""

    async def put(self, key: str, source: Path, *, sha256: str, locked_until: datetime | None = None) -> Kept:
        await asyncio.to_thread(self._put, checked(key), source, sha256)
        return Kept()

    async def put_bytes(self, key: str, data: bytes, *, locked_until: datetime | None = None) -> Kept:
        await asyncio.to_thread(self._put_bytes, checked(key), data)
        return Kept()

    async def size(self, key: str, version: str | None = None) -> int | None:
        path = self.root / checked(key)
        if version is not None:
            return None  # files have none: it is another store's
        with _mapped(f"looking for {key}"):
            try:
                return (await asyncio.to_thread(path.stat)).st_size
            except (FileNotFoundError, NotADirectoryError):
                await asyncio.to_thread(self._is_here)
                return None

    @asynccontextmanager
    async def read(
        self, key: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> AsyncIterator[Callable[[int], Awaitable[bytes]]]:
        path = self.root / checked(key)
        if version is not None:
            raise Unavailable(f"reading {key}: files have no versions, and {version} was asked for")
        with _mapped(f"reading {key}"):
            file = await asyncio.to_thread(path.open, "rb")
        left = None if end is None else end - start

        async def piece(size: int) -> bytes:
            nonlocal left
            wanted = size if left is None else min(size, left)
            with _mapped(f"reading {key}"):
                data = await asyncio.to_thread(file.read, wanted) if wanted > 0 else b""
            if left is not None:
                left -= len(data)
            return data

        try:
            file.seek(start)
            yield piece
        finally:
            file.close()

    async def delete(self, key: str) -> None:
        path = self.root / checked(key)

        def remove() -> None:
            with _mapped(f"deleting {key}"):
                self._is_here()
                path.unlink(missing_ok=True)
                if path.parent.exists():
                    sync_directory(path.parent)

        await asyncio.to_thread(remove)

    async def delete_version(self, key: str, version: str | None) -> None:
        if version is not None:
            raise Refused(f"deleting {key}: files have no versions, and {version} was asked for")
        await self.delete(key)

    async def keys(self, prefix: str) -> list[str]:
        folder = self.root / prefix.rpartition("/")[0]  # no other can hold a key with that beginning

        def found() -> list[str]:
            with _mapped("listing"):
                self._is_here()
                return [k for k in self._all(folder) if k.startswith(prefix)]

        return await asyncio.to_thread(found)

    async def versions(self, prefix: str) -> AsyncIterator[list[ObjectVersion]]:
        with _mapped("listing"):
            await asyncio.to_thread(self._is_here)
        folder = self.root / prefix.rpartition("/")[0]
        keys = (key for key in self._all(folder) if key.startswith(prefix))
        while True:  # never all keys at once: a month of many cameras is more than a million
            with _mapped("listing"):
                page = await asyncio.to_thread(lambda: list(islice(keys, LISTED_AT_ONCE)))
                listed = await asyncio.to_thread(self._listed, page)
            if not page:
                return
            if listed:
                yield listed

    async def prove_lock(self) -> LockProof:
        return LockProof(holds=False, cause=CANNOT_LOCK)

    async def lock(self, key: str, until: datetime, version: str | None = None) -> Kept:
        if (kept := await self.kept(key, version)) is None:
            raise Refused(f"locking {key}: no such object")
        return kept

    async def kept(self, key: str, version: str | None = None) -> Kept | None:
        return None if version is not None or await self.size(key) is None else Kept()

    async def said(self, key: str, version: str | None = None) -> Kept | None:
        return await self.kept(key, version)

    async def leftovers(self) -> list[str]:
        """What puts that died left under temporary names, by path below the root; while a gateway runs, also what it is putting
        now. Nothing of it is the only copy of anything."""

        def look() -> list[str]:
            return sorted(
                part.relative_to(self.root).as_posix()
                for part in self.root.rglob(TEMPORARY + "*")
                if part.is_file()
            )

        with _mapped("listing"):
            return await asyncio.to_thread(look)

    async def is_bare(self) -> bool:
        """Whether this is a folder without any object, mark or memory of one: nothing shows that a store was ever here."""

        def look() -> bool:
            remembered = self._known is not None and self._known.exists()
            return not (remembered or (self.root / MARK).exists() or self._holds_anything())

        with _mapped("looking at the store"):
            return await asyncio.to_thread(look)

    async def discard(self, leftover: str) -> None:
        """Remove one of :meth:`leftovers`; not being there is success."""
        path = self.root / leftover
        if not path.name.startswith(TEMPORARY):
            raise Refused(f"{leftover} is no leftover of a put")
        with _mapped(f"removing {leftover}"):
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def check(self) -> str:
        probe = f"probe-{secrets.token_hex(8)}"
        await self.put_bytes(probe, b"campus-gateway")
        try:
            async with self.read(probe) as piece:
                if await piece(100) != b"campus-gateway":
                    raise Unavailable(f"{self.root} gives back other bytes than it took")
        finally:
            await self.delete(probe)
        return ""

    def _prepare(self, on_record: bool) -> None:
        with _mapped("preparing the object store"):
            if self._known is None:
                self.root.mkdir(parents=True, exist_ok=True)
            elif not self._known.exists():
                self._take_up(self._known, on_record)
            self._is_here()
            for left in self.root.rglob(TEMPORARY + "*"):
                if not left.name.startswith(self._mine):
                    left.unlink(missing_ok=True)

    def _take_up(self, known: Path, on_record: bool) -> None:
        """Mark the store, or take up the mark it has, and remember it: the mark first, so that none is missed that never was.
        Raises ``Unavailable`` where objects are on record and nothing lies there."""
        mark = self.root / MARK
        if on_record and not mark.exists() and not self._holds_anything():
            # The first start of a version that marks, before the disk is mounted: the mark would go into the mount point.
            self._not_taken_up = (
                f"{self.root} is empty, and objects are on record: is its disk mounted? Where an empty store is to be gone on "
                f"with, make an empty file {MARK} in it"
            )
            raise Unavailable(self._not_taken_up)
        self.root.mkdir(parents=True, exist_ok=True)
        if not mark.exists() or not mark.stat().st_size:
            self._write(mark, secrets.token_hex(16).encode())
        self._write(known, mark.read_bytes())

    def _holds_anything(self) -> bool:
        """Whether any object lies there; what may not be looked into (a disk's lost+found) holds none. Blocks."""
        names = (name for _, _, found in os.walk(self.root) for name in found)
        return any(not name.startswith((TEMPORARY, MARK)) for name in names)

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        fresh = path.with_name(f"{path.name}.new")
        with fresh.open("wb") as file:
            file.write(data)
            flushed(file)
        fresh.replace(path)
        sync_directory(path.parent)

    def _is_here(self) -> None:
        """Raises ``Unavailable`` where the folder is not the store that was used so far. Blocks."""
        if self._known is None:
            return
        if not self._known.exists():
            if self._on_record is not None:
                raise Unavailable(self._not_taken_up)
            return
        mark = self.root / MARK
        if not mark.exists() or mark.read_bytes() != self._known.read_bytes():
            raise Unavailable(
                f"{self.root} is not the store that was used so far ({MARK} in it is not as {self._known} has it): is its disk "
                "mounted? Where it is another one on purpose, bring all objects over and remove the file "
                f"{self._known}: it is taken up anew at the next start"
            )

    def _all(self, below: Path) -> Iterator[str]:
        """The keys below a folder, by key, a folder at a time. A folder that is not there has none; one that may not be looked
        into raises, for its objects would else be taken for missing."""
        try:
            with os.scandir(below) as entries:
                # With its slash a folder stands where its keys do: "a-1" before "a/x" before "ab".
                names = sorted(e.name + ("/" if e.is_dir(follow_symlinks=False) else "") for e in entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        place = below.relative_to(self.root).as_posix()
        for name in names:
            if name.endswith("/"):
                yield from self._all(below / name)
            elif not name.startswith((TEMPORARY, MARK)):
                yield name if place == "." else f"{place}/{name}"

    def _listed(self, keys: list[str]) -> list[ObjectVersion]:
        found = []
        for key in keys:
            try:
                stat = (self.root / key).stat()
            except FileNotFoundError:
                continue  # deleted since it was listed
            stored_at = datetime.fromtimestamp(stat.st_mtime, UTC)
            found.append(
                ObjectVersion(
                    key=key, version=None, bytes=stat.st_size, stored_at=stored_at, newest=True, hides=False
                )
            )
        return found

    def _put_bytes(self, key: str, data: bytes) -> None:
        with _mapped(f"storing {key}"):
            self._is_here()
            part = self._part(key)
            try:
                with part.open("xb") as file:
                    file.write(data)
                    flushed(file)
                self._place(key, part, hashlib.sha256(data).hexdigest())
            finally:
                part.unlink(missing_ok=True)

    def _put(self, key: str, source: Path, sha256: str) -> None:
        if not source.exists():  # trying again brings it no nearer
            raise Refused(f"storing {key}: {source} is not there")
        with _mapped(f"storing {key}"):
            self._is_here()
            part = self._part(key)
            try:
                try:
                    # A second name and not another one: until the object is whole its bytes stay where they were, whatever
                    # dies, and what a crash leaves under the temporary name is never the only copy.
                    os.link(source, part)
                except OSError as exc:
                    if exc.errno != errno.EXDEV:
                        raise
                    shutil.copyfile(source, part)  # the spool is on another file system
                with part.open("rb") as file:
                    os.fsync(file.fileno())
                self._passed(CRASH_POINTS[0])
                self._place(key, part, sha256)
                self._passed(CRASH_POINTS[1])
            finally:
                part.unlink(missing_ok=True)
            source.unlink(missing_ok=True)

    def _part(self, key: str) -> Path:
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.parent / f"{self._mine}{secrets.token_hex(8)}"

    def _place(self, key: str, part: Path, sha256: str) -> None:
        target = self.root / key
        try:
            part.chmod(READ_ONLY)  # against a slip of the hand, nothing more
            # A link, unlike a rename, refuses to replace: an object is written once.
            os.link(part, target)
        except FileExistsError:
            if _digest(target) != sha256:
                raise Refused(
                    f"{key} is stored already with other bytes; an object is never altered"
                ) from None
        sync_directory(target.parent)
        for parent in target.parent.parents:
            if parent == self.root.parent:
                break
            sync_directory(parent)


@contextmanager
def _mapped(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise Unavailable(f"{doing}: {exc.strerror or exc}") from exc


def flushed(file: BinaryIO) -> None:
    """Hand what was written to the disk, and wait until it has it."""
    file.flush()
    os.fsync(file.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(path: Path) -> None:
    """Make the directory's entries survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Auditing: whether the object store has what is on record, in the version and under the lock of the record, and nothing else.

Functions that look and change nothing. Record and store are two lists in the order of the keys' bytes, each read a page at a time
and held against one another, so that a million objects cost two pages of memory and no request each; only locks and hashes, which
no list tells, cost one an object. A gateway may be at work meanwhile: whatever looks wrong is looked at once more, by itself,
before it is said.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from itertools import groupby
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Generic, TypeVar, cast

from gateway.box.film import Film, Reel
from gateway.domain.errors import Malformed, Refused, Unavailable
from gateway.domain.evidence import Evidence, EvidenceState, Kind
from gateway.domain.finding import Finding, Grade, Relock, Unhide
from gateway.domain.object_lock import lock_until
from gateway.domain.recording import Quality, Segment
from gateway.domain.stored import ObjectVersion
from gateway.ports.alarm_tables import EvidenceRows
from gateway.ports.objects import ObjectStore
from gateway.ports.recording_tables import Recordings
from gateway.ports.store import Store, Transaction

PAGE = 1000
ASKED_AT_ONCE = 8
PIECE_BYTES = 1 << 20
#: Ours: a film is looked through in memory up to this size, beyond it in a temporary file. A minute at 8 Mbit/s has 60 MB.
FILM_BYTES = 64 << 20
#: Ours: what was put within this by a gateway at work may be on its way into its row, which follows at once.
ROW_WITHIN = timedelta(minutes=2)
#: Ours: what has no lock when it is stored is locked within ten minutes of the store's having shown that it locks.
LOCKED_WITHIN = timedelta(minutes=15)

Row = Segment | Evidence
T = TypeVar("T")


class OnRecord(Enum):
    """What is kept: rows of two kinds that answer the same questions, each with the folders its objects lie in."""

    RECORDINGS = ("recordings",)
    EVIDENCE = ("alarms", "drills")

    def rows(self, tx: Transaction) -> Recordings | EvidenceRows:
        return tx.recordings if self is OnRecord.RECORDINGS else tx.evidence


# What lies there.


async def objects(
    kind: OnRecord,
    store: Store,
    kept_in: ObjectStore,
    site: str,
    *,
    awaited: Collection[str] = (),
    running_at: Callable[[], datetime | None] = lambda: None,
) -> AsyncIterator[Finding]:
    """Rows whose object is missing, altered or not the version on record; versions and marks of deletion that no row has; and
    objects that nobody knows of. By the store's list alone: bytes are counted and not read. What a pending deletion names may be
    there or not; ``awaited`` are keys that a row is about to be written for, and so may be what a gateway at work put just now:
    ``running_at`` is now while one runs, else ``None``, asked each time, for all this can take hours."""
    audit = _Audit(kind, store, kept_in, running_at, awaited)
    prefixes = [f"{site}/{folder}/" for folder in kind.value]
    rows, listed = _Ahead(_rows(kind, store)), _Ahead(_listed(kept_in, prefixes))
    while True:
        row, there = await rows.peek(), await listed.peek()
        if row is None and there is None:
            return
        key = min(k for k in (row and row.key, there and there[0]) if k)
        mine = row if row is not None and row.key == key else None
        versions: Sequence[ObjectVersion] = there[1] if there is not None and there[0] == key else ()
        if mine is not None:
            rows.take()
        if versions:
            listed.take()
        elsewhere = not key.startswith(tuple(prefixes))  # of a site that had another name: not listed
        if elsewhere or _judged(mine, versions, key):
            for finding in await audit.of(key):
                yield finding


class _Audit:
    """A second look at one key, in the order in which things are written: a deletion is intended first and an object is put
    before its row, so rows are read on both sides of the list."""

    def __init__(
        self,
        kind: OnRecord,
        store: Store,
        kept_in: ObjectStore,
        running_at: Callable[[], datetime | None],
        awaited: Collection[str],
    ) -> None:
        self._kind, self._store, self._kept_in, self._running_at = kind, store, kept_in, running_at
        self._awaited = awaited

    async def of(self, key: str) -> list[Finding]:
        before, _ = await self._store.read(lambda tx: self._row(tx, key))
        pages = [one async for page in self._kept_in.versions(key) for one in page]
        row, pending = await self._store.read(lambda tx: self._row(tx, key))
        if pending or (before is None) != (row is None):
            return []  # it is being stored or deleted just now
        versions = [one for one in pages if one.key == key]
        if row is None and self._is_awaited(key, versions):
            return []
        if isinstance(row, Evidence) and row.state is not EvidenceState.STORED:
            return self._not_stored(row, key, versions)
        return _judged(row, versions, key)

    def _row(self, tx: Transaction, key: str) -> tuple[Row | None, bool]:
        pending = any(str(item["key"]) == key for one in tx.deletions.pending() for item in one.items)
        return self._kind.rows(tx).at_key(key), pending

    def _is_awaited(self, key: str, versions: Sequence[ObjectVersion]) -> bool:
        """Whether its row may follow: a put is seen by all before it has returned."""
        at = self._running_at()
        young = at is not None and any(v.stored_at and abs(at - v.stored_at) < ROW_WITHIN for v in versions)
        return key in self._awaited or (young and not any(v.hides for v in versions))

    @staticmethod
    def _not_stored(row: Evidence, key: str, versions: Sequence[ObjectVersion]) -> list[Finding]:
        if row.state is EvidenceState.DELETED and versions:
            what = "an object that is on record as deleted is there"
            return [
                Finding(grade=Grade.SUSPICIOUS, what=what, about=key, detail=f"{len(versions)} version(s)")
            ]
        return []  # captured, and put before the row could say so


def _judged(row: Row | None, versions: Sequence[ObjectVersion], key: str) -> list[Finding]:
    """What is wrong with a key of which the row and the store say this; empty if nothing."""
    bytes_there = [v for v in versions if not v.hides]
    marks = [v for v in versions if v.hides]
    if row is None:
        if not versions:
            return []
        what = (
            "an object that is in no ledger"
            if bytes_there
            else "a mark of deletion over nothing that is kept"
        )
        return [Finding(grade=Grade.SUSPICIOUS, what=what, about=key, detail=_named(versions))]
    mine = _mine(row, bytes_there)
    if mine is None:
        if not bytes_there:
            return [Finding(grade=Grade.LOST, what="the object is missing", about=key, detail=_named(marks))]
        what, detail = "the version on record is missing", f"{row.version}; there is {_named(bytes_there)}"
        return [Finding(grade=Grade.LOST, what=what, about=key, detail=detail)]
    found = []
    if mine.bytes != row.bytes:
        detail = f"{mine.bytes} bytes, {row.bytes} on record"
        found.append(Finding(grade=Grade.LOST, what="the object is altered", about=key, detail=detail))
    others = [v for v in bytes_there if v is not mine]
    if others:
        what = "a version that is not on record"
        found.append(Finding(grade=Grade.SUSPICIOUS, what=what, about=key, detail=_named(others)))
    if marks:
        what, mend = "a mark of deletion over what is kept", Unhide(key=key)
        found.append(Finding(grade=Grade.SUSPICIOUS, what=what, about=key, detail=_named(marks), repair=mend))
    return found


def _mine(row: Row, bytes_there: Sequence[ObjectVersion]) -> ObjectVersion | None:
    """The version that the row means: the one on record, or without any the newest."""
    if row.version is not None:
        return next((v for v in bytes_there if v.version == row.version), None)
    return next((v for v in bytes_there if v.newest), bytes_there[0] if bytes_there else None)


def _named(versions: Sequence[ObjectVersion]) -> str:
    return ", ".join(
        f"{v.version or 'no version'} ({'mark' if v.hides else f'{v.bytes} bytes'}"
        f"{f', {v.stored_at:%Y-%m-%d %H:%M:%S}Z' if v.stored_at else ''})"
        for v in versions
    )


# Locks.


async def locks(
    kind: OnRecord, store: Store, kept_in: ObjectStore, now: datetime, retention_days: int, *, ask: bool
) -> AsyncIterator[Finding]:
    """Rows within their period without a lock on record although the store has shown that it locks; and, if it is to be
    ``asked``, one request an object, locks that are missing or end before the time on record."""
    shown = await store.read(lambda tx: tx.recordings.any_locked(now) or tx.evidence.any_locked(now))
    if not shown:
        return

    async def look(row: Row) -> Finding | None:
        key = row.key or ""
        if row.locked_until is None:
            # A day, as while nobody has confirmed the clock: a lock cannot be taken back, and the gateway makes it longer.
            until = lock_until(row.end, now, retention_days, confirmed=False)
            if until is None or row.stored_at is None or now - row.stored_at < LOCKED_WITHIN:
                return None
            return await again(row, _unlocked(row, "no lock on record", until))
        if not ask or row.locked_until <= now:
            return None
        said = await kept_in.said(key, row.version)
        if said is None or (said.locked_until is not None and said.locked_until >= row.locked_until):
            return None  # a missing version is the matter of another check
        ends = "not locked" if said.locked_until is None else f"locked until {said.locked_until.isoformat()}"
        return await again(
            row, _unlocked(row, f"{ends}, until {row.locked_until.isoformat()} on record", row.locked_until)
        )

    async def again(row: Row, finding: Finding) -> Finding | None:
        return finding if await store.read(partial(_is_still, kind, row)) else None

    async for page in _pages(kind, store):
        for finding in await _asked(page, look):
            if finding is not None:
                yield finding


def _unlocked(row: Row, detail: str, until: datetime) -> Finding:
    key = row.key or ""
    mend = Relock(key=key, version=row.version, until=until)
    what = "the lock is missing or too short"
    return Finding(grade=Grade.SUSPICIOUS, what=what, about=key, detail=detail, repair=mend)


# Hashes.


async def hashes(
    store: Store,
    kept_in: ObjectStore,
    told: Callable[[int, int], None],
    examine: Callable[[BinaryIO], Sequence[str]] = lambda _film: (),
) -> AsyncIterator[Finding]:
    """Objects whose bytes are not those on record: reads everything that is kept. ``told`` hears how much of how much;
    ``examine`` says what is wrong with the pictures of a film whose bytes are those on record."""
    whole = done = 0
    for kind in OnRecord:
        async for page in _pages(kind, store):
            whole += sum(row.bytes or 0 for row in page)
    for kind in OnRecord:
        async for page in _pages(kind, store):
            for row in page:
                wrong = await _hashed(row, kept_in, examine)
                still: bool = not wrong or await store.read(partial(_is_still, kind, row))
                for finding in wrong if still else ():
                    yield finding
                done += row.bytes or 0
                told(done, whole)


NOT_AS_LONG = "a recording is not as long as is told of it"
#: What a file and its row may differ by: the last picture's duration, and rounding.
LONG_WITHIN_S = 2.0
#: Of key frames alone the last one stands for its group, however long that is.
KEYS_LONG_WITHIN_S = 30.0


def disagreement(start: datetime, end: datetime, quality: Quality, film: Film) -> str:
    """What the file's own tables say against the times told of it; empty where they agree."""
    told_s = (end - start).total_seconds()
    within_s = KEYS_LONG_WITHIN_S if quality is Quality.KEYFRAMES else LONG_WITHIN_S
    if abs(film.lasts_s - told_s) <= within_s:
        return ""
    return f"{start.isoformat()} to {end.isoformat()} are {told_s:.1f} s, and the file holds {film.lasts_s:.1f} s"


def _length(row: Row, reel: Reel) -> Finding | None:
    """Whether what a film holds is as long as its row tells: bytes that are as they were leave only the row to be wrong. What has
    no tables tells nothing of it."""
    if isinstance(row, Evidence) and row.kind is not Kind.CLIP:
        return None
    try:
        film = reel.film()
    except Malformed:
        return None
    quality = row.quality if isinstance(row, Segment) else Quality.FULL
    detail = disagreement(row.start, row.end, quality, film)
    return (
        Finding(grade=Grade.SUSPICIOUS, what=NOT_AS_LONG, about=row.key or "", detail=detail)
        if detail
        else None
    )


async def _hashed(
    row: Row, kept_in: ObjectStore, examine: Callable[[BinaryIO], Sequence[str]]
) -> list[Finding]:
    digest, key, reel = hashlib.sha256(), row.key or "", Reel()
    with SpooledTemporaryFile(FILM_BYTES) as film:
        try:
            async with kept_in.read(key, version=row.version) as piece:
                while data := await piece(PIECE_BYTES):
                    digest.update(data)
                    reel.feed(data)
                    if key.endswith(".mp4"):
                        film.write(data)
        except (Unavailable, Refused) as exc:
            return [Finding(grade=Grade.LOST, what="the object cannot be read", about=key, detail=exc.reason)]
        if digest.hexdigest() != row.sha256:
            detail = f"SHA-256 {digest.hexdigest()}, {row.sha256} on record"
            return [Finding(grade=Grade.LOST, what="the object is altered", about=key, detail=detail)]
        # The file offers what a BinaryIO does, and is none to the type checker.
        said = await asyncio.to_thread(examine, cast(BinaryIO, film)) if key.endswith(".mp4") else ()
    what = "its pictures are not as they should be"
    found = [Finding(grade=Grade.SUSPICIOUS, what=what, about=key, detail=each) for each in said]
    length = _length(row, reel)
    return found if length is None else [length, *found]


# Two lists, a page at a time.


async def _pages(kind: OnRecord, store: Store) -> AsyncIterator[Sequence[Row]]:
    after = ""
    while True:
        page = await store.read(partial(_page, kind, after))
        if not page:
            return
        yield page
        after = page[-1].key or ""


def _page(kind: OnRecord, after: str, tx: Transaction) -> Sequence[Row]:
    return kind.rows(tx).by_key(after, PAGE)


def _is_still(kind: OnRecord, row: Row, tx: Transaction) -> bool:
    """Whether the row is as it was read: it was neither locked nor deleted meanwhile."""
    return kind.rows(tx).at_key(row.key or "") == row


async def _rows(kind: OnRecord, store: Store) -> AsyncIterator[Row]:
    async for page in _pages(kind, store):
        for row in page:
            yield row


async def _listed(
    kept_in: ObjectStore, prefixes: Iterable[str]
) -> AsyncIterator[tuple[str, Sequence[ObjectVersion]]]:
    """What lies under each key, by key. ``Refused`` for a store that lists in another order."""
    key, versions = "", list[ObjectVersion]()
    for prefix in prefixes:
        async for page in kept_in.versions(prefix):
            for next_key, group in groupby(page, key=lambda one: one.key):
                if next_key < key:
                    raise Refused(f"the store does not list by key: {next_key} comes after {key}")
                if next_key > key and versions:
                    yield key, versions
                    versions = []
                key = next_key
                versions.extend(group)
    if versions:
        yield key, versions


class _Ahead(Generic[T]):
    """A list that can be looked at before it is taken from; ``None`` at its end."""

    def __init__(self, of: AsyncIterator[T]) -> None:
        self._of = of
        self._next: T | None = None

    async def peek(self) -> T | None:
        if self._next is None:
            self._next = await anext(self._of, None)
        return self._next

    def take(self) -> None:
        self._next = None


async def _asked(page: Sequence[Row], look: Callable[[Row], Awaitable[T]]) -> list[T]:
    """What each of a page comes to, a few at a time, in their order."""
    found: dict[int, T] = {}
    waiting = iter(enumerate(page))

    async def work() -> None:
        for number, row in waiting:
            found[number] = await look(row)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(ASKED_AT_ONCE):
                workers.create_task(work())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [found[number] for number in range(len(page))]

"""Checking: whether ledger, objects, register and the record of deletions say the same, and keep floor and ceiling.

Functions that look and change nothing; each yields what it finds, the worst cases first in :class:`Grade`. They read in pages, so
that a month of many cameras is looked at in little memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from gateway.domain.errors import Refused, Unavailable
from gateway.domain.holding import held, kept_until, overdue_before
from gateway.domain.merkle import root_of
from gateway.domain.recording import SEGMENT_S, Segment, hour_shares
from gateway.domain.recording import holes as holes_of
from gateway.ports import ObjectStore, Store, Transaction

PAGE = 1000
AT_ONCE = timedelta(days=5)  # of one camera: some 7,000 minutes
#: Ours: a camera's newest footage may still be in the segment being written, or on its way to the store.
ON_ITS_WAY = timedelta(seconds=2 * SEGMENT_S)


class Grade(IntEnum):
    """How bad a finding is: the exit code that it alone makes."""

    SUSPICIOUS = 1
    LOST = 2  # footage or evidence is missing or altered, or went before its time


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be: ``about`` names the camera, object or record."""

    grade: Grade
    what: str
    about: str
    detail: str = ""


async def unexplained(store: Store, now: datetime, retention_days: int) -> AsyncIterator[Finding]:
    """Spans within the period in which a camera was to be recorded, with neither a segment nor a gap."""
    for camera, (since, until) in (await store.read(lambda tx: tx.recordings.bounds())).items():
        begin = max(since, now - timedelta(days=retention_days))
        end = min(until or now, now - ON_ITS_WAY)
        at = begin
        while at < end:
            stop = min(at + AT_ONCE, end)

            def look(
                tx: Transaction, camera: str = camera, at: datetime = at, stop: datetime = stop
            ) -> list[Finding]:
                spans = [(s.start, s.end) for s in tx.recordings.segments(camera, at, stop)]
                spans += [(g.start, g.end or now) for g in tx.recordings.gaps(camera, at, stop)]
                return [
                    Finding(
                        grade=Grade.LOST,
                        what="neither recorded nor explained",
                        about=camera,
                        detail=f"{a.isoformat()} to {b.isoformat()}",
                    )
                    for a, b in holes_of(spans, at, stop)
                ]

            for finding in await store.read(look):
                yield finding
            at = stop


async def objects_against_ledger(
    store: Store, objects: ObjectStore, site: str, *, sizes: bool = True
) -> AsyncIterator[Finding]:
    """Segments without their object or, with ``sizes``, with one of another size; and objects of recordings that nobody knows of.

    What a pending deletion names may be there or not. Sizes only: hashing a month of video takes a day of its own.
    """
    pending = {
        str(item["key"]) for one in await store.read(lambda tx: tx.deletions.pending()) for item in one.items
    }
    for camera in await store.read(lambda tx: tx.recordings.cameras()):
        prefix = f"{site}/recordings/{camera}/"
        left = set(await objects.keys(prefix))
        async for page in _segments(store, camera):
            for segment in page:
                there = segment.key in left
                left.discard(segment.key)
                if segment.key in pending:
                    continue
                if not there:
                    yield Finding(grade=Grade.LOST, what="the object is missing", about=segment.key)
                elif sizes and (size := await objects.size(segment.key)) != segment.bytes:
                    detail = f"{size} bytes, {segment.bytes} in the ledger"
                    yield Finding(
                        grade=Grade.LOST, what="the object is altered", about=segment.key, detail=detail
                    )
        for key in sorted(left - pending):
            yield Finding(grade=Grade.SUSPICIOUS, what="an object that is in no ledger", about=key)


async def ceiling(store: Store, now: datetime, retention_days: int) -> AsyncIterator[Finding]:
    """Recordings that nothing holds and that should have been deleted by ``now``."""
    before = overdue_before(now, retention_days)
    holds = await store.read(lambda tx: tx.holds.of_spans())
    for camera in await store.read(lambda tx: tx.recordings.cameras()):
        async for page in _segments(store, camera, before):
            for one in page:
                if not held(holds, camera, one.start, one.end):
                    yield Finding(grade=Grade.SUSPICIOUS, what="kept beyond its ceiling", about=one.key)


async def deletions(store: Store, retention_days: int, after: int = 0) -> AsyncIterator[Finding]:
    """Records of deletions: pending ones, altered lists, lines of the register that do not vouch for them, and what went before
    its floor by the record's own times. Those whose number is above ``after``."""
    while page := await store.read(lambda tx, after=after: tx.deletions.after(after, 100)):  # type: ignore[misc]
        after = page[-1][0]
        for _, one, sha256 in page:
            if one.register_line is None:
                yield Finding(grade=Grade.SUSPICIOUS, what="a deletion that was not finished", about=one.id)
                continue
            if hashlib.sha256(one.lines).hexdigest() != sha256:
                yield Finding(grade=Grade.LOST, what="a list of deleted objects is altered", about=one.id)
            number = one.register_line
            lines = await store.read(lambda tx, n=number: tx.register.lines(after=n - 1, limit=1))  # type: ignore[misc]
            detail = json.loads(lines[0].body)["detail"] if lines and lines[0].number == number else {}
            if (detail.get("deletion"), detail.get("items_sha256")) != (one.id, sha256):
                what = "the register does not vouch for a deletion"
                yield Finding(grade=Grade.LOST, what=what, about=one.id, detail=f"line {number}")
            early = [
                str(item["key"])
                for item in one.items
                if kept_until(datetime.fromisoformat(item["end"]), retention_days) > one.at
            ]
            if early:
                what = "deleted before its floor"
                yield Finding(grade=Grade.LOST, what=what, about=one.id, detail=", ".join(early[:3]))


async def sums(store: Store) -> AsyncIterator[Finding]:
    """Hours whose kept sums (of bytes, all cameras together) are not those of their segments."""
    hours: dict[datetime, int] = {}
    for camera in await store.read(lambda tx: tx.recordings.cameras()):
        async for page in _segments(store, camera):
            for share in (share for one in page for share in hour_shares(one)):
                hours[share.hour] = hours.get(share.hour, 0) + share.bytes
    always = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    kept = await store.read(lambda tx: tx.recordings.hourly_bytes(*always))
    for hour in sorted(hours.keys() | kept.keys()):
        if hours.get(hour, 0) != kept.get(hour, 0):
            yield Finding(
                grade=Grade.SUSPICIOUS,
                what="an hour's sum is wrong",
                about=hour.isoformat(),
                detail=f"{kept.get(hour, 0)} bytes kept, {hours.get(hour, 0)} in segments",
            )


async def _segments(
    store: Store, camera: str, before: datetime | None = None
) -> AsyncIterator[list[Segment]]:
    """A camera's segments in pages, by start, locked ones included."""
    end = before or datetime.max.replace(tzinfo=UTC)
    now = datetime.max.replace(tzinfo=UTC)
    after: datetime | None = None
    while page := await store.read(
        lambda tx, after=after: tx.recordings.due(camera, end, after, now, PAGE)  # type: ignore[misc]
    ):
        yield page
        after = page[-1].start


async def register(store: Store) -> AsyncIterator[Finding]:
    """Lines of the access register that were altered or taken out: by its own hash and number, and all by the root."""
    leaves: list[bytes] = []
    after = 0
    while page := await store.read(lambda tx, after=after: tx.register.lines(after=after, limit=PAGE)):  # type: ignore[misc]
        for line in page:
            if line.number != after + 1:
                missing = f"{after + 1}" if line.number == after + 2 else f"{after + 1} to {line.number - 1}"
                yield Finding(grade=Grade.LOST, what="lines of the register are missing", about=missing)
            if not line.sound:
                yield Finding(
                    grade=Grade.LOST, what="a line of the register is altered", about=str(line.number)
                )
            after = line.number
            leaves.append(line.leaf)
    head = await store.read(lambda tx: tx.register.head())
    if len(leaves) != head.size:
        detail = f"{len(leaves)} lines, {head.size} were written"
        yield Finding(
            grade=Grade.LOST, what="lines of the register are missing", about="the end", detail=detail
        )
    elif root_of(leaves) != head.root:
        yield Finding(
            grade=Grade.LOST, what="the register is not the one whose head was signed", about="the whole"
        )


async def evidence(store: Store, objects: ObjectStore, site: str) -> AsyncIterator[Finding]:
    """Stills and clips without their object, or with one of another size; and objects of alarms that nobody knows of."""
    left = {key for plane in ("alarms", "drills") for key in await objects.keys(f"{site}/{plane}/")}
    after = 0
    while page := await store.read(lambda tx, after=after: tx.evidence.kept(after, PAGE)):  # type: ignore[misc]
        after = page[-1][0]
        for _, item in page:
            there, key = item.key in left, item.key or ""
            left.discard(key)
            if not there:
                yield Finding(
                    grade=Grade.LOST, what="the object is missing", about=key, detail=f"evidence {item.id}"
                )
            elif (size := await objects.size(key)) != item.bytes:
                detail = f"{size} bytes, {item.bytes} on record"
                yield Finding(grade=Grade.LOST, what="the object is altered", about=key, detail=detail)
    for key in sorted(left):
        yield Finding(grade=Grade.SUSPICIOUS, what="an object that is on no record", about=key)


async def hashes(
    store: Store, objects: ObjectStore, told: Callable[[int, int], None]
) -> AsyncIterator[Finding]:
    """Objects whose bytes are not those on record: reads everything that is kept. ``told`` hears how much of how much."""
    wanted: list[tuple[str, str, int]] = []
    for camera in await store.read(lambda tx: tx.recordings.cameras()):
        async for page in _segments(store, camera):
            wanted += [(one.key, one.sha256, one.bytes) for one in page]
    after = 0
    while items := await store.read(lambda tx, after=after: tx.evidence.kept(after, PAGE)):  # type: ignore[misc]
        after = items[-1][0]
        wanted += [(i.key or "", i.sha256 or "", i.bytes or 0) for _, i in items]
    whole, done = sum(size for _, _, size in wanted), 0
    for key, sha256, size in wanted:
        digest = hashlib.sha256()
        try:
            async with objects.read(key) as piece:
                while data := await piece(1 << 20):
                    digest.update(data)
        except (Unavailable, Refused) as exc:
            yield Finding(grade=Grade.LOST, what="the object cannot be read", about=key, detail=exc.reason)
        else:
            if digest.hexdigest() != sha256:
                detail = f"SHA-256 {digest.hexdigest()}, {sha256} on record"
                yield Finding(grade=Grade.LOST, what="the object is altered", about=key, detail=detail)
        done += size
        told(done, whole)

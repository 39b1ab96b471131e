"""Checking: whether the ledger, the objects and the record of deletions say the same, and keep floor and ceiling.

Functions that look and change nothing; each yields what it finds, the worst cases first in :class:`Grade`. They read in pages, so
that a month of many cameras is looked at in little memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from gateway.domain.holding import held, kept_until, overdue_before
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
    holds = await store.read(lambda tx: tx.holds.standing())
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

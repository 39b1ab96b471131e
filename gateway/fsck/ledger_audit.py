"""Checking: whether ledger, register and the record of deletions say the same, and keep floor and ceiling.

Functions that look and change nothing; each yields what it finds. They read in pages, so that a month of many cameras is looked
at in little memory. The object store is held against all this by :mod:`gateway.fsck.object_audit`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType

from gateway.domain.finding import Finding, Grade, Recount
from gateway.domain.hold import held, kept_until, overdue_before
from gateway.domain.merkle import root_of
from gateway.domain.recording import SEGMENT_S, Segment, hour_shares
from gateway.domain.recording import holes as holes_of
from gateway.ports.store import Store, Transaction
from gateway.recording.ledger import covered_until

PAGE = 1000
AT_ONCE = timedelta(days=5)  # of one camera: some 7,000 minutes
TWICE, MISDATED = "recordings bear one time twice", "recordings are dated by a wrong clock"
#: Ours: at a change of stream a group of pictures, ten seconds at the most, may be in two files.
OVERLAP = timedelta(seconds=15)
#: Ours: a finished file is found within 10 s, and a clock without NTP may drift by some seconds a day.
OFF = timedelta(minutes=2)
#: Ours: a camera's newest footage may still be in the segment being written, or on its way to the store.
ON_ITS_WAY = timedelta(seconds=2 * SEGMENT_S)


async def unexplained(
    store: Store,
    now: datetime,
    retention_days: int,
    *,
    waiting: Mapping[str, Sequence[tuple[datetime, datetime]]] = MappingProxyType({}),
    running: bool = True,
) -> AsyncIterator[Finding]:
    """Spans within the period in which a camera was to be recorded, with neither a segment nor a gap.

    ``waiting`` are spans by camera that are on their way to the ledger. While no gateway is ``running``, what comes after all
    that is known of a camera is no finding: the next start notes it as a gap.
    """
    for camera, (since, until) in (await store.read(lambda tx: tx.recordings.bounds())).items():
        begin = max(since, now - timedelta(days=retention_days))
        end = min(until or now, now - ON_ITS_WAY) if running else min(until or now, now)
        mine = waiting.get(camera, ())
        if not running and until is None:
            known = await store.read(partial(covered_until, camera=camera, now=now))
            end = min(end, max([known or begin, *(stop for _, stop in mine)]))
        at = begin
        while at < end:
            stop = min(at + AT_ONCE, end)

            def look(
                tx: Transaction,
                camera: str = camera,
                at: datetime = at,
                stop: datetime = stop,
                mine: Sequence[tuple[datetime, datetime]] = mine,
            ) -> list[Finding]:
                spans = [*mine, *((s.start, s.end) for s in tx.recordings.segments(camera, at, stop))]
                spans += [(g.start, g.end or now) for g in tx.recordings.gaps(camera, at, stop)]
                # What went by a shorter period, before the site file made it longer.
                spans += [(d.start, d.end) for d in tx.deletions.listed(at, stop, camera)]
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


async def ceiling(store: Store, now: datetime, retention_days: int) -> AsyncIterator[Finding]:
    """Recordings that nothing holds and that should have been deleted by ``now``."""
    before = overdue_before(now, retention_days)
    holds = await store.read(lambda tx: tx.holds.of_spans())
    for camera in await store.read(lambda tx: tx.recordings.cameras()):
        async for page in _segments(store, camera, before):
            for one in page:
                if not held(holds, camera, one.start, one.end):
                    yield Finding(grade=Grade.SUSPICIOUS, what="kept beyond its ceiling", about=one.key)


async def clocks(store: Store) -> AsyncIterator[Finding]:
    """Recordings that bear times of a clock that was wrong, or was set: those two of which bear one time, and those dated by
    another time than the one reckoned, which no wrong clock moves. One finding for all that follow one another."""
    for camera in await store.read(lambda tx: tx.recordings.cameras()):
        reaches: Segment | None = None
        runs: dict[str, _Run] = {}
        async for page in _segments(store, camera):
            for one in page:
                over = (
                    reaches.end - one.start if reaches is not None and reaches.id != one.id else timedelta()
                )
                off = one.end - one.reckoned_end if one.reckoned_end is not None else timedelta()
                for what, by in (
                    (TWICE, over if over > OVERLAP else None),
                    (MISDATED, off if abs(off) > OFF else None),
                ):
                    run = runs.get(what)
                    ends = by is None or (run is not None and what == MISDATED and abs(by - run.by) > OFF)
                    if ends and run is not None:
                        yield runs.pop(what).finding(what, camera)
                    if by is not None:
                        runs.setdefault(what, _Run(one.start, by)).take(one, by)
                if reaches is None or one.end > reaches.end:
                    reaches = one
        for what, run in runs.items():
            yield run.finding(what, camera)


@dataclass(slots=True)
class _Run:
    """Recordings that follow one another and have the same wrong with them."""

    start: datetime
    by: timedelta
    end: datetime | None = None
    count: int = 0

    def take(self, one: Segment, by: timedelta) -> None:
        self.end = one.end if self.end is None else max(self.end, one.end)
        self.by = by if abs(by) > abs(self.by) else self.by
        self.count += 1

    def finding(self, what: str, camera: str) -> Finding:
        assert self.end is not None
        by = abs(self.by).total_seconds()
        how = (
            f"the clock stood some {by:.0f} s {'ahead' if self.by > timedelta() else 'behind'}"
            if what == MISDATED
            else f"up to {by:.0f} s are told of twice: the clock was set back"
        )
        detail = f"{self.start.isoformat()} to {self.end.isoformat()}, {self.count} recording(s): {how}"
        return Finding(grade=Grade.SUSPICIOUS, what=what, about=camera, detail=detail)


async def deletions(store: Store, retention_days: int, after: int = 0) -> AsyncIterator[Finding]:
    """Records of deletions: pending ones, altered lists, lines of the register that do not vouch for them, and what went before
    its floor by the record's own times and the period of then, as its line has it. Those whose number is above ``after``."""
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
            days = int(detail.get("retention_days", retention_days))
            early = [
                str(item["key"])
                for item in one.items
                if kept_until(datetime.fromisoformat(item["end"]), days) > one.at
            ]
            if early:
                what = "deleted before its floor"
                yield Finding(grade=Grade.LOST, what=what, about=one.id, detail=", ".join(early[:3]))


async def sums(store: Store) -> AsyncIterator[Finding]:
    """Hours of a camera whose kept sums are not those of its segments. Each day is looked at in one read, which a gateway at work
    cannot come between."""
    for camera in await store.read(lambda tx: tx.recordings.cameras()):
        day = await store.read(lambda tx, camera=camera: _first_day(tx, camera))  # type: ignore[misc]
        while day is not None:
            wrong, day = await store.read(lambda tx, camera=camera, day=day: _day(tx, camera, day))  # type: ignore[misc]
            for finding in wrong:
                yield finding


def _first_day(tx: Transaction, camera: str) -> datetime | None:
    starts = [
        at for at in (tx.recordings.first(camera), *(s.hour for s in tx.recordings.hours(camera))) if at
    ]
    return min(starts).replace(hour=0, minute=0, second=0, microsecond=0) if starts else None


def _day(tx: Transaction, camera: str, day: datetime) -> tuple[list[Finding], datetime | None]:
    """What is wrong with a day's sums, and the next day of which anything is kept."""
    end = day + timedelta(days=1)
    counted: dict[datetime, list[int]] = {}
    for one in tx.recordings.segments(camera, day, end):
        for share in hour_shares(one):
            total = counted.setdefault(share.hour, [0, 0, 0])
            for at, value in enumerate((share.covered_ms, share.frames, share.bytes)):
                total[at] += value
    hours = tx.recordings.hours(camera)
    kept = {s.hour: [s.covered_ms, s.frames, s.bytes] for s in hours if day <= s.hour < end}
    found = [
        Finding(
            grade=Grade.SUSPICIOUS,
            what="an hour's sum is wrong",
            about=f"{camera} {hour.isoformat()}",
            detail=f"{_sum(kept.get(hour))} kept, {_sum(counted.get(hour))} in segments",
            repair=Recount(camera=camera, hour=hour),
        )
        for hour in sorted(counted.keys() | kept.keys())
        if day <= hour < end and counted.get(hour) != kept.get(hour)
    ]
    reaches = tx.recordings.reaches(camera)
    goes_on = (reaches is not None and reaches > end) or any(s.hour >= end for s in hours)
    return found, end if goes_on else None


def _sum(of: list[int] | None) -> str:
    return "nothing" if of is None else f"{of[0]} ms, {of[1]} frames, {of[2]} bytes"


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

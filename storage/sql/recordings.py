"""Rows of what was recorded and what was not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, bindparam, delete, func, literal, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from gateway.domain.recording import (
    HOUR,
    LONGEST_SEGMENT,
    CameraCoverage,
    CameraDay,
    Gap,
    GapCause,
    HourShare,
    Quality,
    Segment,
    hour_shares,
)
from gateway.domain.stored import LockDue
from gateway.domain.trust import Correction
from storage.sql.locks import to_lock
from storage.sql.tables import MICROSECOND, coverage, gap, recorded, segment

_SEGMENT = tuple(f.name for f in fields(Segment))
_GAP = tuple(f.name for f in fields(Gap))
_ADD_COVERAGE = upsert(coverage).on_conflict_do_update(
    index_elements=["camera", "hour"],
    set_={
        name: getattr(coverage.c, name) + getattr(upsert(coverage).excluded, name)
        for name in ("covered_ms", "frames", "bytes")
    },
)
_FORGET = delete(segment).where(segment.c.id == bindparam("gone"))
_TAKE_COVERAGE = (
    update(coverage)
    .where(coverage.c.camera == bindparam("of"), coverage.c.hour == bindparam("at"))
    .values(
        covered_ms=coverage.c.covered_ms - bindparam("less_ms"),
        frames=coverage.c.frames - bindparam("less_frames"),
        bytes=coverage.c.bytes - bindparam("less_bytes"),
    )
)


class SqlRecordings:
    """:class:`gateway.ports.recording_tables.Recordings` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def begin(self, camera: str, at: datetime) -> None:
        self._c.execute(
            upsert(recorded)
            .values(camera=camera, since=at, until=None)
            .on_conflict_do_update(index_elements=["camera"], set_={"until": None})
        )

    def cease(self, camera: str, at: datetime) -> None:
        self._c.execute(
            update(recorded)
            .where(recorded.c.camera == camera, or_(recorded.c.until.is_(None), recorded.c.until < at))
            .values(until=at)
        )

    def bounds(self) -> dict[str, tuple[datetime, datetime | None]]:
        return {row.camera: (row.since, row.until) for row in self._c.execute(select(recorded))}

    def add(self, one: Segment) -> bool:
        values = {name: getattr(one, name) for name in _SEGMENT} | {"quality": one.quality.value}
        added = self._c.execute(upsert(segment).values(**values).on_conflict_do_nothing())
        if added.rowcount != 1:
            return False
        for share in hour_shares(one):
            self._c.execute(_ADD_COVERAGE, {"camera": one.camera, **_share(share)})
        return True

    def at_key(self, key: str) -> Segment | None:
        row = self._c.execute(select(segment).where(segment.c.key == key)).first()
        return None if row is None else _segment(row)

    def by_key(self, after: str, limit: int) -> list[Segment]:
        query = select(segment).where(segment.c.key > after).order_by(segment.c.key).limit(limit)
        return [_segment(row) for row in self._c.execute(query)]

    def any_locked(self, now: datetime) -> bool:
        return (
            self._c.execute(select(segment.c.n).where(segment.c.locked_until > now).limit(1)).first()
            is not None
        )

    def segments(self, camera: str, start: datetime, end: datetime) -> list[Segment]:
        query = select(segment).where(
            segment.c.camera == camera, segment.c.start < end, segment.c.end > start
        )
        return [_segment(row) for row in self._c.execute(query.order_by(segment.c.start))]

    def reaches(self, camera: str, before: datetime | None = None) -> datetime | None:
        mine = [segment.c.camera == camera, *([] if before is None else [segment.c.start < before])]
        newest = self._c.execute(select(func.max(segment.c.start)).where(*mine)).scalar()
        if newest is None:
            return None
        # None lasts as long as that, so those before need not be looked at: there may be a month of them.
        near = select(func.max(segment.c.end)).where(*mine, segment.c.start >= newest - LONGEST_SEGMENT)
        found: datetime = self._c.execute(near).scalar_one()
        return found

    def locked(self, key: str, until: datetime | None, version: str | None) -> None:
        self._c.execute(
            update(segment).where(segment.c.key == key).values(locked_until=until, version=version)
        )

    def to_lock(
        self, period: timedelta, ended_after: datetime, soon: datetime, after: int, limit: int
    ) -> list[LockDue]:
        return to_lock(self._c, segment, period, ended_after, soon, after, limit)

    def open_gap(self, one: Gap) -> bool:
        values = {name: getattr(one, name) for name in _GAP} | {"cause": one.cause.value}
        return self._c.execute(upsert(gap).values(**values).on_conflict_do_nothing()).rowcount == 1

    def close_gap(self, camera: str, end: datetime) -> None:
        self._c.execute(
            update(gap)
            .where(gap.c.camera == camera, gap.c.end.is_(None))
            .values(end=func.max(gap.c.start, literal(end, gap.c.end.type)))
        )

    def gaps(self, camera: str, start: datetime, end: datetime) -> list[Gap]:
        query = select(gap).where(
            gap.c.camera == camera, gap.c.start < end, or_(gap.c.end.is_(None), gap.c.end > start)
        )
        return [_gap(row) for row in self._c.execute(query.order_by(gap.c.start))]

    def coverage(self, start: datetime, end: datetime) -> list[CameraCoverage]:
        query = (
            select(
                coverage.c.camera,
                func.sum(coverage.c.covered_ms).label("covered_ms"),
                func.sum(coverage.c.frames).label("frames"),
                func.sum(coverage.c.bytes).label("bytes"),
                func.min(coverage.c.hour).label("first"),
            )
            .where(coverage.c.hour >= start, coverage.c.hour < end, coverage.c.covered_ms > 0)
            .group_by(coverage.c.camera)
        )
        return [
            CameraCoverage(
                camera=row.camera,
                covered_ms=row.covered_ms,
                frames=row.frames,
                bytes=row.bytes,
                first_hour=row.first,
            )
            for row in self._c.execute(query)
        ]

    def cameras(self) -> list[str]:
        known = select(recorded.c.camera).union(select(coverage.c.camera))
        return sorted(row.camera for row in self._c.execute(known))

    def first(self, camera: str) -> datetime | None:
        query = select(segment.c.start).where(segment.c.camera == camera).order_by(segment.c.start).limit(1)
        return self._c.execute(query).scalar()

    def due(
        self, camera: str, before: datetime, after: datetime | None, now: datetime, limit: int
    ) -> list[Segment]:
        query = select(segment).where(
            segment.c.camera == camera,
            segment.c.start < before,
            segment.c.end < before,
            or_(segment.c.reckoned_end.is_(None), segment.c.reckoned_end < before),
            or_(segment.c.locked_until.is_(None), segment.c.locked_until <= now),
        )
        if after is not None:
            query = query.where(segment.c.start > after)
        return [_segment(row) for row in self._c.execute(query.order_by(segment.c.start).limit(limit))]

    def correct(self, reckoned: Correction) -> int:
        changed = self._c.execute(
            update(segment)
            .where(segment.c.reckoned_end.between(reckoned.since, reckoned.until))
            .values(reckoned_end=segment.c.reckoned_end + literal(reckoned.by // MICROSECOND, BigInteger))
        )
        return changed.rowcount

    def forget(self, camera: str, gone: Sequence[Segment]) -> None:
        if not gone:
            return
        self._c.execute(_FORGET, [{"gone": one.id} for one in gone])
        less: dict[datetime, list[int]] = {}
        for share in (share for one in gone for share in hour_shares(one)):
            sums = less.setdefault(share.hour, [0, 0, 0])
            for at, value in enumerate((share.covered_ms, share.frames, share.bytes)):
                sums[at] += value
        self._c.execute(
            _TAKE_COVERAGE,
            [
                {"of": camera, "at": hour, "less_ms": ms, "less_frames": frames, "less_bytes": size}
                for hour, (ms, frames, size) in less.items()
            ],
        )
        self._c.execute(
            delete(coverage).where(
                coverage.c.camera == camera, coverage.c.hour.in_(less), coverage.c.covered_ms <= 0
            )
        )

    def hours(self, camera: str) -> list[HourShare]:
        query = select(coverage).where(coverage.c.camera == camera).order_by(coverage.c.hour)
        return [
            HourShare(hour=row.hour, covered_ms=row.covered_ms, frames=row.frames, bytes=row.bytes)
            for row in self._c.execute(query)
        ]

    def recount(self, camera: str, hour: datetime) -> None:
        self._c.execute(delete(coverage).where(coverage.c.camera == camera, coverage.c.hour == hour))
        for one in self.segments(camera, hour, hour + HOUR):
            for share in hour_shares(one):
                if share.hour == hour:
                    self._c.execute(_ADD_COVERAGE, {"camera": camera, **_share(share)})

    def hourly_bytes(self, start: datetime, end: datetime) -> dict[datetime, int]:
        query = (
            select(coverage.c.hour, func.sum(coverage.c.bytes).label("bytes"))
            .where(coverage.c.hour >= start, coverage.c.hour < end)
            .group_by(coverage.c.hour)
        )
        return {row.hour: int(row.bytes) for row in self._c.execute(query)}

    def gap_seconds(self, start: datetime, end: datetime) -> dict[str, dict[str, float]]:
        query = select(gap).where(gap.c.start < end, or_(gap.c.end.is_(None), gap.c.end > start))
        found: dict[str, dict[str, float]] = {}
        for row in self._c.execute(query):
            lasts = (end if row.end is None else min(row.end, end)) - max(row.start, start)
            causes = found.setdefault(row.camera, {})
            causes[row.cause] = causes.get(row.cause, 0.0) + lasts.total_seconds()
        return found

    def days(self, edges: Sequence[datetime]) -> list[CameraDay]:
        kept: dict[tuple[str, int], list[int]] = {}
        hours = select(coverage.c.camera, coverage.c.hour, coverage.c.covered_ms, coverage.c.bytes)
        for row in self._c.execute(
            hours.where(coverage.c.hour >= edges[0], coverage.c.hour < edges[-1], coverage.c.covered_ms > 0)
        ):
            sums = kept.setdefault((row.camera, bisect_right(edges, row.hour) - 1), [0, 0])
            sums[0] += row.covered_ms
            sums[1] += row.bytes
        missing: dict[tuple[str, int], dict[str, float]] = {}
        gaps = select(gap.c.camera, gap.c.start, gap.c.end, gap.c.cause)
        for row in self._c.execute(
            gaps.where(gap.c.start < edges[-1], or_(gap.c.end.is_(None), gap.c.end > edges[0]))
        ):
            begin, end = max(row.start, edges[0]), min(row.end or edges[-1], edges[-1])
            day = bisect_right(edges, begin) - 1
            while begin < end:
                stop = min(end, edges[day + 1])
                causes = missing.setdefault((row.camera, day), {})
                causes[row.cause] = causes.get(row.cause, 0.0) + (stop - begin).total_seconds()
                begin, day = stop, day + 1
        return [
            CameraDay(
                camera=camera,
                start=edges[day],
                covered_ms=kept.get((camera, day), (0, 0))[0],
                bytes=kept.get((camera, day), (0, 0))[1],
                gaps=missing.get((camera, day), {}),
            )
            for camera, day in sorted({*kept, *missing})
        ]


def _share(share: HourShare) -> dict[str, Any]:
    return {
        "hour": share.hour,
        "covered_ms": share.covered_ms,
        "frames": share.frames,
        "bytes": share.bytes,
    }


def _segment(row: Row[Any]) -> Segment:
    values = {name: getattr(row, name) for name in _SEGMENT}
    values["quality"] = Quality(values["quality"])
    return Segment(**values)


def _gap(row: Row[Any]) -> Gap:
    values = {name: row._mapping[name] for name in _GAP}
    return Gap(**(values | {"cause": GapCause(values["cause"])}))

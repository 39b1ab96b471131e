"""Rows of what was recorded, what was not, and what was deleted of it."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from gateway.domain.recording import Gap, GapCause, HourShare, Quality, Segment, hour_shares
from gateway.ports import CameraCoverage, Deletion
from storage.sql.tables import coverage, deletion, gap, recorded, segment

_SEGMENT = tuple(f.name for f in fields(Segment))
_GAP = tuple(f.name for f in fields(Gap))
_ADD_COVERAGE = upsert(coverage).on_conflict_do_update(
    index_elements=["camera", "hour"],
    set_={
        name: getattr(coverage.c, name) + getattr(upsert(coverage).excluded, name)
        for name in ("covered_ms", "frames", "bytes")
    },
)
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
    """:class:`gateway.ports.Recordings` on a connection."""

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
            update(recorded).where(recorded.c.camera == camera, recorded.c.until.is_(None)).values(until=at)
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

    def segments(self, camera: str, start: datetime, end: datetime) -> list[Segment]:
        query = select(segment).where(
            segment.c.camera == camera, segment.c.start < end, segment.c.end > start
        )
        return [_segment(row) for row in self._c.execute(query.order_by(segment.c.start))]

    def last(self, camera: str) -> Segment | None:
        query = select(segment).where(segment.c.camera == camera).order_by(segment.c.start.desc()).limit(1)
        row = self._c.execute(query).first()
        return None if row is None else _segment(row)

    def ended_before(self, at: datetime, after: int, limit: int) -> list[tuple[int, Segment]]:
        query = select(segment).where(segment.c.end < at, segment.c.n > after)
        return [(row.n, _segment(row)) for row in self._c.execute(query.order_by(segment.c.n).limit(limit))]

    def locked(self, key: str, until: datetime | None, version: str | None) -> None:
        self._c.execute(
            update(segment).where(segment.c.key == key).values(locked_until=until, version=version)
        )

    def open_gap(self, one: Gap) -> bool:
        values = {name: getattr(one, name) for name in _GAP} | {"cause": one.cause.value}
        return self._c.execute(upsert(gap).values(**values).on_conflict_do_nothing()).rowcount == 1

    def close_gap(self, camera: str, end: datetime) -> None:
        self._c.execute(update(gap).where(gap.c.camera == camera, gap.c.end.is_(None)).values(end=end))

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

    def delete(self, gone: Sequence[Segment], record: Deletion) -> None:
        """Remove the rows of what is no longer in the store, and keep the record of it."""
        for one in gone:
            self._c.execute(delete(segment).where(segment.c.id == one.id))
            for share in hour_shares(one):
                self._c.execute(
                    _TAKE_COVERAGE,
                    {
                        "of": one.camera,
                        "at": share.hour,
                        "less_ms": share.covered_ms,
                        "less_frames": share.frames,
                        "less_bytes": share.bytes,
                    },
                )
        self.record(record)

    def record(self, record: Deletion) -> None:
        self._c.execute(
            insert(deletion),
            {
                "id": record.id,
                "at": record.at,
                "camera": record.camera,
                "alarm": record.alarm,
                "start": record.start,
                "end": record.end,
                "count": len(record.items),
                "bytes": record.size_bytes,
                "items": zlib.compress(record.lines),
                "items_sha256": hashlib.sha256(record.lines).hexdigest(),
                "register_line": record.register_line,
            },
        )

    def deletions(self, start: datetime, end: datetime, camera: str | None = None) -> list[Deletion]:
        query = select(deletion).where(deletion.c.start < end, deletion.c.end > start)
        if camera is not None:
            query = query.where(deletion.c.camera == camera)
        return [_deletion(row) for row in self._c.execute(query.order_by(deletion.c.n))]


def _share(share: HourShare) -> dict[str, Any]:
    return {
        "hour": share.hour,
        "covered_ms": share.covered_ms,
        "frames": share.frames,
        "bytes": share.bytes,
    }


def _segment(row: Row[Any]) -> Segment:
    values = {name: row._mapping[name] for name in _SEGMENT}
    return Segment(**(values | {"quality": Quality(values["quality"])}))


def _gap(row: Row[Any]) -> Gap:
    values = {name: row._mapping[name] for name in _GAP}
    return Gap(**(values | {"cause": GapCause(values["cause"])}))


def _deletion(row: Row[Any]) -> Deletion:
    return Deletion(
        id=row.id,
        at=row.at,
        camera=row.camera,
        alarm=row.alarm,
        start=row.start,
        end=row.end,
        size_bytes=row.bytes,
        items=tuple(json.loads(line) for line in zlib.decompress(row.items).splitlines()),
        register_line=row.register_line,
    )

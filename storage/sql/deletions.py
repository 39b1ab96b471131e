"""Rows of what is being deleted and what was, and of the time by which that is decided."""

from __future__ import annotations

import hashlib
import json
import zlib
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from gateway.domain.recording import Deletion
from gateway.domain.trust import TrustedTime
from storage.sql.tables import deletion as table
from storage.sql.tables import trusted_time


class SqlDeletions:
    """:class:`gateway.ports.recording_tables.Deletions` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def intend(self, intended: Deletion) -> None:
        self._c.execute(insert(table), _values(intended))

    def pending(self) -> list[Deletion]:
        query = select(table).where(table.c.register_line.is_(None)).order_by(table.c.n)
        return [_deletion(row) for row in self._c.execute(query)]

    def done(self, record: Deletion) -> None:
        self._c.execute(update(table).where(table.c.id == record.id).values(**_values(record)))

    def give_up(self, deletion: str) -> None:
        self._c.execute(delete(table).where(table.c.id == deletion, table.c.register_line.is_(None)))

    def listed(self, start: datetime, end: datetime, camera: str | None = None) -> list[Deletion]:
        of_span = select(table.c.n).where(
            table.c.start < end, table.c.end > start, table.c.register_line.is_not(None)
        )
        if camera is not None:
            of_span = of_span.where(table.c.camera == camera)
        query = select(table).where(table.c.n.in_(of_span)).order_by(table.c.n)
        return [_deletion(row) for row in self._c.execute(query)]

    def after(self, after: int, limit: int) -> list[tuple[int, Deletion, str]]:
        query = select(table).where(table.c.n > after).order_by(table.c.n).limit(limit)
        return [(row.n, _deletion(row), row.items_sha256) for row in self._c.execute(query)]


class SqlTrustedTime:
    """:class:`gateway.ports.recording_tables.TrustedTimes` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def get(self) -> TrustedTime | None:
        row = self._c.execute(select(trusted_time).where(trusted_time.c.one == 1)).first()
        if row is None:
            return None
        return TrustedTime(
            at=row.at,
            reckoned=row.reckoned,
            granted=timedelta(seconds=row.granted_s),
            confirmed_at=row.confirmed_at,
            confirmed_by=row.confirmed_by,
            unsure_since=row.unsure_since,
        )

    def keep(self, trusted: TrustedTime) -> None:
        values = {
            "at": trusted.at,
            "reckoned": trusted.reckoned,
            "granted_s": trusted.granted.total_seconds(),
            "confirmed_at": trusted.confirmed_at,
            "confirmed_by": trusted.confirmed_by,
            "unsure_since": trusted.unsure_since,
        }
        self._c.execute(
            upsert(trusted_time)
            .values(one=1, **values)
            .on_conflict_do_update(index_elements=["one"], set_=values)
        )


def _values(one: Deletion) -> dict[str, Any]:
    lines = one.lines
    return {
        "id": one.id,
        "at": one.at,
        "camera": one.camera,
        "alarm": one.alarm,
        "start": one.start,
        "end": one.end,
        "count": len(one.items),
        "bytes": one.size_bytes,
        "items": zlib.compress(lines, 1),  # hashes do not shrink: more effort brings nothing
        "items_sha256": hashlib.sha256(lines).hexdigest(),
        "register_line": one.register_line,
    }


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

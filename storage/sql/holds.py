"""Rows of holds."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, select, update

from gateway.domain.hold import Hold
from storage.sql.tables import alarm
from storage.sql.tables import hold as table

_COLUMNS = tuple(f.name for f in fields(Hold))


class SqlHolds:
    """:class:`gateway.ports.recording_tables.Holds` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def place(self, hold: Hold) -> None:
        self._c.execute(insert(table), {name: getattr(hold, name) for name in _COLUMNS})

    def unwritten(self, limit: int) -> list[tuple[str, datetime]]:
        query = (
            select(alarm.c.id, alarm.c.raised_at)
            .where(alarm.c.drill.is_(None), ~exists().where(table.c.alarm == alarm.c.id))
            .order_by(alarm.c.raised_at)
            .limit(limit)
        )
        return [(row.id, row.raised_at) for row in self._c.execute(query)]

    def get(self, hold: str) -> Hold | None:
        row = self._c.execute(select(table).where(table.c.id == hold)).first()
        return None if row is None else _hold(row)

    def standing(self) -> list[Hold]:
        query = select(table).where(table.c.released_at.is_(None)).order_by(table.c.n)
        return [_hold(row) for row in self._c.execute(query)]

    def of_spans(self) -> list[Hold]:
        query = select(table).where(table.c.released_at.is_(None), table.c.start.is_not(None))
        return [_hold(row) for row in self._c.execute(query.order_by(table.c.n))]

    def late(self, now: datetime) -> list[Hold]:
        query = select(table).where(table.c.released_at.is_(None), table.c.review_at <= now)
        return [_hold(row) for row in self._c.execute(query.order_by(table.c.n))]

    def of_alarm(self, alarm: str) -> list[Hold]:
        query = select(table).where(table.c.alarm == alarm).order_by(table.c.n)
        return [_hold(row) for row in self._c.execute(query)]

    def listed(self, limit: int) -> list[Hold]:
        return [_hold(row) for row in self._c.execute(select(table).order_by(table.c.n.desc()).limit(limit))]

    def release(self, hold: str, at: datetime, by: str, unit: str, reason: str) -> bool:
        changed = self._c.execute(
            update(table)
            .where(table.c.id == hold, table.c.released_at.is_(None))
            .values(released_at=at, released_by=by, released_unit=unit, released_reason=reason)
        )
        return changed.rowcount == 1

    def review(self, hold: str, at: datetime) -> None:
        self._c.execute(update(table).where(table.c.id == hold).values(review_at=at))


def _hold(row: Row[Any]) -> Hold:
    return Hold(**{name: row._mapping[name] for name in _COLUMNS})

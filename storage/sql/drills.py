"""Rows of drill windows."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gateway.domain.drill import DrillWindow
from storage.sql.tables import drill_window as table

_COLUMNS = tuple(f.name for f in fields(DrillWindow))


class SqlDrillWindows:
    """:class:`gateway.ports.alarm_tables.DrillWindows` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def add(self, window: DrillWindow) -> None:
        self._c.execute(insert(table), {name: getattr(window, name) for name in _COLUMNS})

    def get(self, window: str) -> DrillWindow | None:
        row = self._c.execute(select(table).where(table.c.id == window)).first()
        return None if row is None else _window(row)

    def standing(self, now: datetime, point: str | None = None) -> list[DrillWindow]:
        query = select(table).where(table.c.until > now, table.c.ended_by.is_(None))
        if point is not None:
            query = query.where(table.c.point == point)
        return [_window(row) for row in self._c.execute(query.order_by(table.c.armed_at))]

    def received(self, window: str, at: datetime) -> None:
        self._c.execute(
            update(table).where(table.c.id == window, table.c.received_at.is_(None)).values(received_at=at)
        )

    def end(self, window: str, by: str) -> None:
        self._c.execute(
            update(table).where(table.c.id == window, table.c.ended_by.is_(None)).values(ended_by=by)
        )


def _window(row: Row[Any]) -> DrillWindow:
    return DrillWindow(**{name: row._mapping[name] for name in _COLUMNS})

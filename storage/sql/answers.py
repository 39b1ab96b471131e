"""Rows of what the centre said in answer bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from gateway.domain.answer import AnsweredItem, ItemKind
from storage.sql.tables import answer_item as table

_COLUMNS = tuple(f.name for f in fields(AnsweredItem))


class SqlAnswerItems:
    """:class:`gateway.ports.alarm_tables.AnswerItems` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def get(self, item: str) -> AnsweredItem | None:
        row = self._c.execute(select(table).where(table.c.id == item)).first()
        return None if row is None else _item(row)

    def add(self, item: AnsweredItem) -> None:
        values = {name: getattr(item, name) for name in _COLUMNS}
        self._c.execute(insert(table), {**values, "kind": item.kind.value})

    def seen_again(self, item: str, at: datetime) -> None:
        self._c.execute(update(table).where(table.c.id == item).values(seen_at=at, told=False))

    def untold(self, limit: int) -> list[AnsweredItem]:
        query = (
            select(table).where(table.c.told.is_(False)).order_by(table.c.seen_at, table.c.id).limit(limit)
        )
        return [_item(row) for row in self._c.execute(query)]

    def told(self, items: Sequence[str]) -> None:
        self._c.execute(update(table).where(table.c.id.in_(items)).values(told=True))

    def forget(self, before: datetime) -> None:
        self._c.execute(delete(table).where(table.c.seen_at < before))


def _item(row: Row[Any]) -> AnsweredItem:
    values = {name: row._mapping[name] for name in _COLUMNS}
    values["kind"] = ItemKind(values["kind"])
    return AnsweredItem(**values)

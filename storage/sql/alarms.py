"""Rows of alarms and their timelines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, insert, literal_column, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from gateway.domain.alarm import Alarm, Drill, State, TimelineEntry
from gateway.domain.plan import Severity
from storage.sql.prepared import PreparedInsert
from storage.sql.tables import alarm as table
from storage.sql.tables import timeline

_COLUMNS = tuple(f.name for f in fields(Alarm))
_GET = select(table).where(table.c.id == bindparam("alarm"))
#: Alarms that are open, drills left out: as the unique index has it.
REAL_OPEN = (table.c.state != literal_column("'closed'")) & table.c.drill.is_(None)
_OPEN_AT = select(table).where(table.c.point == bindparam("at"), REAL_OPEN)
_ADD = PreparedInsert(
    upsert(table).on_conflict_do_nothing(index_elements=["point"], index_where=REAL_OPEN),
    _COLUMNS,
)
_SAVE = (
    update(table)
    .where(table.c.id == bindparam("the_id"))
    .values({c: bindparam(c) for c in _COLUMNS if c != "id"})
)
_NOTE = PreparedInsert(insert(timeline), ("alarm", "at", "what", "detail"))


class SqlAlarms:
    """:class:`gateway.ports.alarm_tables.Alarms` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def get(self, alarm: str) -> Alarm | None:
        row = self._c.execute(_GET, {"alarm": alarm}).first()
        return None if row is None else _alarm(row)

    def open_at(self, point: str) -> Alarm | None:
        row = self._c.execute(_OPEN_AT, {"at": point}).first()
        return None if row is None else _alarm(row)

    def add(self, alarm: Alarm) -> bool:
        return _ADD.run(self._c, _values(alarm)).rowcount == 1

    def save(self, alarm: Alarm) -> None:
        values = _values(alarm)
        self._c.execute(_SAVE, {**values, "the_id": values.pop("id")})

    def note(self, alarm: str, at: datetime, what: str, detail: Mapping[str, Any]) -> None:
        text = json.dumps(dict(detail), ensure_ascii=False, default=str)
        _NOTE.run(self._c, {"alarm": alarm, "at": at, "what": what, "detail": text})

    def timeline(self, alarm: str) -> list[TimelineEntry]:
        rows = self._c.execute(select(timeline).where(timeline.c.alarm == alarm).order_by(timeline.c.n))
        return [TimelineEntry(at=r.at, what=r.what, detail=json.loads(r.detail)) for r in rows]

    def steps(self, after: int) -> list[tuple[int, str, str]]:
        query = select(timeline.c.n, timeline.c.alarm, timeline.c.what).where(timeline.c.n > after)
        return [(r.n, r.alarm, r.what) for r in self._c.execute(query.order_by(timeline.c.n).limit(1000))]

    def last_step(self) -> int:
        return int(self._c.execute(select(func.max(timeline.c.n))).scalar() or 0)

    def listed(
        self,
        *,
        states: Sequence[State] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int = 100,
        drills: bool = False,
    ) -> list[Alarm]:
        query = select(table).order_by(table.c.raised_at.desc(), table.c.id.desc()).limit(limit)
        query = query.where(table.c.drill.is_not(None) if drills else table.c.drill.is_(None))
        if states is not None:
            query = query.where(table.c.state.in_([s.value for s in states]))
        if since is not None:
            query = query.where(table.c.raised_at >= since)
        if until is not None:
            query = query.where(table.c.raised_at < until)
        if before is not None:
            at, id_ = before
            query = query.where(or_(table.c.raised_at < at, and_(table.c.raised_at == at, table.c.id < id_)))
        return [_alarm(row) for row in self._c.execute(query)]

    def open(self) -> list[Alarm]:
        query = select(table).where(REAL_OPEN).order_by(table.c.raised_at, table.c.id)
        return [_alarm(row) for row in self._c.execute(query)]

    def open_drills(self) -> list[Alarm]:
        query = select(table).where(table.c.state != "closed", table.c.drill.is_not(None))
        return [_alarm(row) for row in self._c.execute(query.order_by(table.c.raised_at, table.c.id))]

    def last_drill(self, kind: Drill) -> Alarm | None:
        query = select(table).where(table.c.drill == kind.value).order_by(table.c.raised_at.desc()).limit(1)
        row = self._c.execute(query).first()
        return None if row is None else _alarm(row)

    def planned(self) -> list[Alarm]:
        planned = or_(table.c.manifest_due_at.is_not(None), table.c.during_next_at.is_not(None))
        return [
            _alarm(row) for row in self._c.execute(select(table).where(planned).order_by(table.c.raised_at))
        ]


def _values(alarm: Alarm) -> dict[str, Any]:
    values = {name: getattr(alarm, name) for name in _COLUMNS}
    values["severity"], values["state"] = alarm.severity.value, alarm.state.value
    values["cameras"] = json.dumps(alarm.cameras)
    values["drill"] = None if alarm.drill is None else alarm.drill.value
    return values


def _alarm(row: Row[Any]) -> Alarm:
    values = dict(row._mapping)
    values["severity"], values["state"] = Severity(values["severity"]), State(values["state"])
    values["cameras"] = tuple(json.loads(values["cameras"]))
    values["drill"] = None if values["drill"] is None else Drill(values["drill"])
    return Alarm(**values)

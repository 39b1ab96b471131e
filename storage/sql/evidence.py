"""Rows of evidence and of the centre's requests for more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, exists, func, insert, or_, select, update

from gateway.domain.alarm import Request
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from gateway.domain.ids import DRILL
from gateway.domain.message import Attempt
from gateway.domain.stored import LockDue
from storage.sql.locks import to_lock
from storage.sql.messages import add_attempt, read_attempt
from storage.sql.prepared import PreparedInsert
from storage.sql.tables import attempt as attempt_table
from storage.sql.tables import evidence as table
from storage.sql.tables import hold
from storage.sql.tables import request as request_table

_COLUMNS = tuple(f.name for f in fields(Evidence))
_REQUEST_COLUMNS = tuple(f.name for f in fields(Request))
_ADD = PreparedInsert(insert(table), _COLUMNS)
_SAVE = (
    update(table)
    .where(table.c.id == bindparam("the_id"))
    .values({c: bindparam(c) for c in _COLUMNS if c != "id"})
)

_HOLDS = hold.c.alarm == table.c.alarm
_RELEASED = exists().where(_HOLDS) & ~exists().where(_HOLDS, hold.c.released_at.is_(None))


class SqlEvidence:
    """:class:`gateway.ports.alarm_tables.EvidenceRows` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def add(self, items: Sequence[Evidence]) -> None:
        if items:
            _ADD.run_many(self._c, [_values(item) for item in items])

    def get(self, evidence: str) -> Evidence | None:
        row = self._c.execute(select(table).where(table.c.id == evidence)).first()
        return None if row is None else _evidence(row)

    def save(self, item: Evidence) -> None:
        values = _values(item)
        self._c.execute(_SAVE, {**values, "the_id": values.pop("id")})

    def at_key(self, key: str) -> Evidence | None:
        row = self._c.execute(select(table).where(table.c.key == key)).first()
        return None if row is None else _evidence(row)

    def of(self, alarm: str) -> list[Evidence]:
        query = select(table).where(table.c.alarm == alarm).order_by(table.c.n)
        return [_evidence(row) for row in self._c.execute(query)]

    def wanted(self, after: int) -> list[tuple[int, Evidence]]:
        query = select(table).where(table.c.state == EvidenceState.WANTED.value, table.c.n > after)
        return [(row.n, _evidence(row)) for row in self._c.execute(query.order_by(table.c.n))]

    def not_uploaded(self, stored_before: datetime) -> list[Evidence]:
        query = select(table).where(
            table.c.uploaded_at.is_(None),
            table.c.stored_at < stored_before,
            table.c.state == EvidenceState.STORED.value,
        )
        return [_evidence(row) for row in self._c.execute(query.limit(100))]

    def to_push(self, stored_since: datetime | None) -> list[tuple[Evidence, int]]:
        tried = select(func.count()).where(attempt_table.c.message == table.c.id).scalar_subquery()
        # Not by state, which is that of a month's evidence: what is stored has its time, and by that it is found.
        query = select(table, tried.label("tried")).where(
            table.c.uploaded_at.is_(None),
            table.c.stored_at.is_not(None),
            table.c.state != EvidenceState.DELETED.value,
        )
        if stored_since is not None:
            query = query.where(table.c.stored_at >= stored_since)
        return [(_evidence(row), row.tried) for row in self._c.execute(query.order_by(table.c.n))]

    def untold(self, limit: int) -> list[Evidence]:
        query = select(table).where(
            table.c.stored_at.is_not(None),
            table.c.told_at.is_(None),
            table.c.state != EvidenceState.DELETED.value,
        )
        return [_evidence(row) for row in self._c.execute(query.order_by(table.c.n).limit(limit))]

    def kept(self, after: int, limit: int) -> list[tuple[int, Evidence]]:
        query = select(table).where(table.c.state == EvidenceState.STORED.value, table.c.n > after)
        return [(row.n, _evidence(row)) for row in self._c.execute(query.order_by(table.c.n).limit(limit))]

    def by_key(self, after: str, limit: int) -> list[Evidence]:
        # "|| ''": by state, which is that of nearly all, they would be sorted anew for each page.
        stored = table.c.state.concat("") == EvidenceState.STORED.value
        query = select(table).where(stored, table.c.key > after).order_by(table.c.key).limit(limit)
        return [_evidence(row) for row in self._c.execute(query)]

    def any_locked(self, now: datetime) -> bool:
        return (
            self._c.execute(select(table.c.n).where(table.c.locked_until > now).limit(1)).first() is not None
        )

    def due(self, before: datetime, after: int, limit: int) -> list[tuple[int, Evidence]]:
        query = select(table).where(
            table.c.state == EvidenceState.STORED.value,
            table.c.end < before,
            table.c.n > after,
            or_(table.c.alarm.startswith(f"{DRILL}_", autoescape=True), _RELEASED),
        )
        return [(row.n, _evidence(row)) for row in self._c.execute(query.order_by(table.c.n).limit(limit))]

    def to_lock(
        self, period: timedelta, ended_after: datetime, soon: datetime, after: int, limit: int
    ) -> list[LockDue]:
        return to_lock(self._c, table, period, ended_after, soon, after, limit)

    def locked(self, key: str, until: datetime | None, version: str | None) -> None:
        self._c.execute(update(table).where(table.c.key == key).values(locked_until=until, version=version))

    def attempted(self, attempt: Attempt) -> None:
        add_attempt(self._c, attempt)

    def attempts(self, alarm: str) -> Mapping[str, list[Attempt]]:
        query = (
            select(attempt_table)
            .join(table, table.c.id == attempt_table.c.message)
            .where(table.c.alarm == alarm)
            .order_by(attempt_table.c.n)
        )
        found: dict[str, list[Attempt]] = {}
        for row in self._c.execute(query):
            found.setdefault(row.message, []).append(read_attempt(row))
        return found


class SqlRequests:
    """:class:`gateway.ports.alarm_tables.Requests` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def add(self, request: Request) -> None:
        self._c.execute(insert(request_table), _request_values(request))

    def get(self, request: str) -> Request | None:
        row = self._c.execute(select(request_table).where(request_table.c.id == request)).first()
        return None if row is None else _request(row)

    def save(self, request: Request) -> None:
        self._c.execute(
            update(request_table).where(request_table.c.id == request.id).values(_request_values(request))
        )

    def about(self, alarm: str) -> list[Request]:
        query = select(request_table).where(request_table.c.alarm == alarm).order_by(request_table.c.n)
        return [_request(row) for row in self._c.execute(query)]


def _values(item: Evidence) -> dict[str, Any]:
    values = {name: getattr(item, name) for name in _COLUMNS}
    for name in ("kind", "moment", "state"):
        values[name] = values[name].value
    return values


def _evidence(row: Row[Any]) -> Evidence:
    values = {name: row._mapping[name] for name in _COLUMNS}
    values["kind"], values["moment"] = Kind(values["kind"]), Moment(values["moment"])
    values["state"] = EvidenceState(values["state"])
    return Evidence(**values)


def _request_values(request: Request) -> dict[str, Any]:
    values = {name: getattr(request, name) for name in _REQUEST_COLUMNS}
    values["operator"] = json.dumps(dict(request.operator), ensure_ascii=False)
    return values


def _request(row: Row[Any]) -> Request:
    values = {name: row._mapping[name] for name in _REQUEST_COLUMNS}
    values["operator"] = json.loads(values["operator"])
    return Request(**values)

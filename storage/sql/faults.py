"""Rows of faults."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gateway.domain.fault import Fault, FaultKind
from storage.sql.tables import fault as table


class SqlFaults:
    """:class:`gateway.ports.service_tables.Faults` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def open(self) -> list[Fault]:
        query = select(table).where(table.c.cleared_at.is_(None)).order_by(table.c.n)
        return [_fault(row) for row in self._c.execute(query)]

    def find(self, kind: str, subject: str) -> Fault | None:
        query = select(table).where(
            table.c.kind == kind, table.c.subject == subject, table.c.cleared_at.is_(None)
        )
        row = self._c.execute(query).first()
        return None if row is None else _fault(row)

    def add(self, fault: Fault) -> None:
        self._c.execute(
            insert(table),
            {
                "id": fault.id,
                "kind": fault.kind.value,
                "subject": fault.subject,
                "cause": fault.cause,
                "since": fault.since,
                "cleared_at": fault.cleared_at,
            },
        )

    def clear(self, fault: str, at: datetime) -> None:
        self._c.execute(update(table).where(table.c.id == fault).values(cleared_at=at))

    def listed(self, limit: int) -> list[Fault]:
        return [_fault(row) for row in self._c.execute(select(table).order_by(table.c.n.desc()).limit(limit))]


def _fault(row: Row[Any]) -> Fault:
    return Fault(
        id=row.id,
        kind=FaultKind(row.kind),
        subject=row.subject,
        cause=row.cause,
        since=row.since,
        cleared_at=row.cleared_at,
    )

"""Rows of the outbox: messages and every attempt at delivering them."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from gateway.domain.message import Attempt, Message, MessageType, Outcome
from storage.sql.prepared import PreparedInsert
from storage.sql.tables import attempt as attempt_table
from storage.sql.tables import message as table

_COLUMNS = tuple(f.name for f in fields(Message))
_ADD = PreparedInsert(insert(table), (*_COLUMNS, "superseded"))
_PENDING = (
    select(table)
    .where(
        table.c.n > bindparam("after"),
        table.c.received_at.is_(None),
        table.c.superseded.is_(False),
    )
    .order_by(table.c.n)
    .limit(bindparam("most"))
)
_ATTEMPT = PreparedInsert(
    insert(attempt_table), ("message", "path", "at", "took_ms", "status", "outcome", "detail")
)
_DUE = (
    update(table)
    .where(table.c.id == bindparam("the_id"))
    .values(
        due_at=bindparam("due"),
        attempts=table.c.attempts + 1,
        first_attempt_at=func.coalesce(
            table.c.first_attempt_at, bindparam("at", type_=table.c.created_at.type)
        ),
    )
)
_RECEIVED = (
    update(table)
    .where(table.c.id == bindparam("the_id"), table.c.received_at.is_(None))
    .values(
        received_at=bindparam("received"),
        attempts=table.c.attempts + 1,
        first_attempt_at=func.coalesce(
            table.c.first_attempt_at, bindparam("at", type_=table.c.created_at.type)
        ),
    )
)


class SqlMessages:
    """:class:`gateway.ports.alarm_tables.Messages` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def add(self, message: Message) -> None:
        values = {name: getattr(message, name) for name in _COLUMNS}
        _ADD.run(self._c, {**values, "type": message.type.value, "superseded": False})

    def pending(self, after: int, limit: int) -> list[tuple[int, Message]]:
        return [(row.n, _message(row)) for row in self._c.execute(_PENDING, {"after": after, "most": limit})]

    def body(self, message: str) -> bytes:
        return bytes(self._c.execute(select(table.c.body).where(table.c.id == message)).scalar_one())

    def telling_attempts(self) -> list[tuple[str, str, int | None, Outcome]]:
        row = attempt_table.c
        telling = row.outcome.in_([Outcome.UNANSWERED.value, Outcome.DOUBTFUL.value]) | (row.status == 409)
        query = (
            select(row.message, row.path, row.status, row.outcome)
            .join(table, table.c.id == row.message)
            .where(table.c.received_at.is_(None), table.c.superseded.is_(False), telling)
        )
        return [(r.message, r.path, r.status, Outcome(r.outcome)) for r in self._c.execute(query)]

    def attempted(self, attempt: Attempt, due_at: Any) -> bool:
        add_attempt(self._c, attempt)
        if attempt.outcome is Outcome.RECEIVED:
            done = self._c.execute(
                _RECEIVED, {"the_id": attempt.message, "received": attempt.at, "at": attempt.at}
            )
            return done.rowcount == 1
        self._c.execute(_DUE, {"the_id": attempt.message, "due": due_at, "at": attempt.at})
        return False

    def about(self, subject: str) -> list[tuple[Message, list[Attempt]]]:
        rows = self._c.execute(
            select(table).where(table.c.subject == subject).order_by(table.c.sequence, table.c.n)
        )
        messages = [_message(row) for row in rows]
        attempts: dict[str, list[Attempt]] = {m.id: [] for m in messages}
        query = (
            select(attempt_table)
            .join(table, table.c.id == attempt_table.c.message)
            .where(table.c.subject == subject)
            .order_by(attempt_table.c.n)
        )
        for row in self._c.execute(query):
            attempts[row.message].append(read_attempt(row))
        return [(m, attempts[m.id]) for m in messages]

    def unreceived(self, type_: str) -> list[tuple[str, datetime, str]]:
        last = (
            select(attempt_table.c.detail)
            .where(attempt_table.c.message == table.c.id)
            .order_by(attempt_table.c.n.desc())
            .limit(1)
            .scalar_subquery()
        )
        query = (
            select(table.c.subject, table.c.created_at, last)
            .where(
                table.c.received_at.is_(None),
                table.c.superseded.is_(False),
                table.c.type == type_,
            )
            .order_by(table.c.n)
            .limit(100)
        )
        return [(subject, at, detail or "not tried yet") for subject, at, detail in self._c.execute(query)]

    def supersede(self, type_: str) -> None:
        self._c.execute(
            update(table).where(table.c.type == type_, table.c.received_at.is_(None)).values(superseded=True)
        )

    def undelivered(self) -> int:
        query = select(func.count()).where(table.c.received_at.is_(None), table.c.superseded.is_(False))
        return int(self._c.execute(query).scalar_one())


def add_attempt(connection: Connection, attempt: Attempt) -> None:
    """Keep an attempt at a message, or at the upload of an item: its ``message`` is then the item's id."""
    _ATTEMPT.run(
        connection,
        {
            "message": attempt.message,
            "path": attempt.path,
            "at": attempt.at,
            "took_ms": attempt.took_ms,
            "status": attempt.status,
            "outcome": attempt.outcome.value,
            "detail": attempt.detail,
        },
    )


def read_attempt(row: Row[Any]) -> Attempt:
    """A row of attempts."""
    return Attempt(
        message=row.message,
        path=row.path,
        at=row.at,
        took_ms=row.took_ms,
        status=row.status,
        outcome=Outcome(row.outcome),
        detail=row.detail,
    )


def _message(row: Row[Any]) -> Message:
    return Message(
        id=row.id,
        type=MessageType(row.type),
        subject=row.subject,
        sequence=row.sequence,
        body=row.body,
        created_at=row.created_at,
        due_at=row.due_at,
        attempts=row.attempts,
        first_attempt_at=row.first_attempt_at,
        received_at=row.received_at,
    )

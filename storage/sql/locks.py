"""Which objects are locked for less than their period: one question to two tables."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Connection, Table, func, or_, select, type_coerce

from gateway.domain.stored import LockDue
from storage.sql.tables import segment

_SECOND_US = 1_000_000  # stores count locks in whole seconds


def to_lock(
    connection: Connection,
    table: Table,
    period: timedelta,
    ended_after: datetime,
    soon: datetime,
    after: int,
    limit: int,
) -> list[LockDue]:
    """See :meth:`gateway.ports.alarm_tables.EvidenceRows.to_lock`.

    Finds by the end of the lock: among a million objects that are locked as they should be it reads only those whose period is
    nearly over.
    """
    c = table.c
    end = (
        func.max(c.end, func.coalesce(c.reckoned_end, c.end), type_=c.end.type) if table is segment else c.end
    )
    whole_us = type_coerce(end, BigInteger) + round(period / timedelta(microseconds=1)) - _SECOND_US
    # "+ 0": by number all rows would be walked through in search of the few.
    number = c.n + 0
    query = select(c.n, c.key, end.label("ended"), c.bytes, c.version, c.locked_until).where(
        or_(c.locked_until.is_(None), c.locked_until < soon),
        or_(c.locked_until.is_(None), type_coerce(c.locked_until, BigInteger) < whole_us),
        end > ended_after,
        c.stored_at.is_not(None),
        number > after,
    )
    return [
        LockDue(
            number=row.n,
            key=row.key,
            end=row.ended,
            bytes=row.bytes,
            version=row.version,
            locked_until=row.locked_until,
        )
        for row in connection.execute(query.order_by(number).limit(limit))
    ]

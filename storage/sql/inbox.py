"""Rows of what contacts said."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from gateway.domain.contact import Memory
from gateway.domain.inbox import InboxEntry
from storage.sql.alarms import REAL_OPEN
from storage.sql.prepared import PreparedInsert
from storage.sql.remembered import from_text, to_text
from storage.sql.tables import alarm, contact_memory, inbox, quarantine

QUARANTINE_HEAD_BYTES = 1024

# Statements are built once: on the way of a press every tenth of a millisecond is seen in the benchmark.
_REDELIVERY = select(inbox.c.n).where(
    inbox.c.topic == bindparam("topic"),
    inbox.c.digest == bindparam("digest"),
    inbox.c.mid == bindparam("mid"),
    inbox.c.settled.is_(False),
)
_BOUNCED = (
    select(inbox.c.n)
    .where(
        inbox.c.topic == bindparam("topic"),
        inbox.c.digest == bindparam("digest"),
        inbox.c.arrived_at >= bindparam("since"),
        inbox.c.arrived_at <= bindparam("until"),
        inbox.c.alarm.is_not(None),
    )
    .limit(1)
)
_ADD = upsert(inbox).on_conflict_do_nothing(index_elements=["identity"])
_COLUMNS = ("identity", "topic", "digest", "mid", "settled", "arrived_at")
_ADMIT = PreparedInsert(_ADD, (*_COLUMNS, "alarm"))
_OPEN_THERE = select(alarm.c.id).where(alarm.c.point == bindparam("at"), REAL_OPEN).scalar_subquery()
_ADMIT_PRESS = PreparedInsert(
    _ADD.values(alarm=func.coalesce(_OPEN_THERE, bindparam("alarm", type_=inbox.c.alarm.type))).returning(
        inbox.c.alarm
    ),
    _COLUMNS,
)
_NOT_SETTLED = (inbox.c.mid == bindparam("packet"), inbox.c.settled.is_(False))
_SETTLE = update(inbox).where(*_NOT_SETTLED).values(settled=True)
_DROP = delete(inbox).where(*_NOT_SETTLED, inbox.c.alarm.is_(None))
_UNSETTLED = select(inbox.c.mid).where(inbox.c.settled.is_(False))
_MEMORY = select(contact_memory).where(contact_memory.c.source == bindparam("source"))
_ADMITTED = select(inbox.c.digest, inbox.c.arrived_at).where(inbox.c.identity == bindparam("name"))
_OF_SOURCE = (inbox.c.identity >= bindparam("first"), inbox.c.identity < bindparam("beyond"))
_LAST = (
    select(inbox.c.identity)
    .where(*_OF_SOURCE, inbox.c.alarm.is_not(None))
    .order_by(inbox.c.n.desc())
    .limit(1)
)
_RELEASE = update(inbox).where(inbox.c.identity == bindparam("name")).values(identity=None)
_RELEASE_ALL = update(inbox).where(*_OF_SOURCE).values(identity=None)


def _between(prefix: str) -> dict[str, str]:
    """Texts that begin with ``prefix``, by the index: there is no other letter as great as the last one of Unicode."""
    return {"first": prefix, "beyond": prefix + "\U0010ffff"}


def _memory(row: Any) -> Memory:
    return Memory(
        closed=row.closed,
        down=row.down,
        tail_until=row.tail_until,
        freed_until=row.freed_until,
        counter=row.counter,
        counted_at=row.counted_at,
        **from_text(row.more),
    )


def _values(entry: InboxEntry) -> dict[str, Any]:
    return {
        "identity": entry.identity,
        "topic": entry.topic,
        "digest": entry.digest,
        "mid": entry.mid,
        "settled": entry.mid == 0,  # at QoS 0 nothing is delivered twice
        "arrived_at": entry.arrived_at,
        "alarm": entry.alarm,
    }


class SqlInbox:
    """:class:`gateway.ports.alarm_tables.Inbox` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def redelivery(self, topic: str, digest: str, mid: int) -> bool:
        return (
            self._c.execute(_REDELIVERY, {"topic": topic, "digest": digest, "mid": mid}).first() is not None
        )

    def bounced(self, topic: str, digest: str, since: datetime, until: datetime) -> bool:
        values = {"topic": topic, "digest": digest, "since": since, "until": until}
        return self._c.execute(_BOUNCED, values).first() is not None

    def admit(self, entry: InboxEntry) -> bool:
        return _ADMIT.run(self._c, _values(entry)).rowcount == 1

    def admit_press(self, entry: InboxEntry, point: str) -> str | None:
        rows = _ADMIT_PRESS.run(self._c, {**_values(entry), "at": point}).fetchall()
        return str(rows[0][0]) if rows else None

    def admitted(self, identity: str) -> tuple[str, datetime] | None:
        row = self._c.execute(_ADMITTED, {"name": identity}).first()
        return None if row is None else (row.digest, row.arrived_at)

    def last_identity(self, prefix: str) -> str | None:
        return self._c.execute(_LAST, _between(prefix)).scalar()

    def release(self, identity: str) -> None:
        self._c.execute(_RELEASE, {"name": identity})

    def release_all(self, prefix: str) -> None:
        self._c.execute(_RELEASE_ALL, _between(prefix))

    def note(self, identity: str, topic: str, at: datetime) -> None:
        # Under no packet id: what is kept for a DUP is dropped with its packet id, this is not.
        self.admit(InboxEntry(identity=identity, topic=topic, digest="", mid=0, arrived_at=at, alarm=None))

    def settle(self, mid: int) -> None:
        self._c.execute(_DROP, {"packet": mid})
        self._c.execute(_SETTLE, {"packet": mid})

    def unsettled(self) -> set[int]:
        return set(self._c.execute(_UNSETTLED).scalars())

    def memory(self, source: str) -> Memory:
        row = self._c.execute(_MEMORY, {"source": source}).first()
        return Memory() if row is None else _memory(row)

    def memories(self) -> dict[str, Memory]:
        return {row.source: _memory(row) for row in self._c.execute(select(contact_memory))}

    def remember(self, source: str, memory: Memory) -> None:
        values = {
            "closed": memory.closed,
            "down": memory.down,
            "tail_until": memory.tail_until,
            "freed_until": memory.freed_until,
            "counter": memory.counter,
            "counted_at": memory.counted_at,
            "more": to_text(memory),
        }
        self._c.execute(
            upsert(contact_memory)
            .values(source=source, **values)
            .on_conflict_do_update(index_elements=["source"], set_=values)
        )

    def quarantine(self, topic: str, payload: bytes, reason: str, at: datetime) -> None:
        self._c.execute(
            insert(quarantine),
            {
                "topic": topic,
                "at": at,
                "reason": reason,
                "size": len(payload),
                "sha256": hashlib.sha256(payload).hexdigest(),
                "head": payload[:QUARANTINE_HEAD_BYTES],
            },
        )

    def forget(self, before: datetime) -> None:
        self._c.execute(delete(inbox).where(inbox.c.arrived_at < before))
        self._c.execute(delete(quarantine).where(quarantine.c.at < before))

    def quarantined(self, limit: int) -> list[Mapping[str, Any]]:
        rows = self._c.execute(select(quarantine).order_by(quarantine.c.n.desc()).limit(limit))
        return [dict(row._mapping) for row in rows]

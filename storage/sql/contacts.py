"""Rows of what contacts last told of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from gateway.domain.liveness import Seen
from storage.sql.tables import contact_seen, listening

_COLUMNS = tuple(f.name for f in fields(Seen))


def seen_of_file(database: Path) -> dict[str, Seen]:
    """What contacts last told of themselves, by a database that is only read, beside a running gateway or without one. Empty if
    it cannot be read, or is of another version."""
    try:
        engine = create_engine(f"sqlite:///file:{quote(str(database.absolute()))}?mode=ro&uri=true")
        try:
            with engine.connect() as connection:
                return SqlContacts(connection).seen()
        finally:
            engine.dispose()
    except (SQLAlchemyError, ValueError):
        return {}


class SqlContacts:
    """:class:`gateway.ports.alarm_tables.Contacts` on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def seen(self) -> dict[str, Seen]:
        rows = self._c.execute(select(contact_seen))
        return {row.point: Seen(**{name: row._mapping[name] for name in _COLUMNS}) for row in rows}

    def listened_s(self) -> float:
        return float(self._c.execute(select(listening.c.seconds)).scalar() or 0.0)

    def keep(self, seen: Mapping[str, Seen], listened_s: float) -> None:
        insert = upsert(contact_seen)
        insert = insert.on_conflict_do_update(
            index_elements=["point"], set_={name: insert.excluded[name] for name in _COLUMNS}
        )
        if seen:
            self._c.execute(insert, [{"point": point, **asdict(told)} for point, told in seen.items()])
        self._c.execute(
            upsert(listening)
            .values(id=1, seconds=listened_s)
            .on_conflict_do_update(index_elements=["id"], set_={"seconds": listened_s})
        )
